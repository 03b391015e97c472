//! The gateway's process: arguments in, exit code out. Everything else is in the library.

use clap::Parser;
use std::process::ExitCode;
use turnout_proxy::Arguments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(turnout_proxy::run(Arguments::parse()))
}
