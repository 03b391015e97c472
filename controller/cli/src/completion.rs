//! `turnout completion`: what a shell has to read to complete verbs and flags.

use crate::NAME;
use crate::output::{DONE, print};
use clap::Args;
use clap_complete::{Shell, generate};

/// Prints a script by which a shell completes verbs, flags and their values.
#[derive(Args)]
#[command(after_help = "\
Examples:
  source <(turnout completion bash)                                              for this shell
  turnout completion bash > /etc/bash_completion.d/turnout                       for every bash
  turnout completion zsh > \"${fpath[1]}/_turnout\"
  turnout completion fish > ~/.config/fish/completions/turnout.fish
  turnout completion powershell | Out-String | Invoke-Expression")]
pub(crate) struct Arguments {
    /// The shell that reads it.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, command: &clap::Command) -> anyhow::Result<u8> {
    // Verbs that people do not call are hidden from help, and from here.
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let mut visible = clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION")).subcommands(verbs);
    let mut script = Vec::new();
    generate(arguments.shell, &mut visible, NAME, &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(DONE)
}
