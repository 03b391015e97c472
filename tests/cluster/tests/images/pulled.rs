//! That it is these images that run: pulled by their digests, as users without rights, on roots that cannot be written.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::{Cluster, Registry, client, release};

const NAMESPACE: &str = "pulled";
const DEADLINE: Duration = Duration::from_mins(3);

/// What the scoring images answer to a request that is no driver's.
const ANSWERS: [(&str, u16, &str); 5] = [
    ("scoring-a", 200, "\"New Model A\""),
    ("scoring-b", 200, "\"New Model B\""),
    ("safe-driving-a", 400, "/data is missing"),
    ("safe-driving-b", 400, "/data is missing"),
    ("safe-driving-c", 400, "/data is missing"),
];

pub(crate) fn by_digest_without_rights(cluster: &Cluster) -> Result<()> {
    let registry = Registry::serve(cluster)?;
    cluster.create_namespace(NAMESPACE)?;
    for (name, ..) in ANSWERS {
        cluster.apply(NAMESPACE, &pod(&registry, name, &[])?.to_string())?;
    }
    cluster.apply(NAMESPACE, &pod(&registry, "turnout", &["--version"])?.to_string())?;
    let values = registry.values()?;
    release::install(cluster, NAMESPACE, &values.iter().map(String::as_str).collect::<Vec<_>>())?;
    release::gateway(cluster)?;

    for (name, status, text) in ANSWERS {
        answers(cluster, name, status, text)?;
    }
    let said = cluster.wait_until("turnout has run", DEADLINE, || {
        let pod = cluster.get(NAMESPACE, "pod", "turnout")?;
        ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
        cluster.kubectl(&["logs", "turnout", "--namespace", NAMESPACE])
    })?;
    ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    came_from_the_registry(cluster, &registry)?;
    have_no_rights(cluster)?;
    cluster.delete_namespace(NAMESPACE)
}

/// As `docker run --read-only` would run it: with the user of the image, and no volume.
fn pod(registry: &Registry, name: &str, arguments: &[&str]) -> Result<Value> {
    let security = json!({
        "runAsNonRoot": true,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    let container =
        json!({ "name": name, "image": registry.reference(name)?, "args": arguments, "securityContext": security });
    let spec = json!({ "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container] });
    Ok(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }))
}

fn answers(cluster: &Cluster, pod: &str, status: u16, text: &str) -> Result<()> {
    cluster.wait_until(&format!("{pod} answers"), DEADLINE, || {
        let found = cluster.get(NAMESPACE, "pod", pod)?;
        let address = found["status"]["podIP"].as_str().context("it has no address yet")?;
        let address = (address.parse::<std::net::IpAddr>()?, 5001).into();
        let answer = client::request(address, "POST", "/score", &[("content-type", "application/json")], "{}")?;
        ensure!(answer.status == status && answer.body.contains(text), "{answer:?}");
        Ok(())
    })
}

/// Nothing was on the node before: kubelet says of each image that it has pulled it, and which it runs.
fn came_from_the_registry(cluster: &Cluster, registry: &Registry) -> Result<()> {
    let (mut pulled, mut run) = (String::new(), BTreeSet::new());
    for namespace in [NAMESPACE, release::NAMESPACE] {
        for event in cluster.list(namespace, "events", "")? {
            pulled.push_str(event["message"].as_str().unwrap_or_default());
        }
        for pod in cluster.list(namespace, "pods", "")? {
            run.extend(pod["status"]["containerStatuses"][0]["imageID"].as_str().map(str::to_owned));
        }
    }
    for name in Registry::IMAGES.into_iter().filter(|name| *name != "slow") {
        let reference = registry.reference(name)?;
        ensure!(pulled.contains(&format!("Successfully pulled image \"{reference}\"")), "{reference}: {pulled}");
        ensure!(run.contains(&reference), "no pod runs {reference}: {run:#?}");
    }
    println!("{} images were pulled by their digests", run.len());
    Ok(())
}

/// Of each process of a container: its program, its user, its rights, and whether its root may be written.
const LOOK: &str = r#"
for process in /proc/[0-9]*; do
  root="$(sed -n 's/^overlay \/ overlay \(r[ow]\),.*/\1/p' "$process/mounts" 2>/dev/null | head -n 1)"
  program="$(readlink "$process/exe")"
  [ -n "$root" ] && [ -n "$program" ] || continue
  printf '%s %s %s\n' "$(basename "$program")" "$root" "$(sed -n 's/^\(Uid\|CapEff\):\t//p' "$process/status" | tr '\n\t' '  ')"
done"#;

fn have_no_rights(cluster: &Cluster) -> Result<()> {
    let seen = cluster.exec(&["sh", "-c", LOOK])?;
    for program in ["python3.11", "turnout-controller", "turnout-proxy"] {
        let lines: Vec<_> = seen.lines().filter(|line| line.split(' ').next() == Some(program)).collect();
        let wanted = format!("{program} ro 65532 65532 65532 65532 0000000000000000");
        ensure!(!lines.is_empty() && lines.iter().all(|line| line.trim_end() == wanted), "{program}: {seen}");
        println!("{program}: {} processes without rights", lines.len());
    }
    Ok(())
}
