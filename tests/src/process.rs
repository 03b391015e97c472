//! What Linux says about a process: its memory and processor time, whether it stands still, and which of its threads wait for which
//! connections.
//!
//! Everything is read from `/proc`; on other systems these functions fail and the tests that need them are left out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit, setrlimit};

/// The state of a stopped thread in `/proc/ID/task/ID/stat`.
const STOPPED: char = 'T';

/// The state `ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// The most memory that the process has held at a time, in KiB (`VmHWM`, proc(5)).
pub fn peak_memory_kib(id: u32) -> io::Result<u64> {
    status_number(id, "VmHWM:")
}

/// The memory that the process holds, in KiB (`VmRSS`, proc(5)).
pub fn memory_kib(id: u32) -> io::Result<u64> {
    status_number(id, "VmRSS:")
}

fn status_number(id: u32, field: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {field} in /proc/ID/status")))
}

/// How long the threads of the process have run, in milliseconds (the first number of `schedstat`, which is in
/// nanoseconds; `/proc/ID/stat` counts in hundredths of a second).
pub fn cpu_ms(id: u32) -> io::Result<u64> {
    let mut nanoseconds: u64 = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += schedstat.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(nanoseconds / 1_000_000)
}

/// Lets this process, and those that it starts from now on, open so many files, or as many as it may.
pub fn allow_descriptors(count: u64) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        limit.current = Some(limit.maximum.map_or(count, |maximum| maximum.min(count)));
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// Whether every thread of the process is stopped (by SIGSTOP), so that nothing runs in it. The signal takes the threads
/// one after the other, and one that sleeps in a system call ends that first.
pub fn is_stopped(id: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end before it is looked at.
        let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        if state_of_thread(&stat).is_some_and(|state| state != STOPPED) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `id (name) state parent ...` (proc(5)); the name may hold anything.
fn state_of_thread(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// How many connections to `remote` (IPv4) are established at the side that made them: it has not heard yet of an end.
/// The kernel tells of its sockets one after the other, so some may be missing where others come and go.
pub fn established_to(remote: SocketAddr) -> io::Result<usize> {
    let Some(remote) = kernel_form(remote) else { return Ok(0) };
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().skip(1).filter(|line| is_established_to(line, &remote)).count())
}

fn is_established_to(line: &str, remote: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.get(2) == Some(&remote) && words.get(3) == Some(&ESTABLISHED)
}

/// How many connections to its own address `local` (IPv4) each epoll instance of the process waits for, in no order;
/// instances that wait for none are left out. A runtime has one epoll instance, so this is connections by thread where
/// each thread has a runtime.
pub fn connections_by_epoll(id: u32, local: SocketAddr) -> io::Result<Vec<usize>> {
    let sockets = established_sockets(local)?;
    // Several descriptors may stand for one instance; no two instances wait for the same connection.
    let mut instances = BTreeSet::new();
    for file in descriptors_of(id)? {
        // The descriptor may be closed by the time it is looked at.
        let info = fs::read_to_string(file).unwrap_or_default();
        let watched = info.lines().filter(|line| line.starts_with("tfd:")).filter_map(inode_of_target);
        let connections: BTreeSet<u64> = watched.filter(|inode| sockets.contains(inode)).collect();
        instances.insert(connections);
    }
    Ok(instances.iter().map(BTreeSet::len).filter(|count| *count > 0).collect())
}

fn descriptors_of(id: u32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{id}/fdinfo"))?.map(|entry| Ok(entry?.path())).collect()
}

/// The inodes of the established sockets with this local address.
fn established_sockets(local: SocketAddr) -> io::Result<BTreeSet<u64>> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().skip(1).filter_map(|line| inode_of_socket(line, &kernel_form(local)?)).collect())
}

/// `0100007F:1F90` for 127.0.0.1:8080 on a little-endian machine.
fn kernel_form(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`
fn inode_of_socket(line: &str, local: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let matches = words.get(1) == Some(&local) && words.get(3) == Some(&ESTABLISHED);
    if matches { words.get(9)?.parse().ok() } else { None }
}

/// `tfd: 5 events: 19 data: 5 pos:0 ino:61 sdev:5`, with the inode in hexadecimal.
fn inode_of_target(line: &str) -> Option<u64> {
    let inode = line.split_whitespace().find_map(|word| word.strip_prefix("ino:"))?;
    u64::from_str_radix(inode, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        connections_by_epoll, cpu_ms, established_to, inode_of_socket, inode_of_target, is_established_to, is_stopped,
        memory_kib, peak_memory_kib, state_of_thread,
    };
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line =
            "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20";
        assert_eq!(inode_of_socket(line, "0100007F:1F90"), Some(4711));
        assert_eq!(inode_of_socket(line, "0100007F:1F91"), None);
        assert_eq!(inode_of_socket(&line.replace(" 01 ", " 06 "), "0100007F:1F90"), None);
        assert!(is_established_to(line, "0100007F:C350"));
        assert!(!is_established_to(line, "0100007F:1F90"));
        assert!(!is_established_to(&line.replace(" 01 ", " 08 "), "0100007F:C350"));
        assert_eq!(inode_of_target("tfd:        5 events: 8000201d data: 5 pos:0 ino:1a2b sdev:9"), Some(0x1a2b));
        assert_eq!(inode_of_target("pos:\t0"), None);
        assert_eq!(state_of_thread("4711 (worker) 1) T 1 4711"), Some('T'));
        assert_eq!(state_of_thread(""), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_of_this_process_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let local = listener.local_addr().expect("a bound socket has an address");
        let own = std::process::id();
        assert!(connections_by_epoll(own, local).expect("/proc can be read").is_empty());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push((
                TcpStream::connect(local).await.expect("it listens"),
                listener.accept().await.expect("accepted"),
            ));
        }
        assert_eq!(connections_by_epoll(own, local).expect("/proc can be read"), [3]);
        assert_eq!(established_to(local).expect("/proc can be read"), 3);
        let (now, peak) =
            (memory_kib(own).expect("/proc can be read"), peak_memory_kib(own).expect("/proc can be read"));
        assert!(0 < now && now <= peak, "{now} of {peak} KiB");
        assert!(cpu_ms(own).expect("/proc can be read") > 0);
        assert!(!is_stopped(own).expect("/proc can be read"), "it asks");
    }
}
