//! What is seen while the demo runs: on a terminal one line that changes, elsewhere only the results. `NO_COLOR` asks
//! for plain lines, too.

use crate::output::{Output, print};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::io::IsTerminal as _;
use std::time::Duration;

/// How often the line moves by itself.
const TICK: Duration = Duration::from_millis(100);

/// The line, and what is printed above it.
pub(super) struct Progress {
    line: ProgressBar,
    output: Output,
}

impl Progress {
    pub(super) fn new(output: Output) -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let line = ProgressBar::new_spinner();
        if output == Output::Json || is_plain || !std::io::stderr().is_terminal() {
            line.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            line.enable_steady_tick(TICK);
        }
        Self { line, output }
    }

    /// Says what goes on.
    pub(super) fn say(&self, message: String) {
        self.line.set_message(message);
    }

    /// Prints a line of the result, unless that is to be JSON.
    pub(super) fn print(&self, text: &str) -> anyhow::Result<()> {
        if self.output == Output::Json {
            return Ok(());
        }
        self.line.suspend(|| print(text))
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        self.line.finish_and_clear();
    }
}
