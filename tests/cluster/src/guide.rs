//! What `turnout-cluster up` says at its end: lines for a shell, which may evaluate them, and for people in comments, of
//! which they copy what they need.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::build::Image;
use crate::cluster::Cluster;
use crate::model;

/// How a shell uses a cluster, what pods may run there, what stands in for the cloud, and how to end it.
#[derive(Debug)]
pub(crate) struct Guide {
    index: u8,
    kubeconfig: PathBuf,
    /// The folders of `kubectl` and `helm`, and of `turnout` where it was built.
    folders: Vec<PathBuf>,
    images: Vec<Image>,
}

impl Guide {
    /// That of a cluster into which these images were loaded.
    pub(crate) fn of(cluster: &Cluster, images: &[Image]) -> Result<Self> {
        let mut programs = vec![PathBuf::from(cluster.kubectl_command().get_program())];
        if images.contains(&Image::CommandLine) {
            programs.push(Image::CommandLine.program()?);
        }
        let folders = programs.iter().filter_map(|program| program.parent()).map(PathBuf::from).collect();
        let index = cluster.index().context("it was started here")?;
        Ok(Self { index, kubeconfig: cluster.kubeconfig().to_owned(), folders, images: images.to_owned() })
    }

    /// One line or more, each with its end.
    pub(crate) fn text(&self) -> String {
        let Self { index, kubeconfig, .. } = self;
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let images: Vec<_> = self.images.iter().map(|image| image.reference()).collect();
        let networks = crate::Addresses::new(*index);
        let (network, first) = (networks.load_balancers(), networks.load_balancer(1));
        let patch = format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{first}"}}]}}}}}}"#);
        format!(
            "export KUBECONFIG='{}'\n\
             export PATH='{}':\"$PATH\"  # kubectl, helm{}\n\
             # Images: {}\n\
             # A release takes them by imageRegistry={} and the tag dev (gateway.image.tag, controller.image.tag,\n\
             # test.image.tag); there is no registry, so that nothing else can be pulled.\n\
             # A Service of type LoadBalancer is pending, and helm --wait waits, until it has an address of {network}:\n\
             #   kubectl patch service NAME -n NAMESPACE --subresource status --type merge -p '{patch}'\n\
             {}\
             # The end: cargo run --bin turnout-cluster -- down --index {index}\n",
            kubeconfig.display(),
            folders.join(":"),
            if self.images.contains(&Image::CommandLine) { ", turnout" } else { "" },
            if images.is_empty() { "none".to_owned() } else { images.join(" ") },
            Image::registry(),
            if self.images.contains(&Image::Model) { of_the_model() } else { String::new() },
        )
    }
}

/// How README's files and command lines run the model that there is.
fn of_the_model() -> String {
    let lines = model::manifest_lines().map(|line| format!("#         {line}\n")).concat();
    let values = model::release_values("scoring-a-dev", &[("MODEL_ANSWER", "New Model A")]);
    format!(
        "# What stands in for a model of yours is {image}. In README's green.yaml, for its line `image:`:\n\
         {lines}\
         # With charts/abtest-model, for deployment.image.name=REGISTRY/scoring-a:TAG (and with -b and B for the other one):\n\
         #   deployment.image.name={image} --set-json 'deployment={values}'\n",
        image = Image::Model.reference(),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_takes_what_it_says() {
        let guide = Guide {
            index: 3,
            kubeconfig: "/a folder/admin.kubeconfig".into(),
            folders: vec!["/go programs".into(), "/rust".into()],
            images: Image::OWN.to_vec(),
        };
        let text = guide.text();
        let script = format!("PATH=/bin\n{text}echo \"$KUBECONFIG $PATH\"");
        let ran = Command::new("bash").args(["-euc", &script]).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), "/a folder/admin.kubeconfig /go programs:/rust:/bin\n");
        for said in [
            "turnout.test/turnout-proxy:dev",
            "imageRegistry=turnout.test",
            "10.226.3.1",
            "down --index 3",
            "image: turnout.test/cluster-model:dev\n#         args: [--revision, r1, --listen, '0.0.0.0:5001']",
            "deployment.image.name=turnout.test/cluster-model:dev --set-json 'deployment={\"revision\":\"scoring-a-dev\",",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}
