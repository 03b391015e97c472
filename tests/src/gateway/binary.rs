//! The gateway's binary, fresh: cargo builds it beside the running test executable, with the same profile.
//!
//! Cargo tells only a package's own tests where its binaries are, and does not build them for the tests of another
//! package. Building takes a moment when nothing has changed, and cannot test yesterday's gateway.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow};

const PROGRAM: &str = "turnout-proxy";

/// The path of a freshly built `turnout-proxy`. Cargo runs once in each test process; its error is every caller's.
pub fn proxy_binary() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build() -> anyhow::Result<PathBuf> {
    let test = env::current_exe().context("finding the test executable")?;
    let BuildPlace { target, profile, binaries } = BuildPlace::of(&test)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Of the whole workspace: by itself the package would have other features, and be compiled anew with all beneath it.
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--workspace", "--bin", PROGRAM]);
    cargo.arg("--profile").arg(&profile).arg("--target-dir").arg(&target);
    let output = cargo.output().with_context(|| format!("running {cargo:?}"))?;
    if !output.status.success() {
        anyhow::bail!("{cargo:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(binaries.join(PROGRAM))
}

/// Where and how cargo built a test executable.
#[derive(Debug, PartialEq, Eq)]
struct BuildPlace {
    target: PathBuf,
    profile: String,
    binaries: PathBuf,
}

impl BuildPlace {
    /// Reads it from `TARGET/PROFILE/deps/TEST`; the directory of the profile `dev` is called `debug`.
    fn of(test: &Path) -> anyhow::Result<Self> {
        let binaries = test.parent().and_then(Path::parent);
        let target = binaries.and_then(Path::parent);
        let profile = binaries.and_then(Path::file_name).map(|name| name.to_string_lossy());
        match (target, profile, binaries) {
            (Some(target), Some(profile), Some(binaries)) => Ok(Self {
                target: target.to_owned(),
                profile: if profile == "debug" { "dev".to_owned() } else { profile.into_owned() },
                binaries: binaries.to_owned(),
            }),
            _ => anyhow::bail!("{} is not in TARGET/PROFILE/deps", test.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BuildPlace;
    use std::path::Path;

    #[test]
    fn the_profile_is_read_from_the_path_of_the_test() {
        for (directory, profile) in [("debug", "dev"), ("release", "release"), ("quick", "quick")] {
            let binaries = Path::new("/t").join(directory);
            let place = BuildPlace::of(&binaries.join("deps/parity-1a2b")).expect("the path is deep enough");
            assert_eq!(place, BuildPlace { target: "/t".into(), profile: profile.to_owned(), binaries });
        }
        BuildPlace::of(Path::new("parity")).expect_err("there is no directory above");
    }
}
