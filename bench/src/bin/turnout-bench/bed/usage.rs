//! What a process and its children have used, by /proc (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time since a process and its children began, in user space and in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// The unit of utime and stime: USER_HZ, which is 100 on every architecture that Linux is built for today.
const TICK: Duration = Duration::from_millis(10);
/// The places of utime and stime behind the name of the program, of which the state is the first.
const UTIME: usize = 11;

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut all = Self::default();
        for pid in tree(pid)? {
            let text = read(pid, "stat")?;
            let (_, behind_name) = text.rsplit_once(')').context("/proc has no such stat")?;
            let mut ticks = behind_name.split_whitespace().skip(UTIME).map_while(|field| field.parse::<u32>().ok());
            let mut next = || ticks.next().map(|count| TICK * count).context("/proc has no such stat");
            all.user += next()?;
            all.system += next()?;
        }
        Ok(all)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// What a process and its children hold in memory, in bytes, each shared page divided among those that share it.
pub(crate) fn memory_bytes(pid: u32) -> Result<u64> {
    let mut kib = 0;
    for pid in tree(pid)? {
        let text = read(pid, "smaps_rollup")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("/proc knows no Pss")?;
        let number = line.split_whitespace().next().context("a Pss is a number")?;
        kib += number.parse::<u64>().context("a Pss is a number")?;
    }
    Ok(kib * 1024)
}

fn tree(pid: u32) -> Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let thread_folder = format!("/proc/{pid}/task");
        for thread in fs::read_dir(thread_folder).context("a process has ended")? {
            let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    Ok(found)
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid} has ended"))
}
