//! The harness's end of a keeper: starting it, and the pipe that keeps it.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::build::workshop;
use crate::control::Description;
use crate::keeper::STAY;

const PROGRAM: &str = "turnout-cluster";

/// A keeper that ends its cluster when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Child,
    pipe: ChildStdin,
}

impl Keeper {
    /// Starts a cluster with this index, or the first free one: its namespaces, and nothing in them yet.
    pub(super) fn start(index: Option<u8>) -> Result<(Self, Description)> {
        let mut command = Command::new(own_program()?);
        command.args(["keep", "--workshop"]).arg(workshop());
        if let Some(index) = index {
            command.args(["--index", &index.to_string()]);
        }
        // Of a group of its own: an interrupt from the terminal is for the harness, and the keeper has to clear up.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start the keeper of the cluster")?;
        let pipe = process.stdin.take().context("a piped process has a standard input")?;
        let stdout = process.stdout.take().context("a piped process has a standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot hear the keeper of the cluster")?;
        let Ok(description) = serde_json::from_str(&line) else {
            drop(pipe);
            bail!("the cluster does not start: {}", last_words(&mut process));
        };
        Ok((Self { process, pipe }, description))
    }

    /// Takes the cluster down, and returns when that is done.
    pub(super) fn end(self) -> Result<()> {
        let Self { mut process, pipe } = self;
        drop(pipe);
        let words = last_words(&mut process);
        let status = process.wait().context("cannot wait for the keeper of the cluster")?;
        if !status.success() {
            bail!("the cluster did not end well: {words}");
        }
        Ok(())
    }

    /// Lets it go on alone.
    pub(super) fn leave(mut self) -> Result<()> {
        writeln!(self.pipe, "{STAY}").context("the keeper of the cluster is gone")
    }
}

/// This program, or the one that Cargo built beside the test that asks.
pub(crate) fn own_program() -> Result<PathBuf> {
    let running = env::current_exe().context("cannot find this program")?;
    if running.file_name().is_some_and(|name| name == PROGRAM) {
        return Ok(running);
    }
    let beside = running.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).find(|path| path.exists());
    beside.with_context(|| format!("{PROGRAM} is not built: cargo build -p turnout-cluster --bin {PROGRAM}"))
}

fn last_words(process: &mut Child) -> String {
    let mut words = String::new();
    if let Some(stderr) = &mut process.stderr {
        // Without them the message is shorter.
        let _ = stderr.read_to_string(&mut words);
    }
    words.trim().to_owned()
}
