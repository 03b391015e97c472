//! The client's side: from a listening socket to the requests that the gateway handles.

mod accepted;
mod client_io;
mod ending;
pub(crate) mod listener;
pub(crate) mod local_thread;
mod opening;
pub(crate) mod places;
mod protocols;
mod serve;
mod streams;
pub(crate) mod tls;
pub(crate) mod worker;
