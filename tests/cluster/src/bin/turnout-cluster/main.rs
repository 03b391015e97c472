//! `turnout-cluster`: starts, uses and takes down a test cluster; see `turnout-cluster --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnout_cluster::command_line::main()
}
