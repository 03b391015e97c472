//! The client's side: from a listening socket to the requests that the gateway handles.

pub(crate) mod listener;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod worker;
