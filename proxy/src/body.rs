//! Bodies on their way through. A request body is whole when it is small, and otherwise streamed with backpressure: what
//! was read ahead, and what a retry may need, is kept; nothing else is. A response body is passed on frame by frame and
//! hands its connection back when it was read to the end.

mod client;
mod request;
mod response;

pub(crate) use client::ClientBody;
pub(crate) use request::{BodyLimits, RequestBody, TryBody};
pub(crate) use response::{Deadline, ResponseBody, ResponseLimits, UpstreamBody};
