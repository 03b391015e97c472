//! Regular expressions as Istio has them: RE2's syntax, which Go's `regexp` checks when a document is admitted and Envoy's
//! RE2 runs. What both accept is translated into the syntax of the regex crate; what either refuses is refused here.
//!
//! The two differ in classes (ASCII in RE2), in what is special inside of `[...]`, in when `{` is a text, in octal escapes
//! and `\Q...\E`, and in extensions of the regex crate (`\<`, `\b{start}`, `(?x)`, `&&`), none of which get through.

use regex::{Regex, RegexBuilder, bytes};
use std::collections::HashSet;

/// Istio's limit for a pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;
/// RE2's limit for counted repetitions, nested ones multiplied.
const MAX_REPETITIONS: u32 = 1000;
/// What one compiled pattern may take: the least of these that suffices is what it counts as.
const COMPILED_BYTES: [usize; 4] = [4 * 1024, 32 * 1024, 256 * 1024, MAX_COMPILED_BYTES];
/// What it takes to find out that a pattern is too large.
pub(crate) const MAX_COMPILED_BYTES: usize = 2 * 1024 * 1024;

/// A compiled pattern and about how much memory it takes.
#[derive(Debug)]
pub(crate) struct Compiled<R> {
    pub(crate) regex: R,
    pub(crate) bytes: usize,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Istio requires one.
    #[error("a regular expression must not be empty")]
    Empty,
    /// Istio's limit.
    #[error("a regular expression of {0} bytes is too long: at most {MAX_PATTERN_BYTES} are allowed")]
    TooLong(usize),
    /// Not RE2.
    #[error("not a regular expression of RE2: {0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error("a regular expression that compiles to more than {MAX_COMPILED_BYTES} bytes is too large")]
    TooLarge,
    /// The replacement of a rewrite names a group that the pattern does not have.
    #[error("\\{group} refers to a group that is not there: the pattern has {groups}")]
    NoSuchGroup {
        /// The group.
        group: usize,
        /// How many groups the pattern has.
        groups: usize,
    },
    /// The replacement of a rewrite has a `\` before something else than a digit or a `\`.
    #[error("a \\ in a replacement must be followed by the number of a group or by another \\")]
    LoneBackslash,
}

/// Compiles a pattern that must match a whole string.
pub(crate) fn whole(pattern: &str) -> Result<Compiled<bytes::Regex>, PatternError> {
    let translated = format!(r"\A(?:{})\z", translate(pattern)?);
    compile(|limit| bytes::RegexBuilder::new(&translated).size_limit(limit).build())
}

/// Compiles a pattern that is searched for in a text.
pub(crate) fn search(pattern: &str) -> Result<Compiled<Regex>, PatternError> {
    let translated = translate(pattern)?;
    compile(|limit| RegexBuilder::new(&translated).size_limit(limit).build())
}

fn compile<R>(build: impl Fn(usize) -> Result<R, regex::Error>) -> Result<Compiled<R>, PatternError> {
    for bytes in COMPILED_BYTES {
        match build(bytes) {
            Ok(regex) => return Ok(Compiled { regex, bytes }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            // The last line of its message is the reason; those before it point into the translated pattern.
            Err(other) => {
                return Err(syntax(other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ")));
            }
        }
    }
    Err(PatternError::TooLarge)
}

/// RE2's replacement text (`\1` is the first group, `\0` the whole match, `\\` a backslash) for the regex crate.
pub(crate) fn expansion(replacement: &str, regex: &Regex) -> Result<String, PatternError> {
    let groups = regex.captures_len() - 1;
    let mut expansion = String::with_capacity(replacement.len());
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => expansion.push_str("$$"),
            '\\' => match chars.next().map(|next| (next, next.to_digit(10))) {
                Some(('\\', _)) => expansion.push('\\'),
                Some((_, Some(digit))) => {
                    let group = digit as usize;
                    if group > groups {
                        return Err(PatternError::NoSuchGroup { group, groups });
                    }
                    expansion.extend(["${", &group.to_string(), "}"]);
                }
                _ => return Err(PatternError::LoneBackslash),
            },
            c => expansion.push(c),
        }
    }
    Ok(expansion)
}

fn syntax(message: impl Into<String>) -> PatternError {
    PatternError::Syntax(message.into())
}

fn translate(pattern: &str) -> Result<String, PatternError> {
    if pattern.is_empty() {
        return Err(PatternError::Empty);
    }
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong(pattern.len()));
    }
    let mut translator = Translator {
        rest: pattern,
        translated: String::with_capacity(2 * pattern.len()),
        enclosing: Vec::new(),
        most_copies: 1,
        last: Last::Nothing,
        group_names: HashSet::new(),
    };
    translator.expression()?;
    Ok(translator.translated)
}

