//! The keeper: the process on this machine that owns one cluster. It makes the namespaces, passes orders on, and when
//! it is told to, or when whoever started it is gone, takes everything down and leaves no trace.
//!
//! A test that panics, is killed or is interrupted closes the pipe to its keeper by that, so nothing has to be
//! cleaned up by hand. If the keeper itself is killed the cluster ends as well; its cgroups and files are then removed
//! by the next cluster with the same index.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::build::search_path;
use crate::control::{Description, Order, Reply, claim};
use crate::node::LINKED;
use crate::site::{Site, is_alive};
use crate::{lines, node};

/// What the harness writes to let the cluster outlive it.
pub(crate) const STAY: &str = "stay";

/// How many indices are tried when none is asked for.
const INDICES: u8 = 16;

/// The first process of the namespaces is a shell, because it reaps whatever is left to it, and ends when its child
/// does. A shell gives background commands no standard input, so this one goes round by another descriptor.
const FIRST_PROCESS: &str = r#"exec 3<&0; "$@" <&3 3<&- & exec 3<&- <&-; wait $!"#;

const PAUSE: Duration = Duration::from_millis(5);

/// The longest that one order may take.
const ORDER_DEADLINE: Duration = Duration::from_mins(1);

/// Runs one cluster with this index, or with the first free one, from its start to its end.
pub(crate) async fn run(index: Option<u8>, workshop: &Path) -> Result<()> {
    let (index, socket) = claim_index(index)?;
    let site = Site::new(index, workshop);
    site.clear().context("cannot clear what an earlier cluster left")?;
    let outcome = keep(&site, &socket, workshop).await;
    site.clear()?;
    let farewell = outcome?;
    if let Some(mut stream) = farewell {
        answer(&mut stream, &Reply::default()).await?;
    }
    Ok(())
}

fn claim_index(index: Option<u8>) -> Result<(u8, UnixListener)> {
    let candidates = index.map_or(0..=INDICES - 1, |index| index..=index);
    for index in candidates {
        match claim(index) {
            Ok(socket) => return Ok((index, socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).context("cannot make the control socket"),
        }
    }
    match index {
        Some(index) => bail!("a cluster with the index {index} is up: take it down, or use another index"),
        None => bail!("{INDICES} clusters are up: take one down"),
    }
}

/// Runs the cluster; returns whoever asked for its end.
async fn keep(site: &Site, socket: &UnixListener, workshop: &Path) -> Result<Option<Asker>> {
    site.prepare()?;
    let mut node = Node::start(site).await?;
    let description = Description { index: site.index(), node: node.id, workshop: workshop.to_owned() };
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(&description)?).context("nobody waits for the cluster")?;
    stdout.flush().context("nobody waits for the cluster")?;
    let end = serve(&description, &mut node, socket).await;
    node.end().await?;
    end
}

/// Obeys until the end.
async fn serve(description: &Description, node: &mut Node, socket: &UnixListener) -> Result<Option<Asker>> {
    socket.set_nonblocking(true).context("cannot use the control socket")?;
    let socket = tokio::net::UnixListener::from_std(socket.try_clone().context("cannot use the control socket")?)?;
    let mut harness = lines::standard_input();
    let mut is_staying = false;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            line = harness.recv(), if !is_staying => match line.as_deref() {
                Some(STAY) => is_staying = true,
                _ => return Ok(None),
            },
            _ = terminate.recv() => return Ok(None),
            _ = interrupt.recv() => return Ok(None),
            status = node.unshare.wait() => bail!("the cluster ended by itself: {}", status?),
            stream = socket.accept() => {
                // One order at a time; whoever breaks off, or may not give any, is not missed.
                let heard = tokio::time::timeout(ORDER_DEADLINE, hear(stream?.0, description, node)).await;
                if let Ok(Ok(Some(asker))) = heard {
                    return Ok(Some(asker));
                }
            }
        }
    }
}

