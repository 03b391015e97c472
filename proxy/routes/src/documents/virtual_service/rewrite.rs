//! `rewrite`: what of the path and the authority is changed on the way to a backend.

use super::url::url_part;
use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use crate::re2::{self, PatternError};
use http::uri::Authority;
use regex::Regex;
use serde_json::Value;
use std::borrow::Cow;

/// `rewrite`; both may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// The path.
    pub path: Option<PathRewrite>,
    /// The Host that the backend sees.
    pub authority: Option<Authority>,
}

/// How a path is rewritten.
#[derive(Clone, Debug, PartialEq)]
pub enum PathRewrite {
    /// `uri`: replaces what the match named (the prefix, or the whole path); may hold a query, which goes before the
    /// request's own.
    Matched(String),
    /// `uriRegexRewrite`: replaces every match in the path.
    Regex(RegexRewrite),
}

/// RE2 search and replace.
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    pattern: String,
    replacement: String,
    regex: Regex,
    /// In the syntax of the regex crate.
    expansion: String,
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.replacement == other.replacement
    }
}

impl RegexRewrite {
    /// Compiles an expression of RE2 and its replacement (`\1` is the first group, `\0` the whole match).
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, PatternError> {
        Self::with_regex(pattern, re2::search(pattern)?.regex, replacement)
    }

    fn with_regex(pattern: &str, regex: Regex, replacement: &str) -> Result<Self, PatternError> {
        let expansion = re2::expansion(replacement, &regex)?;
        Ok(Self { pattern: pattern.to_owned(), replacement: replacement.to_owned(), regex, expansion })
    }

    /// Replaces every match; borrows where nothing matches.
    pub fn replace_all<'p>(&self, path: &'p str) -> Cow<'p, str> {
        self.regex.replace_all(path, self.expansion.as_str())
    }
}

impl Rewrite {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let uri = object.field_or_default("uri", url_part);
        let regex = object.field("uriRegexRewrite", RegexRewrite::decode);
        let authority = object.field_or_default("authority", |item| match item.filled()? {
            Some(text) => Authority::try_from(text)
                .map(Some)
                .map_err(|_| item.advise(format!("{} is not an authority", quoted(text)), "write host or host:port")),
            None => Ok(None),
        });
        object.finish();
        let path = match (uri?, regex?) {
            (Some(_), Some(_)) => return Err(item.error("uri and uriRegexRewrite exclude each other")),
            (Some(uri), None) => Some(PathRewrite::Matched(uri)),
            (None, Some(regex)) => Some(PathRewrite::Regex(regex)),
            (None, None) => None,
        };
        let authority = authority?;
        if path.is_none() && authority.is_none() {
            return Err(item.error("one of uri, uriRegexRewrite and authority is required"));
        }
        Ok(Self { path, authority })
    }

    /// None if nothing is rewritten.
    pub(super) fn encode(&self) -> Option<Value> {
        let (uri, regex) = match &self.path {
            Some(PathRewrite::Matched(uri)) => (Some(uri.as_str()), None),
            Some(PathRewrite::Regex(regex)) => (None, Some(regex.encode())),
            None => (None, None),
        };
        Fields::new()
            .some("uri", uri)
            .some("uriRegexRewrite", regex)
            .some("authority", self.authority.as_ref().map(Authority::as_str))
            .into_filled()
    }
}

impl RegexRewrite {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let pattern = object.required("match").and_then(|item| Ok((item.string()?, item.pattern(re2::search)?)));
        let replacement = object.required("rewrite").and_then(|item| {
            let text = url_part(&item)?;
            text.map(|text| (text, item.clone())).ok_or_else(|| item.error("a replacement must not be empty"))
        });
        object.finish();
        let ((pattern, regex), (replacement, item)) = (pattern?, replacement?);
        Self::with_regex(pattern, regex, &replacement).map_err(|error| item.error(error.to_string()))
    }

    fn encode(&self) -> Value {
        Fields::new().field("match", self.pattern.as_str()).field("rewrite", self.replacement.as_str()).into()
    }
}
