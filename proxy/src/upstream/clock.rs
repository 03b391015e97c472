//! Time as endpoints have it, in one number that all workers can share.

use std::sync::LazyLock;
use tokio::time::Instant;

/// Milliseconds since the first call, plus one, so that 0 stands for never.
pub(super) fn clock_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}
