//! What the machine itself must have: a container runtime, the network plugins and iptables from its distribution, and
//! the tools that every Linux has. Only what is missing is installed, and only by a root that was told what.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::run_visibly;
use crate::step::step;

/// A program that is needed, and the Debian package that has it.
const NEEDED: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Where distributions put the network plugins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const PLUGIN_PACKAGE: &str = "containernetworking-plugins";

/// Daemons live where the path of an ordinary user does not lead.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// See [`super::prepare_host`].
pub(super) fn prepare() -> Result<()> {
    if !is_root() {
        bail!("a cluster needs root: it makes network, mount and process namespaces. Start it again as root");
    }
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!("these programs are missing, and there is no apt-get to install them: {}", missing.join(", "));
    }
    step(&format!("installing {}", missing.join(", ")), || {
        run_visibly(Command::new("apt-get").arg("update").arg("-qq"))?;
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
        run_visibly(install.env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

/// The folder of the network plugins.
pub(crate) fn plugins() -> Result<&'static Path> {
    let found = PLUGIN_FOLDERS.iter().map(Path::new).find(|folder| folder.join("bridge").exists());
    found.with_context(|| format!("no network plugins in {}: install {PLUGIN_PACKAGE}", PLUGIN_FOLDERS.join(", ")))
}

/// The search path for daemons.
pub(crate) fn search_path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&own).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    env::join_paths(folders).unwrap_or(own)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<_> =
        NEEDED.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if plugins().is_err() {
        missing.push(PLUGIN_PACKAGE);
    }
    missing.dedup();
    missing
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn programs_are_found_on_the_search_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
    }
}
