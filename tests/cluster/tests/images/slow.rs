//! A model that takes two seconds to load and 300 ms to answer, in a server of one worker that answers one request at a
//! time: the gateway must not turn to it early, and must not let a slow client have it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::ROLLOUT;
use turnout_cluster::{Cluster, LoadSpec, SplitLoad, client};

use crate::scene::Models;
use crate::takeover::{BLUE, GREEN, HALF};

const OLD: &[&str] = &["deployment.revision=slow-1"];
const NEW: &[&str] = &["deployment.revision=slow-2"];
/// Each waits for its answer before it asks again.
const CLIENTS: usize = 2;
const LOOKED_AT: u64 = 60;

pub(crate) fn five_stages_with_one_worker(cluster: &Cluster) -> Result<()> {
    let models = Models::set(cluster, "slow", "slow", OLD)?;
    let spec = LoadSpec { connections: CLIENTS, ..models.requests("{}") };
    let mut load = SplitLoad::of(cluster, &spec, LOOKED_AT)?;
    load.check("only green is there", GREEN)?;
    // A share is asked for while there is no blue yet; helm does not wait until it has loaded, and nobody else does.
    models.scene.turnout(&["rollout", "start", ROLLOUT, "--revision", "slow-2", "--to", "Blue_50"])?;
    models.deploy("blue", "slow", NEW)?;
    models.await_that(&["--stage", "Blue_50"])?;
    load.check("Blue_50", HALF)?;
    for (stage, weights) in [("Blue_100", BLUE), ("Blue_Green", BLUE)] {
        models.rollout(&["promote"])?;
        load.check(stage, weights)?;
    }
    models.deploy("green", "slow", NEW)?;
    models.await_that(&["--ready", "green"])?;
    models.rollout(&["promote"])?;
    load.check("Green_100", GREEN)?;
    models.remove_blue()?;
    load.check("blue is removed", GREEN)?;
    load.finish()
}

const BODY: &[u8] = br#"{"data": [[1, 2, 3]]}"#;
/// Of the body, so many bytes come before others ask.
const EARLY: usize = 10;
const OTHERS: u32 = 10;
const BETWEEN_BYTES: Duration = Duration::from_millis(50);
/// Several times what the answer would take.
const NO_ANSWER_FOR: Duration = Duration::from_secs(3);

pub(crate) fn a_slow_client_holds_no_worker(cluster: &Cluster) -> Result<()> {
    let models = Models::set(cluster, "slow-client", "slow", OLD)?;
    let gateway = models.scene.gateway;
    let slow = (0..3).map(|_| SlowClient::begin(gateway)).collect::<Result<Vec<_>>>()?;
    for _ in 0..OTHERS {
        let answer = client::request(gateway, "POST", "/score", &[], "{}")?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    println!("{OTHERS} requests were answered while 3 bodies were on their way");
    slow.into_iter().try_for_each(SlowClient::end)?;

    // The server by itself can be held, and by one of them.
    let server = models.server("green")?;
    let slow = SlowClient::begin(server)?;
    let (answered, answers) = mpsc::channel();
    let other = thread::spawn(move || answered.send(client::request(server, "POST", "/score", &[], "{}")));
    ensure!(answers.recv_timeout(NO_ANSWER_FOR).is_err(), "the server answers while a body is on its way");
    slow.end()?;
    let answer = answers.recv().context("the other client is gone")??;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(matches!(other.join(), Ok(Ok(()))), "the other client has failed");
    Ok(())
}

/// Sends its body byte by byte.
struct SlowClient(TcpStream);

impl SlowClient {
    /// Sends the first half.
    fn begin(address: SocketAddr) -> Result<Self> {
        let mut client = Self(TcpStream::connect(address)?);
        client.0.set_nodelay(true)?;
        client.0.set_read_timeout(Some(Duration::from_mins(1)))?;
        let head = "POST /score HTTP/1.1\r\nhost: any.example\r\ncontent-type: application/json\r\nconnection: close";
        write!(client.0, "{head}\r\ncontent-length: {}\r\n\r\n", BODY.len())?;
        client.send(&BODY[..EARLY])?;
        Ok(client)
    }

    /// Sends the rest, and is answered.
    fn end(mut self) -> Result<()> {
        self.send(&BODY[EARLY..])?;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Slow Model"), "{answer}");
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        for byte in bytes {
            self.0.write_all(&[*byte])?;
            thread::sleep(BETWEEN_BYTES);
        }
        Ok(())
    }
}
