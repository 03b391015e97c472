//! What people want: the documents and rollouts of a directory, read so that half a file is never taken for a whole
//! one, and kept in their last good form while something is wrong with them.

use crate::client::directory::yaml_files;
use crate::client::directory::{Directory, parse_rollout};
use crate::client::observe::check_revision;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};
use turnout_rollout::{Mode, ModelRollout, Workload};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// The files of the directory, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    documents: Vec<(String, Vec<u8>)>,
    /// By the rollout's name.
    rollouts: Vec<(String, Vec<u8>)>,
}

/// The documents and rollouts in their last good form.
#[derive(Debug, Default)]
pub(crate) struct World {
    seen: Option<Files>,
    taken: Option<Files>,
    documents: Option<Vec<Document>>,
    rollouts: BTreeMap<String, ModelRollout>,
    problems: Vec<String>,
    is_complete: bool,
}

impl World {
    /// Reads the files. Those that changed are taken when they read the same twice; false says that a second look is
    /// due.
    pub(crate) fn look(&mut self, directory: &Directory) -> anyhow::Result<bool> {
        let files = Files::read(directory)?;
        if self.taken.as_ref() == Some(&files) {
            self.seen = None;
            return Ok(true);
        }
        if self.seen.as_ref() != Some(&files) {
            self.seen = Some(files);
            return Ok(false);
        }
        self.take(files);
        Ok(true)
    }

    fn take(&mut self, files: Files) {
        self.problems.clear();
        self.take_documents(&files.documents);
        self.take_rollouts(&files.rollouts);
        self.seen = None;
        self.taken = Some(files);
    }

    fn take_documents(&mut self, files: &[(String, Vec<u8>)]) {
        let sources: Vec<Source<'_>> = files.iter().map(|(name, bytes)| Source { name, bytes }).collect();
        match parse(&sources) {
            Ok(parsed) => self.documents = Some(parsed.documents),
            Err(problems) => self.problems.extend(problems.as_slice().iter().map(ToString::to_string)),
        }
    }

    /// A rollout that cannot be read and has no good form holds everything up: without it the weights of its rule would
    /// be those of the documents.
    fn take_rollouts(&mut self, files: &[(String, Vec<u8>)]) {
        let mut rollouts = BTreeMap::new();
        self.is_complete = true;
        for (name, bytes) in files {
            match parse_rollout(name, bytes).and_then(refuse_what_cannot_be_local) {
                Ok(rollout) => {
                    rollouts.insert(name.clone(), rollout);
                }
                Err(error) => {
                    self.problems.push(format!("rollouts/{name}.yaml: {error:#}"));
                    if let Some(good) = self.rollouts.remove(name) {
                        rollouts.insert(name.clone(), good);
                    } else {
                        self.is_complete = false;
                        self.problems.push(format!("nothing is published until rollouts/{name}.yaml can be read"));
                    }
                }
            }
        }
        self.rollouts = rollouts;
    }

    /// The documents; none before there were good ones.
    pub(crate) fn documents(&self) -> Option<&[Document]> {
        self.documents.as_deref()
    }

    /// What is published stands in for documents that were never good since the driver's start.
    pub(crate) fn fall_back_to(&mut self, published: &[Document]) {
        if self.taken.is_some() && self.documents.is_none() && !published.is_empty() {
            self.documents = Some(published.to_vec());
        }
    }

    pub(crate) fn rollouts(&self) -> impl Iterator<Item = (&str, &ModelRollout)> {
        self.rollouts.iter().map(|(name, rollout)| (name.as_str(), rollout))
    }

    /// The names of all rollouts, good or not; none before the first look.
    pub(crate) fn rollout_names(&self) -> Option<Vec<&str>> {
        let files = self.taken.as_ref()?;
        Some(files.rollouts.iter().map(|(name, _)| name.as_str()).collect())
    }

    /// Every rollout is known, so that publishing leaves none of them out.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// What is wrong with the files.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Files {
    fn read(directory: &Directory) -> anyhow::Result<Self> {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            documents: read_all(yaml_files(&directory.documents())?, name)?,
            rollouts: read_all(yaml_files(&directory.rollouts())?, stem)?,
        })
    }
}

