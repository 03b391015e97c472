//! What stands in for the commands on clusters in a build that has no access to them: it says so.

use anyhow::bail;
use clap::Args;

/// Needs access to clusters.
#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

pub(crate) fn run(_: &Arguments) -> anyhow::Result<u8> {
    bail!("this build has no access to clusters: build turnout with its feature `cluster`, which is on by default")
}
