//! The programs of this workspace as an image needs them: linked statically, in a target folder of their own, so that
//! neither the flags nor the lock of the build that runs the tests get in the way.
//!
//! Cargo decides what is out of date. All are built at once, and no package is named: what they share then has one choice
//! of features, and is compiled once.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Image, repository};
use crate::process::{output, run_visibly};

/// Compiles the programs of all images of this workspace that are out of date, and returns the folder with them.
pub(super) fn static_binaries() -> Result<PathBuf> {
    compile(&repository(), &repository().join("target/static"), &Image::OWN.map(Image::name))
}

/// Compiles these programs of a workspace into this target folder, and returns the folder with them.
pub(super) fn compile(workspace: &Path, into: &Path, programs: &[&str]) -> Result<PathBuf> {
    let target = host_target()?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(workspace).args(["build", "--locked", "--profile", "quick", "--target", &target]);
    build.args(programs.iter().flat_map(|program| ["--bin", program]));
    build.arg("--target-dir").arg(into);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run_visibly(&mut build).context("cannot build the programs of the images")?;
    Ok(into.join(target).join("quick"))
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
