//! Running other programs: what they print is returned, and what they complain about becomes the error.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))?;
    printed(command, &output)
}

/// The same for a program that reads `input`, which it must do before it prints much.
pub(crate) fn output_of_input(command: &mut Command, input: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", line(command)))?;
    let mut stdin = child.stdin.take().context("a piped process has a standard input")?;
    // A program that ends without reading all of it says why below.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {}", line(command)))?;
    printed(command, &output)
}

/// Runs a program that talks to whoever started this one.
pub(crate) fn run_visibly(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// The command as one would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

fn printed(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
        bail!("{} ended with {}: {said}", line(command), output.status);
    }
    Ok(stdout.into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn what_is_printed_is_returned() {
        assert_eq!(output(Command::new("echo").arg("hello")).unwrap(), "hello\n");
        assert_eq!(output_of_input(&mut Command::new("cat"), b"hello").unwrap(), "hello");
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("sh -c"), "{error}");
        assert!(error.to_string().ends_with("exit status: 3: no such thing"), "{error}");
    }
}