struct Translator<'p> {
    rest: &'p str,
    translated: String,
    /// For each open group what was known around it: `most_copies` of the group that it stands in.
    enclosing: Vec<u32>,
    /// How often counted repetitions copy the most copied part of the current group.
    most_copies: u32,
    last: Last,
    group_names: HashSet<&'p str>,
}

/// What stands before a repetition.
#[derive(Clone, Copy)]
enum Last {
    /// Nothing that can be repeated.
    Nothing,
    /// A part that is already repeated, which must not be repeated again.
    Repeated,
    /// A part, and how often counted repetitions inside of it copy its most copied part.
    Part { copies: u32 },
}

/// What an escape stands for.
enum Escape {
    Char(char),
    /// A class, in the syntax of the regex crate.
    Class(String),
}

impl<'p> Translator<'p> {
    fn expression(&mut self) -> Result<(), PatternError> {
        while let Some(c) = self.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.open_group()?,
                ')' => self.close_group()?,
                '|' => {
                    self.translated.push('|');
                    self.last = Last::Nothing;
                }
                '.' | '^' | '$' => {
                    self.translated.push(c);
                    self.last = Last::Part { copies: 1 };
                }
                '*' | '+' | '?' => self.repetition(&c.to_string(), 1)?,
                '{' => self.counted_repetition()?,
                c => self.literal(c),
            }
        }
        if self.enclosing.is_empty() { Ok(()) } else { Err(syntax("missing closing )")) }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What comes before `end`, which is taken too.
    fn take_until(&mut self, end: &str) -> Option<&'p str> {
        let (taken, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(taken)
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.translated, c);
        self.last = Last::Part { copies: 1 };
    }

    fn repetition(&mut self, operator: &str, count: u32) -> Result<(), PatternError> {
        let copies = match self.last {
            Last::Nothing => return Err(syntax(format!("nothing to repeat before {operator}"))),
            Last::Repeated => return Err(syntax(format!("{operator} after another repetition"))),
            Last::Part { copies } => copies.saturating_mul(count.max(1)),
        };
        if copies > MAX_REPETITIONS {
            return Err(syntax(format!("{operator} repeats more than {MAX_REPETITIONS} times")));
        }
        self.most_copies = self.most_copies.max(copies);
        self.translated.push_str(operator);
        if self.take("?") {
            self.translated.push('?');
        }
        self.last = Last::Repeated;
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else that begins with `{` is a text.
    fn counted_repetition(&mut self) -> Result<(), PatternError> {
        let Some((counts, rest)) = self.rest.split_once('}') else {
            self.literal('{');
            return Ok(());
        };
        let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
        let is_count = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            is_number && (text == "0" || !text.starts_with('0'))
        };
        if !is_count(least) || !(most.is_empty() || is_count(most)) {
            self.literal('{');
            return Ok(());
        }
        let least: u32 = least.parse().unwrap_or(u32::MAX);
        let most: u32 = if most.is_empty() { least } else { most.parse().unwrap_or(u32::MAX) };
        if most < least {
            return Err(syntax(format!("{{{counts}}} ends before it begins")));
        }
        self.rest = rest;
        self.repetition(&format!("{{{counts}}}"), most)
    }

    fn open_group(&mut self) -> Result<(), PatternError> {
        if self.take("?P<") || self.take("?<") {
            let name = self.take_until(">").unwrap_or_default();
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !is_name {
                return Err(syntax(format!("{name:?} is not the name of a group; look-behind does not exist")));
            }
            if !self.group_names.insert(name) {
                return Err(syntax(format!("two groups are called {name}")));
            }
            self.translated.push('(');
        } else if self.take("?") {
            let (flags, opens) = self.flags()?;
            if !opens {
                if !flags.is_empty() {
                    self.translated.extend(["(?", &flags, ")"]);
                }
                // RE2 would repeat what stands before the flags; nobody means that.
                self.last = Last::Nothing;
                return Ok(());
            }
            self.translated.extend(["(?", &flags, ":"]);
        } else {
            self.translated.push('(');
        }
        self.enclosing.push(self.most_copies);
        self.most_copies = 1;
        self.last = Last::Nothing;
        Ok(())
    }

    /// The flags after `(?`, and whether a group opens with them.
    fn flags(&mut self) -> Result<(String, bool), PatternError> {
        let mut flags = String::new();
        while let Some(c) = self.next() {
            match c {
                ':' | ')' if flags.ends_with('-') => break,
                ':' => return Ok((flags, true)),
                ')' => return Ok((flags, false)),
                '-' if !flags.contains('-') => flags.push(c),
                'i' | 'm' | 's' | 'U' if !flags.contains(c) => flags.push(c),
                'i' | 'm' | 's' | 'U' => return Err(syntax(format!("the flag {c} is there twice"))),
                '=' | '!' => return Err(syntax(format!("look-around (?{c} does not exist"))),
                c => return Err(syntax(format!("(?{flags}{c} is not known; the flags are i, m, s and U"))),
            }
        }
        Err(syntax("(? without its end"))
    }

    fn close_group(&mut self) -> Result<(), PatternError> {
        let Some(around) = self.enclosing.pop() else {
            return Err(syntax("a ) without its ("));
        };
        self.translated.push(')');
        self.last = Last::Part { copies: self.most_copies };
        self.most_copies = self.most_copies.max(around);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        if self.take("Q") {
            let text = self.take_until(r"\E").unwrap_or_else(|| std::mem::take(&mut self.rest));
            text.chars().for_each(|c| self.literal(c));
            return Ok(());
        }
        for (name, translated) in [("A", r"\A"), ("z", r"\z"), ("b", r"(?-u:\b)"), ("B", r"(?-u:\B)")] {
            if self.take(name) {
                self.translated.push_str(translated);
                self.last = Last::Part { copies: 1 };
                return Ok(());
            }
        }
        match self.escaped()? {
            Escape::Char(c) => self.literal(c),
            Escape::Class(class) => {
                self.translated.push_str(&class);
                self.last = Last::Part { copies: 1 };
            }
        }
        Ok(())
    }

    /// What comes after a `\` and means the same inside and outside of `[...]`.
    fn escaped(&mut self) -> Result<Escape, PatternError> {
        let Some(c) = self.next() else {
            return Err(syntax(r"a trailing \"));
        };
        Ok(match c {
            'd' => Escape::Class("[0-9]".to_owned()),
            'D' => Escape::Class("[^0-9]".to_owned()),
            's' => Escape::Class(r"[\t\n\x0C\r ]".to_owned()),
            'S' => Escape::Class(r"[^\t\n\x0C\r ]".to_owned()),
            'w' => Escape::Class("[0-9A-Za-z_]".to_owned()),
            'W' => Escape::Class("[^0-9A-Za-z_]".to_owned()),
            'p' | 'P' => Escape::Class(self.unicode_class(c == 'P')?),
            'a' => Escape::Char('\x07'),
            'f' => Escape::Char('\x0C'),
            't' => Escape::Char('\t'),
            'n' => Escape::Char('\n'),
            'r' => Escape::Char('\r'),
            'v' => Escape::Char('\x0B'),
            'x' => Escape::Char(self.hexadecimal()?),
            '0'..='7' => Escape::Char(self.octal(c)?),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Escape::Char(c),
            c => return Err(syntax(format!(r"\{c} is not known"))),
        })
    }

    fn hexadecimal(&mut self) -> Result<char, PatternError> {
        let digits = if self.take("{") {
            self.take_until("}")
        } else {
            let digits = self.rest.get(..2);
            self.rest = self.rest.get(2..).unwrap_or_default();
            digits
        };
        digits
            .filter(|digits| (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32)
            .ok_or_else(|| {
                syntax(r"\x must be followed by two hexadecimal digits, or by {...} with a character's number")
            })
    }

    /// Up to three octal digits; a single one above 0 would be a back-reference, which does not exist.
    fn octal(&mut self, first: char) -> Result<char, PatternError> {
        let is_octal = |c: char| c.is_digit(8);
        if first != '0' && !self.rest.starts_with(is_octal) {
            return Err(syntax(format!(r"\{first}: back-references do not exist")));
        }
        let mut number = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            if let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) {
                number = number * 8 + digit;
                self.next();
            }
        }
        char::from_u32(number).ok_or_else(|| syntax("an octal escape out of range"))
    }

    /// `\pN`, `\p{Greek}`, `\p{^Greek}`: a general category in its short form, a script, or `Any`.
    fn unicode_class(&mut self, negated: bool) -> Result<String, PatternError> {
        const CATEGORIES: [&str; 36] = [
            "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe",
            "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "C", "Cc", "Cf", "Co", "Any",
        ];
        let name = if self.take("{") {
            self.take_until("}").ok_or_else(|| syntax(r"\p{ without its }"))?
        } else {
            let (name, rest) = self.rest.split_at(self.rest.chars().next().map_or(0, char::len_utf8));
            self.rest = rest;
            name
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let letter = if negated { 'P' } else { 'p' };
        if CATEGORIES.contains(&name) {
            return Ok(format!(r"\{letter}{{{name}}}"));
        }
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        if !is_name || Regex::new(&format!(r"\p{{Script={name}}}")).is_err() {
            return Err(syntax(format!(r"\{letter}{{{name}}} is neither a category nor a script of Unicode")));
        }
        Ok(format!(r"\{letter}{{Script={name}}}"))
    }

    /// `[...]`: whatever is special to the regex crate alone is a text here.
    fn class(&mut self) -> Result<(), PatternError> {
        let opening = if self.take("^") { "[^" } else { "[" };
        self.translated.push_str(opening);
        let mut is_first = true;
        loop {
            if !is_first && self.take("]") {
                break;
            }
            is_first = false;
            if self.named_class()? {
                continue;
            }
            let start = match self.class_member()? {
                Escape::Class(class) => {
                    self.translated.push_str(&class);
                    continue;
                }
                Escape::Char(c) => c,
            };
            push_literal(&mut self.translated, start);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                self.range_end(start)?;
            }
        }
        self.translated.push(']');
        self.last = Last::Part { copies: 1 };
        Ok(())
    }

    fn range_end(&mut self, start: char) -> Result<(), PatternError> {
        let Escape::Char(end) = self.class_member()? else {
            return Err(syntax("a range in [...] must end with a character"));
        };
        if end < start {
            return Err(syntax(format!("the range {start}-{end} ends before it begins")));
        }
        self.translated.push('-');
        push_literal(&mut self.translated, end);
        Ok(())
    }

    fn class_member(&mut self) -> Result<Escape, PatternError> {
        match self.next() {
            None => Err(syntax("missing closing ]")),
            Some('\\') => self.escaped(),
            Some(c) => Ok(Escape::Char(c)),
        }
    }

    /// `[:alpha:]` and the like; without a `:]` it is a text.
    fn named_class(&mut self) -> Result<bool, PatternError> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(syntax(format!("[:{name}:] is not known")));
        }
        self.rest = rest;
        self.translated.extend(["[:", name, ":]"]);
        Ok(true)
    }
}

