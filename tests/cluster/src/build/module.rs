//! What others publish as Go modules, compiled as it is: a module of this package names the version of each, and the
//! checksums of everything that it is made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{output, run_visibly};

/// A `go.mod` without programs of its own.
pub(crate) struct Module {
    folder: PathBuf,
}

impl Module {
    /// The one in this folder of this package.
    pub(crate) fn new(folder: &str) -> Self {
        Self { folder: Path::new(env!("CARGO_MANIFEST_DIR")).join(folder) }
    }

    /// Everything that its programs depend on.
    pub(crate) fn stamp(&self) -> Result<String> {
        let mut stamp =
            output(self.go().arg("version")).context("a program is written in Go: install Go 1.26 or later")?;
        for file in ["go.mod", "go.sum"] {
            let path = self.folder.join(file);
            stamp.push_str(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(stamp)
    }

    /// Compiles a package into this file, with these build tags.
    pub(crate) fn compile(&self, package: &str, tags: &str, into: &Path) -> Result<()> {
        let mut build = self.go();
        build.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]);
        run_visibly(build.args(["-tags", tags, "-o"]).arg(into).arg(package))
    }

    /// The text of a file as the authors of this module, which is required here, publish it.
    pub(crate) fn file(&self, module: &str, file: &str) -> Result<String> {
        let folder = output(self.go().args(["list", "-m", "-f", "{{.Dir}}", module]))?;
        let path = Path::new(folder.trim()).join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(&self.folder);
        go
    }
}
