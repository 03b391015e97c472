//! A lane: one request after the other, over a connection of its own or a stream of a shared one.
//!
//! It takes a turn, waits until it is due, sends, reads the whole response and records exactly one outcome for every request that
//! it began. It ends when there are no more turns or the run is over, never in the middle of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::connection::{Connection, Loss, Slot, read_body};
use super::run::Shared;
use super::turns::Turn;
use super::{Answer, Variant};
use crate::failure::{Failure, FailureKind};

/// How long a lane rests when it cannot connect, so that a server that is down is not hammered.
const REST_AFTER_CONNECT_FAILURE: Duration = Duration::from_millis(10);

/// A complete response.
struct Exchange {
    sent_at: Instant,
    received_at: Instant,
    head: http::response::Parts,
    body: Bytes,
}

pub(super) struct Lane {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    connection: Option<Connection>,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, slot: Arc<Slot>) -> Self {
        Self { shared, slot, connection: None }
    }

    pub(super) async fn run(mut self) {
        while let Some(turn) = self.next_turn().await {
            let shared = Arc::clone(&self.shared);
            let limit = shared.load.timeout;
            match timeout(limit, self.exchange(turn.variant)).await {
                Ok(Ok(exchange)) => record_answer(&shared, &turn, &exchange),
                Ok(Err(failure)) => self.give_up(turn.variant, &failure).await,
                Err(_elapsed) => {
                    let failure = Failure::new(FailureKind::Timeout, format!("no complete response within {limit:?}"));
                    self.give_up(turn.variant, &failure).await;
                }
            }
        }
    }

    /// The next turn once it is due, or none when this lane is done. A turn that is not due before the end is never sent.
    async fn next_turn(&self) -> Option<Turn> {
        let shared = &self.shared;
        if shared.is_ending() {
            return None;
        }
        let Some(alarm) = &shared.alarm else { return shared.take_turn() };
        let next = async {
            // The lane that has been free for longest has it, and the others stand behind.
            let mut alarm = alarm.lock().await;
            let turn = shared.take_turn()?;
            alarm.at(shared.started + turn.due?).await;
            Some(turn)
        };
        tokio::select! {
            turn = next => turn,
            () = shared.ending() => None,
        }
    }

    /// Sends a request and reads its whole response, on a new connection if the server has closed the old one between requests.
    async fn exchange(&mut self, variant: usize) -> Result<Exchange, Failure> {
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.slot.connection(|resumed| self.shared.count_connection(resumed)).await?,
            };
            match self.exchange_over(&mut connection, variant).await {
                Ok(exchange) => {
                    connection.set_answered();
                    self.connection = self.slot.keeps().then_some(connection);
                    return Ok(exchange);
                }
                Err(Loss::Failed(failure)) => return Err(failure),
                Err(Loss::NotSent(failure)) => {
                    connection.set_over();
                    if !connection.has_answered() {
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn exchange_over(&self, connection: &mut Connection, variant: usize) -> Result<Exchange, Loss> {
        connection.ready().await?;
        let request = self.shared.requests[variant].clone();
        let sent_at = Instant::now();
        let (head, body) = connection.send(request).await?.into_parts();
        let body = read_body(body, self.shared.keeps_bodies).await.map_err(Loss::Failed)?;
        Ok(Exchange { sent_at, received_at: Instant::now(), head, body })
    }

    async fn give_up(&mut self, variant: usize, failure: &Failure) {
        self.shared.record_failure(variant, failure);
        if matches!(failure.kind, FailureKind::Refused | FailureKind::Unreachable) {
            tokio::time::sleep(REST_AFTER_CONNECT_FAILURE).await;
        }
    }
}

fn record_answer(shared: &Shared, turn: &Turn, exchange: &Exchange) {
    let variant: &Variant = &shared.load.variants[turn.variant];
    let answer = Answer {
        variant: &variant.name,
        sent_at: exchange.sent_at,
        received_at: exchange.received_at,
        status: exchange.head.status,
        headers: &exchange.head.headers,
        body: &exchange.body,
    };
    if let Some(hook) = &shared.load.on_response {
        hook(&answer);
    }
    let label = shared.load.label.of(&answer);
    let latency = exchange.received_at - turn.due.map_or(exchange.sent_at, |due| shared.started + due);
    shared.record_answer(turn.variant, answer.status, label.as_deref(), latency);
}
