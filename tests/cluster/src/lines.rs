//! Standard input as lines that an async loop can wait for. Reading it blocks, so a thread of its own does.

use std::io::{BufRead as _, stdin};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The lines of standard input; the channel closes at its end.
pub(crate) fn standard_input() -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
