//! What a cluster has on this machine outside its own namespaces: the end of a network link with the routes over it, a
//! cgroup in each hierarchy, and a folder. It can be cleared whether or not the cluster still runs, and says what is
//! left when it is not clear.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::addresses::Addresses;
use crate::process::output;

/// Ended tasks leave their cgroup a moment after they are gone.
const CGROUP_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The name of the link's other end, inside.
pub(crate) const UPLINK: &str = "uplink";

/// The place of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    index: u8,
    folder: PathBuf,
}

impl Site {
    /// The place of the cluster with this index.
    pub(crate) fn new(index: u8, workshop: &Path) -> Self {
        Self { index, folder: workshop.join(format!("run{index}")) }
    }

    pub(crate) fn index(&self) -> u8 {
        self.index
    }

    /// The name of the link, the cgroups and the cluster.
    pub(crate) fn name(&self) -> String {
        format!("turnout{}", self.index)
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(self.index)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the folder and the cgroups.
    pub(crate) fn prepare(&self) -> Result<()> {
        for name in ["log", "etcd", "pki", "cni", "varlib/containerd", "varlib/kubelet", "varlib/cni", "varlog"] {
            let path = self.path(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        for hierarchy in limiting_hierarchies()? {
            let cgroup = hierarchy.join(self.name());
            fs::create_dir_all(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
            // A new cgroup of this kind has no processors and no memory, and then takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if hierarchy.join(file).exists() {
                    let inherited = fs::read(hierarchy.join(file)).with_context(|| format!("cannot read {file}"))?;
                    fs::write(cgroup.join(file), inherited).with_context(|| format!("cannot write {file}"))?;
                }
            }
        }
        Ok(())
    }

    /// Links the namespaces of the process `id` to this machine.
    pub(crate) fn link(&self, id: u32) -> Result<()> {
        let (name, addresses) = (self.name(), self.addresses());
        ip(&format!("link add {name} type veth peer name {UPLINK} netns {id}"))?;
        ip(&format!("address add {}/30 dev {name}", addresses.host()))?;
        ip(&format!("link set {name} up"))?;
        for network in [addresses.pods(), addresses.services(), addresses.load_balancers()] {
            ip(&format!("route add {network} via {}", addresses.node()))?;
        }
        Ok(())
    }

    /// Removes everything; nothing of the cluster may run any more.
    pub(crate) fn clear(&self) -> Result<()> {
        if self.link_path().exists() {
            ip(&format!("link delete {}", self.name()))?;
        }
        let deadline = Instant::now() + CGROUP_DEADLINE;
        for cgroup in self.cgroups()? {
            remove_cgroup(&cgroup, deadline)?;
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whatever is still here of the cluster whose process namespace was `namespace`.
    pub(crate) fn traces(&self, namespace: &Path) -> Result<Vec<String>> {
        let mut traces = Vec::new();
        if self.link_path().exists() {
            traces.push(format!("the link {}", self.name()));
        }
        let routes = output(Command::new("ip").args(["route", "show"]))?;
        let own = [self.addresses().pods(), self.addresses().services(), self.addresses().load_balancers()];
        traces.extend(own.iter().filter(|network| routes.contains(*network)).map(|network| format!("route {network}")));
        traces.extend(self.cgroups()?.iter().map(|cgroup| format!("the cgroup {}", cgroup.display())));
        if self.folder.exists() {
            traces.push(format!("the folder {}", self.folder.display()));
        }
        let mounts = read_mounts()?;
        let mounts = mounts.lines().filter(|line| line.contains(&*self.folder.to_string_lossy()));
        traces.extend(mounts.map(|mount| format!("the mount {mount}")));
        traces.extend(processes_in(namespace)?);
        Ok(traces)
    }

    fn link_path(&self) -> PathBuf {
        Path::new("/sys/class/net").join(self.name())
    }

    fn cgroups(&self) -> Result<Vec<PathBuf>> {
        let cgroups = hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(self.name()));
        Ok(cgroups.filter(|cgroup| cgroup.exists()).collect())
    }
}

/// The process namespace of a process, as a name that no other namespace has while it exists.
pub(crate) fn process_namespace(id: u32) -> Result<PathBuf> {
    fs::read_link(format!("/proc/{id}/ns/pid")).with_context(|| format!("process {id} is gone"))
}

/// Whether the process of this folder in /proc still runs: a dead one stays there until its parent looks.
pub(crate) fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

fn ip(arguments: &str) -> Result<()> {
    output(Command::new("ip").args(arguments.split(' '))).map(drop)
}

/// Where the cgroup hierarchies are mounted that limit what a process uses: those of version 1, or else the one of
/// version 2.
fn limiting_hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = read_mounts()?;
    let first = mounted_as(&mounts, "cgroup");
    Ok(if first.is_empty() { mounted_as(&mounts, "cgroup2") } else { first })
}

/// All of them: where both versions are mounted, containers get a cgroup in each.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = read_mounts()?;
    Ok(["cgroup", "cgroup2"].iter().flat_map(|kind| mounted_as(&mounts, kind)).collect())
}

fn read_mounts() -> Result<String> {
    fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")
}

fn mounted_as(mounts: &str, kind: &str) -> Vec<PathBuf> {
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.filter(|words| words.get(2) == Some(&kind)).map(|words| PathBuf::from(words[1])).collect()
}

fn remove_cgroup(cgroup: &Path, deadline: Instant) -> Result<()> {
    for entry in fs::read_dir(cgroup).with_context(|| format!("cannot read {}", cgroup.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", cgroup.display()))?.path();
        if path.is_dir() {
            remove_cgroup(&path, deadline)?;
        }
    }
    loop {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("cannot remove {}", cgroup.display()));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn processes_in(namespace: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let path = entry.context("cannot read /proc")?.path();
        // It may be gone by now, and most entries are no processes.
        let is_inside = fs::read_link(path.join("ns/pid")).is_ok_and(|its| its == namespace);
        if is_inside && is_alive(&path) {
            let words = fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
            found.push(format!("the process {}: {words}", path.display()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_by_their_version() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      tmpfs /run tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw 0 0";
        let folders = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/pids"].map(PathBuf::from);
        assert_eq!(mounted_as(mounts, "cgroup"), folders);
        assert_eq!(mounted_as(mounts, "cgroup2"), [PathBuf::from("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn a_place_that_was_never_used_has_no_traces() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let traces = Site::new(255, folder.path()).traces(Path::new("pid:[0]"))?;
        assert!(traces.is_empty(), "{traces:?}");
        Ok(())
    }

    #[test]
    fn a_process_is_alive_until_it_ends() {
        assert!(is_alive(Path::new("/proc/self")));
        assert!(!is_alive(Path::new("/proc/0")));
    }

    #[test]
    fn processes_are_found_by_their_namespace() -> Result<()> {
        let namespace = process_namespace(std::process::id())?;
        let own = format!("/proc/{}:", std::process::id());
        assert!(processes_in(&namespace)?.iter().any(|process| process.contains(&own)));
        Ok(())
    }
}