/// Carries out the order of one connection; returns it if the cluster is to end.
async fn hear(stream: UnixStream, description: &Description, node: &mut Node) -> Result<Option<Asker>> {
    let mut asker = Asker::new(stream)?;
    let line = asker.lines.next_line().await?.context("no order")?;
    let reply = match serde_json::from_str(&line) {
        Ok(Order::Down) => return Ok(Some(asker)),
        Ok(Order::Describe) => Reply { cluster: Some(description.clone()), ..Reply::default() },
        Ok(Order::Run { .. } | Order::Stop { .. } | Order::Start { .. }) => node.order(&line).await?,
        Err(error) => Reply::failure(&error),
    };
    answer(&mut asker, &reply).await?;
    Ok(None)
}

async fn answer(asker: &mut Asker, reply: &Reply) -> Result<()> {
    let line = serde_json::to_string(reply)? + "\n";
    Ok(asker.lines.get_mut().write_all(line.as_bytes()).await?)
}

/// Somebody who gives an order.
struct Asker {
    lines: Lines<BufReader<UnixStream>>,
}

impl Asker {
    /// Orders are obeyed with this user's rights, so nobody else may give any.
    fn new(stream: UnixStream) -> Result<Self> {
        let other = stream.peer_cred().context("cannot tell who asks")?.uid();
        if other != 0 {
            bail!("user {other} may not give orders");
        }
        Ok(Self { lines: BufReader::new(stream).lines() })
    }
}

/// The inside of the cluster, seen from here.
struct Node {
    unshare: Child,
    /// The first process of the namespaces.
    id: u32,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Makes the namespaces, links them to this machine and waits until they are prepared.
    async fn start(site: &Site) -> Result<Self> {
        let log = site.path("log/node.log");
        let log = fs::File::create(&log).with_context(|| format!("cannot open {}", log.display()))?;
        let own = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "sh", "-c", FIRST_PROCESS, "sh"]).arg(own);
        command.args(["node", "--index", &site.index().to_string(), "--workshop"]);
        command.arg(site.folder().parent().context("the cluster has no folder")?);
        command.env("PATH", search_path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut unshare = command.kill_on_drop(true).spawn().context("cannot start unshare")?;
        let orders = unshare.stdin.take().context("a piped process has a standard input")?;
        let replies = unshare.stdout.take().context("a piped process has a standard output")?;
        let id = first_child(&mut unshare).await?;
        site.link(id)?;
        let mut node = Self { unshare, id, orders, replies: BufReader::new(replies).lines() };
        node.order(LINKED).await.with_context(|| {
            let log = fs::read_to_string(site.path("log/node.log")).unwrap_or_default();
            format!("the namespaces cannot be prepared: {}", log.trim())
        })?;
        Ok(node)
    }

    async fn order(&mut self, line: &str) -> Result<Reply> {
        self.orders.write_all(format!("{line}\n").as_bytes()).await.context("the node does not listen")?;
        let reply = self.replies.next_line().await.context("the node does not answer")?;
        serde_json::from_str(&reply.context("the node is gone")?).context("the node answers something else")
    }

    /// Kills everything in the namespaces and returns when it is gone.
    async fn end(mut self) -> Result<()> {
        // With it goes its child, the first process of the namespaces, and with that all others.
        self.unshare.kill().await.context("cannot kill unshare")?;
        while is_alive(&Path::new("/proc").join(self.id.to_string())) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// What `unshare` forked off, which has the new namespaces.
async fn first_child(unshare: &mut Child) -> Result<u32> {
    let id = unshare.id().context("unshare is gone")?;
    loop {
        if let Some(status) = unshare.try_wait()? {
            bail!("no new namespaces: unshare ended with {status}");
        }
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().context("a process has a number");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs the part that is inside the namespaces.
pub(crate) async fn run_node(index: u8, workshop: &Path) -> Result<()> {
    node::run(&Site::new(index, workshop)).await
}
