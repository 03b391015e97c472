//! Which hosts are served on which port, and in what: clear text, or TLS by the server name that a client asks for.

use super::host_map::HostMap;
use super::hosts::HostTable;
use super::request::Transport;
use crate::documents::{CipherSuite, ClientAuth, Credential, HostPattern, ServerHost, TlsVersion};
use std::collections::BTreeMap;

/// The host tables by port.
#[derive(Debug)]
pub(super) enum Listeners {
    /// No Gateway document: the same hosts on every port, in clear text.
    Whole(HostTable),
    /// By `port.number` of the Gateway servers.
    ByPort(BTreeMap<u16, PortTable>),
}

/// The servers of one Gateway port. Clear-text servers share one table; each TLS server has its own, so that the server
/// name of one with the Host of another is a 404, as in Istio.
#[derive(Debug, Default)]
pub(super) struct PortTable {
    pub(super) plain: Option<HostTable>,
    tls: Vec<TlsServer>,
    /// Indices into `tls`; none for those that are turned away.
    tls_by_name: HostMap<Option<usize>>,
}

/// A TLS server of a Gateway.
#[derive(Debug)]
pub struct TlsServer {
    /// Server names that it is for; `*` also takes clients that name none.
    pub hosts: Vec<HostPattern>,
    /// Its certificate.
    pub credential: Credential,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The oldest version accepted.
    pub min_version: TlsVersion,
    /// The newest version offered.
    pub max_version: TlsVersion,
    /// Those that TLS 1.2 may use; none stands for all.
    pub cipher_suites: Vec<CipherSuite>,
    pub(super) table: HostTable,
}

/// What a listener has to do before it reads the first request of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum PortKind {
    /// Clear text.
    Plain,
    /// TLS; the server is found by [`super::Router::tls_server`].
    Tls,
    /// No document names the port; requests are answered with 404.
    Unknown,
}

impl Default for Listeners {
    fn default() -> Self {
        Self::Whole(HostTable::default())
    }
}

impl Listeners {
    pub(super) fn table(&self, port: u16, transport: Transport<'_>) -> Option<&HostTable> {
        match (self, transport) {
            (Self::Whole(table), _) => Some(table),
            (Self::ByPort(ports), Transport::Plain) => ports.get(&port)?.plain.as_ref(),
            (Self::ByPort(ports), Transport::Tls { server_name }) => {
                Some(&ports.get(&port)?.tls_server(server_name)?.table)
            }
        }
    }

    pub(super) fn kind(&self, port: u16) -> PortKind {
        match self {
            Self::Whole(_) => PortKind::Plain,
            Self::ByPort(ports) => match ports.get(&port) {
                None => PortKind::Unknown,
                Some(table) if table.plain.is_some() => PortKind::Plain,
                Some(_) => PortKind::Tls,
            },
        }
    }

    /// None where there is no Gateway document.
    pub(super) fn by_port(&self) -> Option<&BTreeMap<u16, PortTable>> {
        match self {
            Self::Whole(_) => None,
            Self::ByPort(ports) => Some(ports),
        }
    }
}

impl PortTable {
    /// Of two servers for one name the first keeps it.
    pub(super) fn add_tls(&mut self, server: TlsServer) {
        for host in &server.hosts {
            self.tls_by_name.entry(host.clone(), || Some(self.tls.len()));
        }
        self.tls.push(server);
    }

    /// Another server has these hosts, one that is not the gateway's: no wider one may answer for it.
    pub(super) fn turn_away(&mut self, hosts: &[ServerHost]) {
        for host in hosts {
            self.tls_by_name.entry(host.host.clone(), || None);
        }
    }

    /// Whether anything is served there.
    pub(super) fn is_served(&self) -> bool {
        self.plain.is_some() || !self.tls.is_empty()
    }

    pub(super) fn tls_server(&self, server_name: Option<&str>) -> Option<&TlsServer> {
        let index = match server_name {
            Some(name) => self.tls_by_name.get(name),
            None => self.tls_by_name.any(),
        };
        self.tls.get((*index?)?)
    }

    pub(super) fn tls_servers(&self) -> &[TlsServer] {
        &self.tls
    }
}
