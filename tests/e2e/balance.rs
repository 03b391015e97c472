//! Connections are spread over the workers. No metric tells a worker's connections apart, so the kernel is asked which
//! worker's epoll instance waits for which connection.

#![cfg(target_os = "linux")]

use std::net::SocketAddr;

use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;
use turnout_tests::process::connections_by_epoll;
use turnout_tests::routes::{self, KEY};

const WORKERS: usize = 4;

#[tokio::test]
async fn a_hundred_long_lived_connections_over_four_workers_differ_by_at_most_one() {
    let backends = Backends::start_named(&["green"]).await.expect("loopback has free ports");
    let documents = routes::one_service(&[backends.address("green")], 1);
    let mount = KubeletMount::new(&[(KEY, documents.as_bytes())]).expect("the mount is made");
    let command = GatewayCommand::new(mount.path()).listen(80).args(&["--workers", &WORKERS.to_string()]);
    let gateway = command.start().await.expect("the gateway starts");

    let mut connections = Vec::new();
    for count in 1..=100 {
        connections.push(connect(gateway.address(80)).await);
        if count % 10 == 0 {
            assert_balanced(&gateway, count).await;
        }
    }

    // Every other one of the first forty goes; those that come after them fill the gaps.
    let mut kept: Vec<_> = connections.into_iter().enumerate().collect();
    kept.retain(|(number, _)| *number >= 40 || number % 2 == 0);
    let left = eventually(DEADLINE, || async {
        let open = gateway.metrics().await?.sum("turnout_downstream_connections", &[]);
        anyhow::ensure!(open == Some(80.0), "{open:?} connections are open");
        Ok::<_, anyhow::Error>(())
    });
    left.await.expect("the closed connections are noticed");
    let mut added = Vec::new();
    for _ in 0..20 {
        added.push(connect(gateway.address(80)).await);
    }
    assert_balanced(&gateway, 100).await;
}

/// A connection that has been served once, and so belongs to a worker.
async fn connect(address: SocketAddr) -> RawConnection {
    let mut connection = RawConnection::open(address).await.expect("the gateway listens");
    let answer = connection.exchange(&RawRequest::get("/")).await.expect("the gateway answers");
    assert_eq!(answer.status, 200);
    connection
}

async fn assert_balanced(gateway: &Gateway, connections: usize) {
    // The kernel tells of its sockets one after the other, and may pass some over while those of other tests come and go.
    let all = eventually(DEADLINE, || async {
        let counts = connections_by_epoll(gateway.id(), gateway.address(80))?;
        anyhow::ensure!(counts.iter().sum::<usize>() == connections, "{counts:?}");
        anyhow::Ok(counts)
    });
    let counts = all.await.expect("every connection belongs to a worker");
    assert_eq!(counts.len(), WORKERS, "{counts:?}");
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(most.copied() <= least.map(|least| least + 1), "{counts:?}");
}