/// A character that means itself, inside and outside of `[...]`.
fn push_literal(translated: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        translated.extend([r"\x", &format!("{:02X}", u32::from(c))]);
    } else {
        translated.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let regex = whole(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).regex;
        for text in matching {
            assert!(regex.is_match(text.as_bytes()), "{pattern} should match {text:?}");
        }
        for text in others {
            assert!(!regex.is_match(text.as_bytes()), "{pattern} should not match {text:?}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_string() {
        check("a|b", &["a", "b"], &["ab", "xa", "bx", ""]);
        check("/v[0-9]+/score", &["/v1/score", "/v12/score"], &["/v/score", "/v1/score/", "/V1/score"]);
        check("^/score$", &["/score"], &["/scores"]);
        check("(?i)/score.*", &["/SCORE", "/Score/x"], &["/scor"]);
        check("(?i:a)b", &["Ab", "ab"], &["aB"]);
        check("(?i)a(?-i)b", &["Ab"], &["AB"]);
        check("(?s).", &["\n", "x"], &[""]);
        check(".", &["x", "ä"], &["\n"]);
        check("(?U)a+", &["aaa"], &[""]);
        check("(?m)a$\n^b", &["a\nb"], &["ab"]);
        check("(?)a", &["a"], &[]);
        check("(?P<name>a)(?<other>b)(c)", &["abc"], &[]);
        check("(|a)", &["", "a"], &["b"]);
    }

    #[test]
    fn classes_are_ascii() {
        check(r"\d", &["0", "9"], &["a", "٣"]);
        check(r"\D", &["a", "٣"], &["0"]);
        check(r"\w", &["a", "Z", "_", "0"], &["ä", "-"]);
        check(r"\W", &["ä", "-"], &["a"]);
        check(r"\s", &[" ", "\t", "\n", "\r", "\x0C"], &["\x0B", "\u{a0}"]);
        check(r"\S", &["\x0B", "a", "\u{a0}"], &[" "]);
        check(r"[\w-]+", &["a-b"], &["a b"]);
        check(r"[^\d\s]", &["a"], &["1", " "]);
        check(r".*\bb.*", &["a b", "äb"], &["ab"]);
        check(r"a\Bb", &["ab"], &["a b"]);
        check(r"\pL\p{Lu}\PN\p{Greek}\p{^Greek}", &["äÄ-αa"], &["äÄ1αa", "äÄ-aa"]);
        check("[[:alpha:]_[:^digit:]]", &["a", "_", "-"], &["1"]);
    }

    #[test]
    fn what_is_special_to_the_regex_crate_alone_is_a_text() {
        check("[[a]", &["[", "a"], &["]"]);
        check("[a&&b]", &["a", "&", "b"], &["c"]);
        check("[+--b]", &["+", ",", "-", "b"], &["a"]);
        check("[a~~b]", &["~"], &["c"]);
        check("[a[:b]", &["a", "[", ":", "b"], &["c"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[-a]", &["a", "-"], &["b"]);
        check(r"[\]\-\\]", &["]", "-", "\\"], &["a"]);
        check(r"[\d-z]", &["1", "-", "z"], &["a"]);
        check(r"[a-c-e]", &["b", "-", "e"], &["d"]);
        check("a#b c", &["a#b c"], &["abc"]);
        check(r"\<a\>", &["<a>"], &["a"]);
        check(r"\b{start}", &[], &["", "a"]);
    }

    #[test]
    fn texts_escapes_and_repetitions_are_those_of_re2() {
        check(r"\Qa.b*\Ec+", &["a.b*c", "a.b*cc"], &["axb*c"]);
        check(r"\Qa.b", &["a.b"], &["axb"]);
        check(r"\Qab\E*", &["a", "ab", "abb"], &["abab"]);
        check(r"\x41\x{1F600}\101\0", &["A😀A\0"], &["A"]);
        check(r"\08", &["\x008"], &[]);
        check(r"\.\/\-\_\ ", &["./-_ "], &["x/-_ "]);
        check(r"\a\f\t\n\r\v", &["\x07\x0C\t\n\r\x0B"], &[]);
        check("a{2}b{1,}c{0,1}", &["aab", "aabbc"], &["ab", "aabcc"]);
        check("a{,2}", &["a{,2}"], &["", "a", "aa"]);
        check("a{x}{", &["a{x}{"], &["a"]);
        check("a{01}", &["a{01}"], &["a"]);
        check("a*?b+?c??", &["b", "aabbc"], &["a"]);
        check("(a{10}){100}", &[], &["a"]);
        check("^*a", &["a"], &[]);
        check("é", &["é"], &["e"]);
    }

    fn check_refused(pattern: &str, expected: &str) {
        match whole(pattern) {
            Ok(_) => panic!("{pattern} should be refused"),
            Err(error) => assert!(error.to_string().contains(expected), "{pattern}: {error}"),
        }
    }

    #[test]
    fn limits_and_classes_that_re2_refuses_are_refused() {
        check_refused("", "must not be empty");
        check_refused(&"a".repeat(1025), "1025 bytes is too long");
        check_refused(r"\pL{1000}", "too large");
        check_refused("[a-", "missing closing ]");
        check_refused("[", "missing closing ]");
        check_refused("[]", "missing closing ]");
        check_refused("[z-a]", "ends before it begins");
        check_refused("[a--b]", "ends before it begins");
        check_refused(r"[a-\d]", "must end with a character");
        check_refused("[[:nope:]]", "[:nope:] is not known");
        check_refused(r"[\b]", r"\b is not known");
    }

    #[test]
    fn groups_and_repetitions_that_re2_refuses_are_refused() {
        check_refused("(", "missing closing )");
        check_refused(")", "without its (");
        check_refused("(?!x).*", "look-around (?! does not exist");
        check_refused("(?=x)", "look-around (?= does not exist");
        check_refused("(?<=x)", "look-behind does not exist");
        check_refused("(?<!x)", "look-behind does not exist");
        check_refused("(?P<a>x)(?P<a>y)", "two groups are called a");
        check_refused("(?P<>x)", "not the name of a group");
        check_refused("(?P=a)", "is not known");
        check_refused("(?x)a", "the flags are i, m, s and U");
        check_refused("(?u)a", "the flags are i, m, s and U");
        check_refused("(?R)a", "the flags are i, m, s and U");
        check_refused("(?i-)a", "without its end");
        check_refused("(?ii)a", "twice");
        check_refused("(?i", "without its end");
        check_refused("*", "nothing to repeat");
        check_refused("a|*", "nothing to repeat");
        check_refused("(*a)", "nothing to repeat");
        check_refused("a(?i)*", "nothing to repeat");
        check_refused("a**", "after another repetition");
        check_refused("a*+", "after another repetition");
        check_refused("a{2}{3}", "after another repetition");
        check_refused("a{2,1}", "ends before it begins");
        check_refused("a{1001}", "more than 1000 times");
        check_refused("(a{100}){11}", "more than 1000 times");
        check_refused("((a{10}b){10}c{3}){11}", "more than 1000 times");
    }

    #[test]
    fn escapes_that_re2_refuses_are_refused() {
        check_refused(r"a\", r"a trailing \");
        check_refused(r"(a)\1", "back-references do not exist");
        check_refused(r"\8", r"\8 is not known");
        check_refused(r"\C", r"\C is not known");
        check_refused(r"\Z", r"\Z is not known");
        check_refused(r"\E", r"\E is not known");
        check_refused(r"\h", r"\h is not known");
        check_refused(r"\u0041", r"\u is not known");
        check_refused(r"\é", r"\é is not known");
        check_refused(r"\x4", "two hexadecimal digits");
        check_refused(r"\x{110000}", "two hexadecimal digits");
        check_refused(r"\x{}", "two hexadecimal digits");
        check_refused(r"\p{Nope}", "neither a category nor a script");
        check_refused(r"\p{Alphabetic}", "neither a category nor a script");
        check_refused(r"\p{script=Greek}", "neither a category nor a script");
        check_refused(r"\p{Greek", "without its }");
        check_refused(r"\p", "neither a category nor a script");
    }

    #[test]
    fn a_rewrite_replaces_every_match_as_re2_does() {
        let check = |pattern: &str, replacement: &str, text: &str, expected: &str| {
            let regex = search(pattern).expect("a good pattern").regex;
            let expansion = expansion(replacement, &regex).expect("a good replacement");
            assert_eq!(regex.replace_all(text, expansion), expected, "{pattern} {replacement}");
        };
        check("^/api/v([0-9]+)/(.*)$", r"/v\1x/\2", "/api/v2/score", "/v2x/score");
        check("a", "b", "/banana", "/bbnbnb");
        check("a", r"[\0]", "/banana", "/b[a]n[a]n[a]");
        check("a", r"\\$1${0}", "a", r"\$1${0}");
        check("(a)|b", r"<\1>", "ab", "<a><>");
        check(r"\bx", "-", "x x", "- -");
        check("x*", "-", "axc", "-a-c-");
        check("(a)", r"\10", "a", "a0");
    }

    #[test]
    fn a_replacement_must_name_groups_that_are_there() {
        let check = |pattern: &str, replacement: &str, expected: PatternError| {
            let regex = search(pattern).expect("a good pattern").regex;
            assert_eq!(expansion(replacement, &regex), Err(expected), "{replacement}");
        };
        check("(a)", r"\2", PatternError::NoSuchGroup { group: 2, groups: 1 });
        check("a", r"x\1", PatternError::NoSuchGroup { group: 1, groups: 0 });
        check("a", r"x\", PatternError::LoneBackslash);
        check("a", r"\n", PatternError::LoneBackslash);
    }
}
