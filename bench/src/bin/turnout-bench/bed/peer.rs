//! The proxies that are compared: where each listens, how it is started, and what its version is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::{Bed, GREEN};
use crate::work::Steady;
use turnout_bench::Protocol;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Relay,
    Turnout,
    Haproxy,
    Nginx,
    Envoy,
}

const PLAIN_PORT: u16 = 8080;
/// HAProxy and nginx want one of its own for HTTP/2 without TLS.
const HTTP2_PORT: u16 = 8081;
const SECURE_PORT: u16 = 8443;

impl Peer {
    pub(crate) const ALL: [Self; 5] = [Self::Relay, Self::Turnout, Self::Haproxy, Self::Nginx, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Turnout => "Turnout",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
        }
    }

    fn host(self) -> IpAddr {
        let last = match self {
            Self::Relay => 1,
            Self::Turnout => 2,
            Self::Haproxy => 3,
            Self::Nginx => 4,
            Self::Envoy => 5,
        };
        Ipv4Addr::new(127, 0, 1, last).into()
    }

    pub(crate) fn plain(self) -> SocketAddr {
        (self.host(), PLAIN_PORT).into()
    }

    pub(crate) fn secure(self) -> SocketAddr {
        (self.host(), SECURE_PORT).into()
    }

    /// Turnout's status port.
    pub(crate) fn turnout_status() -> SocketAddr {
        (Self::Turnout.host(), 15021).into()
    }

    /// Where work of this kind goes.
    pub(crate) fn address(self, work: &Steady) -> SocketAddr {
        match (work.is_secure, work.protocol, self) {
            (true, _, _) => self.secure(),
            (false, Protocol::Http2, Self::Haproxy | Self::Nginx) => (self.host(), HTTP2_PORT).into(),
            (false, _, _) => self.plain(),
        }
    }

    /// How it is started in the bed's folder, with so many workers.
    pub(crate) fn command(self, bed: &Bed, workers: u32) -> Command {
        let [folder, workers] = [bed.folder.path().display().to_string(), workers.to_string()];
        let mut command = Command::new(bed.program(self));
        match self {
            Self::Relay => command.args(["relay", &self.plain().to_string(), &GREEN.to_string()]),
            Self::Turnout => {
                let (host, status) = (self.host(), Self::turnout_status());
                command.args([
                    "--routes",
                    "turnout.yaml",
                    "--max-routes-bytes",
                    "16777216",
                    "--request-head-timeout-ms",
                    "30000",
                    "--credentials",
                    "credentials",
                    "--workers",
                    &workers,
                ]);
                command.args(["--listen", &format!("80={host}:{PLAIN_PORT}"), "--log", "error"]);
                command.args(["--listen", &format!("443={host}:{SECURE_PORT}"), "--status", &status.to_string()]);
                command.args(["--admin", &format!("{host}:9901")])
            }
            Self::Haproxy => {
                command.env("WORKERS", workers).env("BENCH_FOLDER", folder).args(["-db", "-q", "-f", "haproxy.cfg"])
            }
            Self::Nginx => {
                let workers = format!("daemon off; worker_processes {workers};");
                command.args(["-p", &folder, "-c", &format!("{folder}/nginx.conf"), "-g", &workers])
            }
            Self::Envoy => command.args([
                "--config-path",
                "envoy.yaml",
                "--concurrency",
                &workers,
                "--log-level",
                "error",
                "--disable-hot-restart",
            ]),
        };
        command
    }

    /// What it says of its version; an error if it is not there.
    pub(crate) fn version(self, program: &PathBuf) -> Result<String> {
        if self == Self::Relay {
            return Ok(env!("CARGO_PKG_VERSION").to_owned());
        }
        let flag = match self {
            Self::Haproxy | Self::Nginx => "-v",
            _ => "--version",
        };
        let said = Command::new(program).arg(flag).stdin(Stdio::null()).output();
        let said = said.with_context(|| format!("cannot start {}", program.display()))?;
        // nginx says it on standard error.
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line =
            text.lines().map(str::trim).find(|line| !line.is_empty()).context("it says nothing of its version")?;
        Ok(line.to_owned())
    }
}
