//! README's section "On a cluster", run as it is printed: its shell blocks line by line, with its files beside them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use turnout_cluster::readme::{self, Readme};
use turnout_cluster::{Cluster, client, release};
use turnout_rollout::{Backend, ModelRollout};

const SECTION: &str = "## On a cluster";
const NAMESPACE: &str = "abtesting";
const ROLLOUT: &str = "model";

pub(crate) fn the_readme_runs_as_printed(cluster: &Cluster) -> Result<()> {
    // The commands make what they need themselves.
    release::clear(cluster, NAMESPACE)?;
    let (readme, folder) = (Readme::read()?, tempfile::tempdir()?);
    readme.write_files(folder.path())?;
    let commands = readme.commands(SECTION)?;
    ensure!(commands.len() > 10, "README has only {commands:#?}");
    let gateway = readme::run_in_a_cloud(cluster, folder.path(), &commands)?;
    is_where_it_says(cluster, gateway)?;
    release::clear(cluster, NAMESPACE)
}

/// At the last stage, after one rollback, with nothing that needs blue, and served by the new model.
fn is_where_it_says(cluster: &Cluster, gateway: Ipv4Addr) -> Result<()> {
    let rollout: ModelRollout = serde_json::from_value(cluster.get(NAMESPACE, "modelrollout", ROLLOUT)?)?;
    let status = rollout.status;
    let passed: Vec<_> = status.history.iter().map(|transition| transition.to.to_string()).collect();
    let expected = ["Blue_0", "Blue_50", "Rollback", "Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"];
    ensure!(passed == expected, "{passed:?}");
    ensure!(status.stable_revision.as_deref() == Some("r2"), "{status:#?}");
    ensure!(status.safe_to_remove == [Backend::Blue], "{status:#?}");
    let answer = client::request(SocketAddr::from((gateway, 80)), "POST", "/score", &[], r#"{"data": [1]}"#)?;
    ensure!(answer.status == 200 && answer.header("x-revision") == Some("r2"), "{answer:?}");
    Ok(())
}
