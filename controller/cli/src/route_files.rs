//! Routes as commands are given them: a file, a directory laid out like a mounted ConfigMap, or standard input; and the
//! labels by which a gateway knows which documents are its own.

use crate::client::directory::yaml_files;
use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::RangedU64ValueParser;
#[cfg(feature = "cluster")]
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use turnout_routes::documents::Document;
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{MAX_SOURCE_BYTES, MOST_SOURCE_BYTES, Parsed, Problem, Problems, Source, locate, parse_up_to};

/// The gateway that is asked about.
#[derive(Args)]
pub(crate) struct GatewayArguments {
    /// The gateway's own labels, which Gateway.selector and sourceLabels are compared with.
    #[arg(long, value_name = "KEY=VALUE,...", env = "TURNOUT_LABELS", default_value = "istio=ingressgateway",
          value_delimiter = ',', value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// The gateway's own namespace, which exportTo and sourceNamespace are compared with.
    #[arg(long, value_name = "NAME", env = "TURNOUT_NAMESPACE", default_value = "default")]
    namespace: String,

    /// All routes together, in bytes; more are refused. A ConfigMap has room for 1 MiB, a file may have 64.
    #[arg(long, value_name = "BYTES", env = "TURNOUT_MAX_ROUTES_BYTES", default_value_t = MAX_SOURCE_BYTES,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_SOURCE_BYTES as u64))]
    max_routes_bytes: usize,
}

impl GatewayArguments {
    /// What is not exported there does not count.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads routes as this gateway does.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<RouteTexts> {
        RouteTexts::read(path, self.max_routes_bytes)
    }

    /// Reads routes that must be good. What is wrong with them is the error, one problem a line.
    pub(crate) fn read_documents(&self, path: &Path) -> anyhow::Result<Vec<Document>> {
        match self.read(path)?.parse() {
            Ok(parsed) => Ok(parsed.documents),
            Err(problems) => bail!("{} is refused:\n{problems}", path.display()),
        }
    }

    /// The router that this gateway makes of the documents.
    pub(crate) fn compile(&self, documents: &[Document]) -> Router {
        let labels: BTreeMap<String, String> = self.labels.iter().cloned().collect();
        compile(documents, &Identity { labels, namespace: self.namespace.clone() })
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// The texts of one set of routes, in the order in which a gateway reads them.
pub(crate) struct RouteTexts {
    texts: Vec<(String, Vec<u8>)>,
    max_bytes: usize,
}

impl RouteTexts {
    /// Reads a file, the `*.yaml` and `*.yml` of a directory, or for `-` standard input; of each no more than shows that it
    /// is too large.
    pub(crate) fn read(path: &Path, max_bytes: usize) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let bytes = read_up_to(std::io::stdin(), max_bytes).context("cannot read standard input")?;
            return Ok(Self { texts: vec![("<stdin>".to_owned(), bytes)], max_bytes });
        }
        let files = if path.is_dir() { yaml_files(path)? } else { vec![path.to_owned()] };
        if files.is_empty() {
            bail!("{} holds no *.yaml file", path.display());
        }
        let read = |file: PathBuf| {
            let bytes = File::open(&file).and_then(|opened| read_up_to(opened, max_bytes));
            Ok((file.display().to_string(), bytes.with_context(|| format!("cannot read {}", file.display()))?))
        };
        let texts = files.into_iter().map(read).collect::<anyhow::Result<_>>()?;
        Ok(Self { texts, max_bytes })
    }

    /// What a gateway would make of them.
    pub(crate) fn parse(&self) -> Result<Parsed, Problems> {
        parse_up_to(&self.sources(), self.max_bytes)
    }

    /// What a gateway would say of a router that it made of them.
    pub(crate) fn warnings(&self, router: &Router) -> Vec<Problem> {
        locate(&self.sources(), router.warnings())
    }

    /// Its documents as they are written, be it such as gateways refuse.
    #[cfg(feature = "cluster")]
    pub(crate) fn values(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut values = Vec::new();
        for (name, bytes) in &self.texts {
            for document in serde_yaml::Deserializer::from_slice(bytes) {
                let value = serde_json::Value::deserialize(document);
                values.push(value.with_context(|| format!("{name} is no YAML"))?);
            }
        }
        Ok(values)
    }

    fn sources(&self) -> Vec<Source<'_>> {
        self.texts.iter().map(|(name, bytes)| Source { name, bytes }).collect()
    }
}

fn read_up_to(from: impl io::Read, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
