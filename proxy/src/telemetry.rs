//! What is told of requests: one record each, counted in the metrics and written to the access log.

pub(crate) mod access_log;
pub(crate) mod cells;
pub(crate) mod exposition;
pub(crate) mod metrics;
pub(crate) mod record;
