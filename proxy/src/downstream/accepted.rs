//! An accepted connection on its way from the thread that accepts to a worker.

use super::places::Place;
use std::net::{SocketAddr, TcpStream};

/// See the module.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) gateway_port: u16,
    /// Gives the connection's place back when it is over.
    pub(crate) place: Place,
}
