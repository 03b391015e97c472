//! The programs of this workspace as an image needs them: linked statically, in a target folder of their own, so that
//! neither the flags nor the lock of the build that runs the tests get in the way.
//!
//! Cargo decides what is out of date. Each program is built by itself: what one of them needs of a shared crate then
//! does not depend on which others a suite asks for, and nothing is compiled again because of it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::repository;
use crate::process::{output, run_visibly};

/// Compiles the program `binary` of `package` if it is out of date, and returns where it is.
pub(super) fn static_binary(package: &str, binary: &str) -> Result<PathBuf> {
    let target = host_target()?;
    let folder = repository().join("target/static");
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(repository());
    build.args(["build", "--locked", "--profile", "quick", "--package", package, "--bin", binary, "--target", &target]);
    build.arg("--target-dir").arg(&folder);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // An image is copied more often than it is debugged; backtraces still have names.
    build.env("CARGO_PROFILE_QUICK_DEBUG", "false").env("CARGO_PROFILE_QUICK_STRIP", "debuginfo");
    run_visibly(&mut build).with_context(|| format!("cannot build {binary}"))?;
    Ok(folder.join(target).join("quick").join(binary))
}

/// The flags apply to the program and not to what runs during the build only where a target is named.
fn host_target() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = output(Command::new(rustc).arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV does not name its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::host_target;

    #[test]
    fn the_target_is_that_of_this_machine() {
        assert!(host_target().unwrap().starts_with(std::env::consts::ARCH));
    }
}
