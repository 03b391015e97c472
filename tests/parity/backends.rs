//! The backends of a case: those that every case has, and what some ask for beside them.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use turnout_tests::echo::{Backends, NAMES, Speaks};
use turnout_tests::mount::KubeletMount;

use crate::certificates::{self, server};
use crate::family::{Case, Placeholders};
use crate::runner::GATEWAY_PORTS;

/// Everything that placeholders of a case stand for.
pub(crate) struct Scene {
    pub(crate) backends: Backends,
    pub(crate) placeholders: Placeholders,
    /// What must live as long.
    _held: (KubeletMount, Option<Silent>),
}

impl Scene {
    pub(crate) async fn start(case: &Case) -> anyhow::Result<Self> {
        let (backends, certificates) = (Backends::start().await?, certificates::mount()?);
        let mut placeholders = Placeholders::from([
            ("CERTS", certificates.path().display().to_string()),
            ("DEAD", backends.refusing_address().port().to_string()),
            ("CLIENT_IP", "127.0.0.1".to_owned()),
        ]);
        let silent = if case.names("SILENT") { Some(Silent::start().await?) } else { None };
        if let Some(silent) = &silent {
            placeholders.insert("SILENT", silent.address.port().to_string());
        }
        let mut scene = Self { backends, placeholders, _held: (certificates, silent) };
        for (placeholder, name) in ["GREEN", "BLUE", "RED", "MIRROR", "MIRROR2"].into_iter().zip(NAMES) {
            scene.placeholders.insert(placeholder, scene.backends.address(name).port().to_string());
        }
        for (placeholder, port) in GATEWAY_PORTS {
            scene.placeholders.insert(placeholder, port.to_string());
        }
        for (placeholder, name) in OTHERS {
            if case.names(placeholder) {
                let address = scene.backends.listen(name, speaks(placeholder)?).await?;
                scene.placeholders.insert(placeholder, address.port().to_string());
            }
        }
        Ok(scene)
    }
}

/// Other ports of backends.
const OTHERS: [(&str, &str); 8] = [
    ("GREEN_H2C", "green"),
    ("MIRROR_H2C", "mirror"),
    ("GREEN_BOTH", "green"),
    ("GREEN_TLS", "green"),
    ("RED_TLS", "red"),
    ("MIRROR_TLS", "mirror"),
    ("GREEN_MTLS", "green"),
    ("GREEN_TLS_H2", "green"),
];

fn speaks(placeholder: &str) -> anyhow::Result<Speaks> {
    Ok(match placeholder {
        "GREEN_H2C" | "MIRROR_H2C" => Speaks::Http2,
        "GREEN_BOTH" => Speaks::Either,
        "GREEN_TLS_H2" => Speaks::Tls(server("a", &["h2", "http/1.1"], false)?),
        "GREEN_MTLS" => Speaks::Tls(server("a", &["http/1.1"], true)?),
        "RED_TLS" => Speaks::Tls(server("wild", &["http/1.1"], false)?),
        _ => Speaks::Tls(server("a", &["http/1.1"], false)?),
    })
}

/// A port that neither accepts nor refuses: its queue of connections is full.
struct Silent {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: TcpStream,
}

impl Silent {
    async fn start() -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // One more than this waits in the queue.
        let listener = socket.listen(0)?;
        let address = listener.local_addr()?;
        Ok(Self { address, _queued: TcpStream::connect(address).await?, _listener: listener })
    }
}
