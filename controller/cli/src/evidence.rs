//! What gateways have counted, as commands are given it: their `/evidence` pages, from files and URLs, added up. Adding is
//! the kernel's own, so that many gateways come to what one would have come to.

use crate::client::web::{self, Web, excerpt};
use crate::wait::parse_timeout;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Uri};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;
use turnout_verdict::evidence::{Page, PolicyEvidence, total};

/// Where gateways show what they have counted, where a URL names no path.
const PATH: &str = "/evidence";
/// The largest page that is read from a file, in bytes.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// The pages of gateways, and which policy of theirs is meant.
#[derive(Args, Clone)]
pub(crate) struct EvidenceArguments {
    /// What gateways have counted: the page /evidence of each one's status port, as a file, as http://ADDRESS:PORT, or - for
    /// standard input; several are added up.
    #[arg(long, value_name = "FILE|URL", env = "TURNOUT_EVIDENCE", num_args = 1.., value_delimiter = ',')]
    evidence: Vec<String>,

    /// The SplitPolicy, if the pages have several [default: the only one].
    #[arg(long, value_name = "NAMESPACE/NAME", env = "TURNOUT_POLICY")]
    policy: Option<String>,

    /// What the policy's evidence is kept under, if there is more than one: its spec.salt, of a rollout the UID and the
    /// attempt [default: the only one].
    #[arg(long, env = "TURNOUT_SALT")]
    salt: Option<String>,
}

/// How URLs are asked.
#[derive(Args, Clone)]
pub(crate) struct WebArguments {
    /// A header of each request, as 'authorization: Bearer TOKEN'; repeatable, in the variable a line each.
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        env = "TURNOUT_HEADER",
        value_delimiter = '\n',
        hide_env_values = true
    )]
    headers: Vec<String>,

    /// The authority that signs the servers' certificates, in PEM [default: the public ones].
    #[arg(long, value_name = "FILE", env = "TURNOUT_CA")]
    ca: Option<PathBuf>,

    /// How long each answer may take, as 90s, 5m or 1h30m; a number alone is seconds.
    #[arg(long, value_name = "TIME", env = "TURNOUT_TIMEOUT", default_value = "10s", value_parser = parse_timeout)]
    timeout: Duration,
}

impl WebArguments {
    /// As a client takes it.
    pub(crate) fn web(&self) -> anyhow::Result<Web> {
        let mut headers = HeaderMap::new();
        for line in self.headers.iter().filter(|line| !line.trim().is_empty()) {
            // What is wrong may be a password: it is not told.
            let (name, value) = line.split_once(':').context("--header: there is no colon; write 'NAME: VALUE'")?;
            let name = HeaderName::try_from(name.trim()).context("--header: the name before the colon is none")?;
            let value =
                HeaderValue::try_from(value.trim()).with_context(|| format!("--header: the value of {name}"))?;
            headers.append(name, value);
        }
        let authority = match &self.ca {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.with_context(|| format!("--ca: cannot read {}", file.display()))?)
            }
            None => None,
        };
        Ok(Web { headers, authority, timeout: self.timeout })
    }
}

/// The evidence that is asked for, to be read as often as it is looked at.
pub(crate) struct Pages {
    arguments: EvidenceArguments,
    web: Web,
}

impl EvidenceArguments {
    /// Whether what is chosen is chosen of something.
    pub(crate) fn is_whole(&self) -> bool {
        !self.evidence.is_empty() || (self.policy.is_none() && self.salt.is_none())
    }

    /// As they are read.
    pub(crate) fn pages(&self, web: Web) -> anyhow::Result<Pages> {
        for source in self.evidence.iter().filter(|source| is_url(source)) {
            let url = source.parse::<Uri>().with_context(|| format!("--evidence {source}"))?;
            web::check(&url).context("--evidence")?;
        }
        let inputs = self.evidence.iter().filter(|source| *source == "-").count();
        ensure!(inputs < 2, "--evidence - is there twice: standard input is read once");
        Ok(Pages { arguments: self.clone(), web })
    }
}

impl Pages {
    /// Whether reading them again may show more.
    pub(crate) fn can_be_read_again(&self) -> bool {
        !self.arguments.evidence.iter().any(|source| source == "-")
    }

    /// The policy's evidence, all pages added up.
    pub(crate) async fn read(&self) -> anyhow::Result<PolicyEvidence> {
        let mut pages: Vec<(Page, &str)> = Vec::new();
        for source in &self.arguments.evidence {
            let page = self.page(source).await.with_context(|| format!("--evidence {source}"))?;
            if let Some((_, same)) = pages.iter().find(|(other, _)| other.instance == page.instance) {
                bail!("--evidence {source} and {same} are of the same gateway: its requests would count twice");
            }
            pages.push((page, source));
        }
        self.choose(total(pages.iter().map(|(page, _)| page)))
    }

    async fn page(&self, source: &str) -> anyhow::Result<Page> {
        let bytes = match source {
            "-" => read(io::stdin()).context("cannot read standard input")?,
            source if is_url(source) => self.fetch(&source.parse()?).await?,
            file => File::open(file).and_then(read).context("cannot read it")?,
        };
        let page: Page = serde_json::from_slice(&bytes)
            .with_context(|| format!("it is no page /evidence of a gateway: {}", excerpt(&bytes)))?;
        ensure!(!page.instance.is_empty(), "it is no page /evidence of a gateway: {}", excerpt(&bytes));
        Ok(page)
    }

    async fn fetch(&self, url: &Uri) -> anyhow::Result<Vec<u8>> {
        let mut parts = url.clone().into_parts();
        if url.path_and_query().is_none_or(|path| path == "/") {
            parts.path_and_query = Some(PATH.parse()?);
        }
        let (status, body) = self.web.get(&Uri::from_parts(parts)?).await?;
        ensure!(status == StatusCode::OK, "it answers {status}: {}", excerpt(&body));
        Ok(body.to_vec())
    }

    /// The one that is named, or the only one.
    fn choose(&self, found: Vec<PolicyEvidence>) -> anyhow::Result<PolicyEvidence> {
        let EvidenceArguments { policy, salt, .. } = &self.arguments;
        let named = |known: &Option<String>, own: &str| known.as_deref().is_none_or(|known| known == own);
        let list =
            |found: &[PolicyEvidence]| found.iter().map(PolicyName).map(|name| name.to_string()).collect::<Vec<_>>();
        let all = list(&found).join(", ");
        let mut matching: Vec<_> =
            found.into_iter().filter(|one| named(policy, &one.policy) && named(salt, &one.salt)).collect();
        match matching.len() {
            1 => Ok(matching.remove(0)),
            0 if all.is_empty() => bail!("the gateways have counted nothing yet: no SplitPolicy is in their routes"),
            0 => bail!("there is no such policy, only {all}"),
            _ => bail!("there are several, {}: choose one by --policy and --salt", list(&matching).join(", ")),
        }
    }
}

/// A policy with its salt.
struct PolicyName<'a>(&'a PolicyEvidence);

impl std::fmt::Display for PolicyName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PolicyEvidence { policy, salt, .. } = self.0;
        if salt.is_empty() { write!(f, "{policy}") } else { write!(f, "{policy} (salt {salt})") }
    }
}

fn is_url(source: &str) -> bool {
    source.contains("://")
}

fn read(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_PAGE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_PAGE_BYTES} bytes")));
    }
    Ok(bytes)
}
