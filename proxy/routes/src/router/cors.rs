//! Which pages of other origins may read the answers of a rule, as Envoy decides it.

use crate::documents::{Cors, StringMatch, UnmatchedPreflights};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// A `corsPolicy`, ready to answer by.
#[derive(Debug)]
pub struct CompiledCors {
    origins: Vec<StringMatch>,
    /// What a preflight is told, if anything.
    methods: Option<Told>,
    headers: Option<Told>,
    max_age: Option<HeaderValue>,
    /// What every answer to an allowed origin says.
    expose: Option<HeaderValue>,
    credentials: bool,
    answers_unmatched: bool,
}

#[derive(Debug)]
enum Told {
    /// Whatever the browser asked for.
    WhatWasAsked,
    These(HeaderValue),
}

/// What is said to a request.
#[derive(Debug)]
pub enum CorsAnswer {
    /// It is not of a page whose origin is allowed: nothing is said.
    Nothing,
    /// The gateway answers the preflight: 200 with these headers and no body.
    Preflight(HeaderMap),
    /// This origin may read the backend's answer, by [`CompiledCors::allow`].
    Allowed(HeaderValue),
}

const ANY: &str = "*";

impl CompiledCors {
    pub(super) fn new(cors: &Cors) -> Self {
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        let value = |text: String| HeaderValue::from_str(&text).ok();
        let told = |values: &[String]| match list(values)?.as_str() {
            ANY => Some(Told::WhatWasAsked),
            text => HeaderValue::from_str(text).ok().map(Told::These),
        };
        Self {
            origins: cors.allow_origins.clone(),
            methods: told(&cors.allow_methods),
            headers: told(&cors.allow_headers),
            max_age: cors.max_age.map(|age| HeaderValue::from(age.as_secs())),
            expose: list(&cors.expose_headers).and_then(value),
            credentials: cors.allow_credentials == Some(true),
            answers_unmatched: cors.unmatched_preflights == UnmatchedPreflights::Ignore,
        }
    }

    /// What is said to a request with these headers.
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> CorsAnswer {
        // Of several, no page can be told that it is the one.
        let Some(origin) = filled(headers, &ORIGIN).filter(|_| headers.get_all(ORIGIN).iter().nth(1).is_none()) else {
            return CorsAnswer::Nothing;
        };
        let is_allowed = self.allows(origin);
        let preflight = filled(headers, &ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS);
        match preflight {
            Some(asked) if is_allowed || self.answers_unmatched => {
                CorsAnswer::Preflight(self.preflight(is_allowed.then_some(origin), asked, headers))
            }
            _ if is_allowed => CorsAnswer::Allowed(origin.clone()),
            _ => CorsAnswer::Nothing,
        }
    }

    /// Says in an answer that the origin may read it; what the backend says of other things stays.
    pub fn allow(&self, origin: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        self.add_common(answer);
    }

    /// As in Envoy, a matcher that takes the origin `*` takes every origin.
    fn allows(&self, origin: &HeaderValue) -> bool {
        let takes = |matcher: &StringMatch, text: &[u8]| match matcher {
            StringMatch::Exact(exact) => text == exact.as_bytes(),
            StringMatch::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            StringMatch::Regex(pattern) => pattern.matches(text),
        };
        self.origins.iter().any(|matcher| takes(matcher, ANY.as_bytes()) || takes(matcher, origin.as_bytes()))
    }

    fn preflight(&self, allowed: Option<&HeaderValue>, asked: &HeaderValue, request: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        let mut tell = |name: HeaderName, told: Option<&Told>, asked: HeaderValue| {
            let value = match told {
                Some(Told::WhatWasAsked) => asked,
                Some(Told::These(value)) => value.clone(),
                None => return,
            };
            answer.insert(name, value);
        };
        tell(ACCESS_CONTROL_ALLOW_METHODS, self.methods.as_ref(), asked.clone());
        tell(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.as_ref(), joined(request, &ACCESS_CONTROL_REQUEST_HEADERS));
        if let Some(origin) = allowed {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if let Some(age) = &self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        self.add_common(&mut answer);
        answer
    }

    fn add_common(&self, answer: &mut HeaderMap) {
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// All lines of a list as one, which is empty where there is none: Envoy allows that, too.
fn joined(headers: &HeaderMap, name: &HeaderName) -> HeaderValue {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty());
    let lines = lines.collect::<Vec<_>>().join(&b","[..]);
    HeaderValue::from_bytes(&lines).unwrap_or(HeaderValue::from_static(""))
}

/// A header that is there and not empty.
fn filled<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    headers.get(name).filter(|value| !value.is_empty())
}
