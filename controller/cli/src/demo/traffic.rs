//! The load of the demo: requests all the time over keep-alive connections, most of them without the header, some
//! pinned to green and some to blue. When blue is to go, a load without requests for blue takes over before the first
//! one ends.

use super::tally::{PINNED_BLUE, PINNED_GREEN, SPLIT, Tally};
use anyhow::Context as _;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use turnout_bench::{Load, Report, Run, Total, Variant};

/// The sample's override.
pub(super) const API_VERSION: &str = "x-api-version";
/// What is posted.
const BODY: &str = r#"{"data": [[1, 2, 3]]}"#;
/// Longer than any demo takes.
const MAX_DURATION: Duration = Duration::from_mins(30);

/// The load.
pub(super) struct Traffic {
    target: SocketAddr,
    connections: usize,
    tally: Arc<Tally>,
    run: Run,
    /// Of loads that have ended.
    former: Report,
}

impl Traffic {
    /// Starts the load: of ten requests eight without the header, one pinned to green, one to blue.
    pub(super) fn start(target: SocketAddr, connections: usize, tally: Arc<Tally>) -> anyhow::Result<Self> {
        let run = start(target, connections, &tally, true)?;
        Ok(Self { target, connections, tally, run, former: Report::default() })
    }

    /// From here on nobody asks for blue any more. Returns once the last such request has been answered.
    pub(super) async fn leave_blue(&mut self) -> anyhow::Result<()> {
        let next = start(self.target, self.connections, &self.tally, false)?;
        let former = std::mem::replace(&mut self.run, next);
        former.handle().stop();
        self.former.merge(&former.report().await);
        Ok(())
    }

    /// The account of everything so far.
    pub(super) fn report(&self) -> Report {
        let mut report = self.former.clone();
        report.merge(&self.run.handle().report());
        report
    }

    /// Ends the load and returns the account of all of it.
    pub(super) async fn end(self) -> Report {
        let Self { run, mut former, .. } = self;
        run.handle().stop();
        former.merge(&run.report().await);
        former
    }
}

fn start(target: SocketAddr, connections: usize, tally: &Arc<Tally>, with_blue: bool) -> anyhow::Result<Run> {
    let score = |name| Variant::post_json(name, PathAndQuery::from_static("/score"), BODY);
    let pinned =
        |name, value| score(name).with_header(HeaderName::from_static(API_VERSION), HeaderValue::from_static(value));
    let blue = pinned(PINNED_BLUE, "blue").with_share(u32::from(with_blue));
    let variants = vec![score(SPLIT).with_share(8), pinned(PINNED_GREEN, "green"), blue];
    let mut load = Load::new(target, Total::UntilStopped { max_requests: u64::MAX }, variants);
    load.connections = connections;
    load.max_duration = MAX_DURATION;
    let tally = Arc::clone(tally);
    load.on_response = Some(Arc::new(move |answer| tally.record(answer)));
    load.start().context("cannot start the load")
}
