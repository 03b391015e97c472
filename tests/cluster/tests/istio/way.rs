//! README's section on leaving Istio and going back: its commands, one by one.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use turnout_cluster::Cluster;
use turnout_cluster::readme::{self, Readme};

const SECTION: &str = "### Leaving Istio, and going back";

/// What is left of the section.
pub(crate) struct Way<'cluster> {
    cluster: &'cluster Cluster,
    folder: TempDir,
    lines: std::vec::IntoIter<String>,
}

impl<'cluster> Way<'cluster> {
    pub(crate) fn new(cluster: &'cluster Cluster) -> Result<Self> {
        let (readme, folder) = (Readme::read()?, tempfile::tempdir()?);
        readme.write_files(folder.path())?;
        Ok(Self { cluster, folder, lines: readme.commands(SECTION)?.into_iter() })
    }

    /// Takes the first command, and returns where Turnout's gateway is.
    pub(crate) fn install(&mut self) -> Result<SocketAddr> {
        let line = self.line("helm upgrade --install turnout")?;
        Ok(SocketAddr::from((readme::run_in_a_cloud(self.cluster, self.folder.path(), &[line])?, 80)))
    }

    /// Takes the next command, of which this is a part.
    pub(crate) fn next(&mut self, part: &str) -> Result<()> {
        let line = self.line(part)?;
        readme::run(self.cluster, self.folder.path(), &line).map(drop)
    }

    /// There is nothing left.
    pub(crate) fn end(mut self) -> Result<()> {
        let left = self.lines.next();
        ensure!(left.is_none(), "README goes on with {left:?}");
        Ok(())
    }

    fn line(&mut self, part: &str) -> Result<String> {
        let line = self.lines.next().with_context(|| format!("README ends before {part}"))?;
        ensure!(line.contains(part), "README goes on with {line} and not with {part}");
        Ok(line)
    }
}
