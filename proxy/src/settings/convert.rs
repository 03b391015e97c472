//! The one conversion from what was written to what is used. Every method hands back a stand-in for a bad value, so that
//! the conversion goes on and all problems are reported together; nothing is started with a stand-in, since
//! [`Conversion::finish`] refuses.

use super::{AccessLogForm, ListenerSettings};
use crate::files;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// All that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(Vec<String>);

#[derive(Default)]
pub(super) struct Conversion {
    problems: Vec<String>,
}

const STAND_IN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Conversion {
    pub(super) fn finish<T>(self, settings: T) -> Result<T, SettingsError> {
        if self.problems.is_empty() { Ok(settings) } else { Err(SettingsError(self.problems)) }
    }

    fn problem(&mut self, flag: &str, value: &dyn Display, advice: &dyn Display) {
        self.problems.push(format!("{flag}: `{value}` {advice}"));
    }

    pub(super) fn address(&mut self, flag: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.problem(flag, &text, &"is not an address; write ADDR:PORT, as 127.0.0.1:8080 or [::1]:8080");
            STAND_IN
        })
    }

    pub(super) fn listeners(&mut self, listen: &[String]) -> Vec<ListenerSettings> {
        let listeners: Vec<_> = listen.iter().map(|text| self.listener(text)).collect();
        for (index, listener) in listeners.iter().enumerate() {
            let twice = |other: &ListenerSettings| other.address == listener.address && listener.address.port() != 0;
            if listeners[..index].iter().any(twice) {
                self.problem("--listen", &listener.address, &"is given twice");
            }
        }
        listeners
    }

    fn listener(&mut self, text: &str) -> ListenerSettings {
        let (port, address) = match text.split_once('=') {
            Some((port, address)) => (Some(port), address),
            None => (None, text),
        };
        let gateway_port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0));
        match (gateway_port, address.parse::<SocketAddr>()) {
            (Some(Some(gateway_port)), Ok(address)) => ListenerSettings { gateway_port, address },
            (None, Ok(address)) => ListenerSettings { gateway_port: address.port(), address },
            _ => {
                self.problem("--listen", &text, &"is not [GATEWAY_PORT=]ADDR:PORT, as 80=0.0.0.0:8080");
                ListenerSettings { gateway_port: 0, address: STAND_IN }
            }
        }
    }

    pub(super) fn number<T>(&mut self, flag: &str, text: &str, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + FromStr + PartialOrd,
    {
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = range.into_inner();
                self.problem(flag, &text, &format_args!("is not a whole number from {low} to {high}"));
                low
            }
        }
    }

    pub(super) fn workers(&mut self, text: &str) -> NonZeroUsize {
        let one_per_core = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(self.number("--workers", text, 0..=1024)).unwrap_or_else(one_per_core)
    }

    /// A time that may be 0.
    pub(super) fn milliseconds(&mut self, flag: &str, text: &str) -> Duration {
        Duration::from_millis(self.number(flag, text, 0..=86_400_000))
    }

    /// A time after which something is given up; 0 would give up everything.
    pub(super) fn timeout(&mut self, flag: &str, text: &str) -> Duration {
        Duration::from_millis(self.number(flag, text, 1..=86_400_000))
    }

    pub(super) fn labels(&mut self, text: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for pair in list(text) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    labels.insert(key.to_owned(), value.to_owned());
                }
                _ => self.problem("--labels", &pair, &"is not KEY=VALUE"),
            }
        }
        labels
    }

    pub(super) fn networks(&mut self, flag: &str, text: &str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for network in list(text) {
            match network
                .parse::<IpNet>()
                .or_else(|error| network.parse::<IpAddr>().map(IpNet::from).map_err(|_| error))
            {
                Ok(network) => networks.push(network),
                Err(_) => self.problem(flag, &network, &"is not a network, as 10.0.0.0/8"),
            }
        }
        networks
    }

    pub(super) fn access_log(&mut self, text: &str) -> AccessLogForm {
        match text {
            "off" => AccessLogForm::Off,
            "json" => AccessLogForm::Json,
            "text" => AccessLogForm::Text,
            _ => {
                self.problem("--access-log", &text, &"is not one of off, json, text");
                AccessLogForm::Off
            }
        }
    }

    pub(super) fn log_format(&mut self, text: &str) {
        if !matches!(text, "json" | "text") {
            self.problem("--log-format", &text, &"is not one of json, text");
        }
    }

    pub(super) fn name(&mut self, flag: &str, text: String) -> String {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if text.is_empty() || !text.bytes().all(name) {
            self.problem(flag, &text, &"is not a Kubernetes name");
        }
        text
    }

    pub(super) fn readable(&mut self, flag: &str, path: PathBuf) -> PathBuf {
        let readable = std::fs::metadata(&path).and_then(|metadata| {
            if metadata.is_dir() { std::fs::read_dir(&path).map(drop) } else { files::open(&path).map(drop) }
        });
        if let Err(error) = readable {
            self.problem(flag, &path.display(), &format_args!("cannot be read: {error}"));
        }
        path
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
