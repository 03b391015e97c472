//! Rewriting the path on the way to a backend.

use crate::documents::PathRewrite;

/// A rewrite together with how much of the path its route matches.
#[derive(Debug)]
pub(super) struct CompiledRewrite {
    rewrite: Option<Box<PathRewrite>>,
    prefix_len: usize,
}

impl CompiledRewrite {
    pub(super) fn new(rewrite: Option<PathRewrite>, prefix_len: usize) -> Self {
        Self { rewrite: rewrite.map(Box::new), prefix_len }
    }

    /// The new path and query; none if the rule rewrites no path. A regular expression that does not match counts as a
    /// rewrite all the same, as in Istio.
    pub(super) fn apply(&self, path: &str, query: Option<&str>) -> Option<String> {
        let mut target = match self.rewrite.as_deref()? {
            PathRewrite::Matched(replacement) => replace_prefix(path, self.prefix_len, replacement),
            PathRewrite::Regex(rewrite) => rewrite.replace_all(path).into_owned(),
        };
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        Some(target)
    }
}

/// `replacement` in place of the first `prefix_len` bytes of the path, or of all of it where it is shorter.
pub(super) fn replace_prefix(path: &str, prefix_len: usize, replacement: &str) -> String {
    let rest = path.get(prefix_len..).unwrap_or("");
    let mut target = String::with_capacity(replacement.len() + rest.len());
    target.push_str(replacement);
    target.push_str(rest);
    target
}