fn read_all(files: Vec<PathBuf>, name: impl Fn(&PathBuf) -> String) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut texts = Vec::new();
    for path in files {
        match fs::read(&path) {
            Ok(bytes) => texts.push((name(&path), bytes)),
            // Editors have files that are there for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    Ok(texts)
}

fn refuse_what_cannot_be_local(rollout: ModelRollout) -> anyhow::Result<ModelRollout> {
    anyhow::ensure!(
        rollout.spec.workload == Workload::External,
        "spec.workload: Managed needs a cluster: write External"
    );
    anyhow::ensure!(rollout.spec.mode == Mode::Gateway, "spec.mode: Istio needs a cluster: write Gateway");
    rollout.spec.revision.as_deref().map_or(Ok(()), check_revision)?;
    Ok(rollout)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    const DOCUMENT: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: model}\n\
        spec:\n  \
        hosts: [m.example]\n  http: [{route: [{destination: {host: g.example, port: {number: 80}}}]}]\n";
    const ROLLOUT: &str = "apiVersion: turnout.dev/v1alpha1\nkind: ModelRollout\nmetadata: {name: model}\n\
        spec:\n  route: {virtualService: model}\n  green: {host: g}\n  blue: {host: b}\n";

    fn world(document: &str, rollout: &str) -> (tempfile::TempDir, Directory, World) {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::make(root.path()).unwrap();
        write(&directory, document, rollout);
        let mut world = World::default();
        assert!(!world.look(&directory).unwrap());
        assert!(world.look(&directory).unwrap());
        (root, directory, world)
    }

    fn write(directory: &Directory, document: &str, rollout: &str) {
        fs::write(directory.documents().join("model.yaml"), document).unwrap();
        fs::write(directory.rollout_file("model"), rollout).unwrap();
    }

    #[test]
    fn a_change_is_taken_when_it_reads_the_same_twice() {
        let (_root, directory, mut world) = world(DOCUMENT, ROLLOUT);
        write(&directory, DOCUMENT, &ROLLOUT.replace("  blue", "  revision: B\n  blue"));
        assert!(!world.look(&directory).unwrap());
        assert_eq!(world.rollouts().next().unwrap().1.spec.revision, None);
        assert!(world.look(&directory).unwrap());
        assert_eq!(world.rollouts().next().unwrap().1.spec.revision.as_deref(), Some("B"));
    }

    #[test]
    fn bad_files_keep_their_last_good_form_and_are_told() {
        let (_root, directory, mut world) = world(DOCUMENT, ROLLOUT);
        write(&directory, &DOCUMENT.replace("hosts", "hots"), &ROLLOUT.replace("green", "gren"));
        world.look(&directory).unwrap();
        world.look(&directory).unwrap();
        assert_eq!(world.documents().unwrap().len(), 1);
        assert_eq!(world.rollouts().count(), 1);
        assert!(world.is_complete());
        let problems = world.problems().join("\n");
        assert!(problems.contains("model.yaml:5:3: VirtualService default/model: spec.hots"), "{problems}");
        assert!(problems.contains("rollouts/model.yaml: ") && problems.contains("gren"), "{problems}");
    }

    #[test]
    fn without_any_good_form_of_a_rollout_nothing_may_be_published() {
        let (_root, _directory, world) = world(DOCUMENT, "kind: ModelRollout");
        assert!(!world.is_complete());
        assert_eq!(world.rollout_names().unwrap(), ["model"]);
    }

    #[test]
    fn what_cannot_be_local_is_refused() {
        let check = |field: &str, expected: &str| {
            let (_root, _directory, world) = world(DOCUMENT, &ROLLOUT.replace("  blue", &format!("  {field}\n  blue")));
            let problems = world.problems().join("\n");
            assert!(problems.starts_with(&format!("rollouts/model.yaml: {expected}")), "{problems}");
        };
        check("workload: Managed", "spec.workload: Managed needs a cluster: write External");
        check("mode: Istio", "spec.mode: Istio needs a cluster: write Gateway");
        check("revision: sha256:3f2a", "revision `sha256:3f2a` is no value of a label");
    }
}
