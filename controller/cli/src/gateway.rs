//! `turnout gateway`: the gateway itself, as a process of this binary. `demo` and `local` start it so; in a cluster it
//! is the binary `turnout-proxy`.

use clap::Args;
use std::io;
use std::process::Command;

/// Runs the gateway in this process.
#[derive(Args)]
#[group(skip)]
pub(crate) struct Arguments {
    #[command(flatten)]
    gateway: turnout_proxy::Arguments,

    /// End when standard input closes, as it does when the process that started this one ends, however it does.
    #[arg(long)]
    exit_with_parent: bool,
}

pub(crate) fn run(arguments: Arguments) -> u8 {
    if arguments.exit_with_parent {
        std::thread::spawn(end_with_standard_input);
    }
    turnout_proxy::run(arguments.gateway)
}

/// The gateway leaves gently on a signal, and a process can send itself one only by this tool, or by unsafe code.
fn end_with_standard_input() {
    // An error, too, means that nobody is there any more.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    let told = Command::new("kill").arg("-TERM").arg(std::process::id().to_string()).status();
    if !told.is_ok_and(|status| status.success()) {
        std::process::exit(0);
    }
}
