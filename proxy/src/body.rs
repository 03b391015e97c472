//! Request bodies on their way through. One is whole when it is small, and otherwise streamed with backpressure: what was
//! read ahead, and what a retry may need, is kept; nothing else is.

pub(crate) mod client;
pub(crate) mod copy;
pub(crate) mod linger;
pub(crate) mod replay;
pub(crate) mod stream;
