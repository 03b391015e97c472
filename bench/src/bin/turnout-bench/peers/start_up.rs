//! How long it takes from the start of a process to its first answer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Repeat;
use super::cell::Cell;
use super::figures::{Figures, Measure};
use crate::bed::Bed;
use crate::bed::Peer;
use crate::bed::ask;

const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked: tokio rests for a millisecond at least, and what it takes is measured no finer.
const REST: Duration = Duration::from_micros(200);

pub(super) async fn measure(bed: &Bed, repeat: &Repeat, cell: &Cell, figures: &mut Figures) -> Result<()> {
    for _ in 0..repeat.rounds {
        for peer in bed.peers.keys().copied().filter(|peer| *peer != Peer::Relay) {
            let started = Instant::now();
            let proxy = bed.launch(peer, 1)?;
            // That it listens is not enough: a model has to answer.
            while ask::get(peer.plain(), "/score").await.is_err() {
                ensure!(started.elapsed() < PATIENCE, "{} does not answer", peer.name());
                tokio::time::sleep(REST).await;
            }
            figures.add(cell, peer, Measure::StartUp, started.elapsed().as_secs_f64() * 1e3);
            drop(proxy);
        }
    }
    Ok(())
}
