//! What was measured: for each cell, peer and measure the values of all rounds.

use serde::Serialize;

use super::cell::Cell;
use crate::bed::Peer;

#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Figures {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    cell: &'static str,
    peer: Peer,
    measure: Measure,
    unit: &'static str,
    /// In the order of the rounds.
    values: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    Cpu,
    CpuUser,
    CpuSystem,
    /// Of the processors that it has, one for each worker.
    Busy,
    Throughput,
    P50,
    P99,
    P999,
    Memory,
    MemoryPerConnection,
    StartUp,
    P99Swapped,
    Swaps,
}

impl Measure {
    pub(super) const ALL: [Self; 13] = [
        Self::Cpu,
        Self::CpuUser,
        Self::CpuSystem,
        Self::Busy,
        Self::Throughput,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Memory,
        Self::MemoryPerConnection,
        Self::StartUp,
        Self::P99Swapped,
        Self::Swaps,
    ];

    /// Its name in the table, and its unit.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("CPU per request", "us"),
            Self::CpuUser => ("user", "us"),
            Self::CpuSystem => ("kernel", "us"),
            Self::Busy => ("busy", "%"),
            Self::Throughput => ("requests per second", ""),
            Self::P50 => ("p50", "us"),
            Self::P99 => ("p99", "us"),
            Self::P999 => ("p99.9", "us"),
            Self::Memory => ("memory", "MiB"),
            Self::MemoryPerConnection => ("per connection", "B"),
            Self::StartUp => ("first answer", "ms"),
            Self::P99Swapped => ("p99 with swaps", "us"),
            Self::Swaps => ("swaps taken up", ""),
        }
    }

    /// By which peers are compared.
    pub(super) fn is_compared(self) -> bool {
        matches!(self, Self::Cpu | Self::MemoryPerConnection | Self::StartUp)
    }
}

/// The values of all rounds in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Figures {
    pub(super) fn add(&mut self, cell: &Cell, peer: Peer, measure: Measure, value: f64) {
        let is_this = |row: &&mut Row| (row.cell, row.peer, row.measure) == (cell.id, peer, measure);
        if let Some(row) = self.rows.iter_mut().find(is_this) {
            row.values.push(value);
        } else {
            let unit = measure.words().1;
            self.rows.push(Row { cell: cell.id, peer, measure, unit, values: vec![value] });
        }
    }

    pub(super) fn summary(&self, cell: &Cell, peer: Peer, measure: Measure) -> Option<Summary> {
        let row = self.rows.iter().find(|row| (row.cell, row.peer, row.measure) == (cell.id, peer, measure))?;
        let mut values = row.values.clone();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Summary { median, least, most })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::peers::cell::CELLS;

    #[test]
    fn a_summary_is_of_the_values_of_one_peer_in_one_cell() {
        let mut figures = Figures::default();
        let summary = |figures: &Figures| figures.summary(&CELLS[0], Peer::Turnout, Measure::Cpu);
        assert_eq!(summary(&figures), None);
        for value in [5.0, 1.0, 3.0] {
            figures.add(&CELLS[0], Peer::Turnout, Measure::Cpu, value);
            figures.add(&CELLS[1], Peer::Turnout, Measure::Cpu, 100.0);
            figures.add(&CELLS[0], Peer::Envoy, Measure::Cpu, 100.0);
            figures.add(&CELLS[0], Peer::Turnout, Measure::CpuUser, 100.0);
        }
        assert_eq!(summary(&figures).unwrap(), Summary { median: 3.0, least: 1.0, most: 5.0 });
        figures.add(&CELLS[0], Peer::Turnout, Measure::Cpu, 4.0);
        assert_eq!(summary(&figures).unwrap().median.to_bits(), 3.5_f64.to_bits());
    }
}
