//! What a terminal can show: marks in Unicode where the locale has it, colours, and a screen that is drawn again in its
//! place. Colours are taken away by `anstream` where they are not wanted; a screen needs a terminal and no `NO_COLOR`.

use crate::output::print;
use clap::builder::styling::{AnsiColor, Style};
use std::io::IsTerminal as _;

/// One sign each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) passed: &'static str,
    pub(crate) here: &'static str,
    pub(crate) entering: &'static str,
    pub(crate) ahead: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) warning: &'static str,
}

impl Marks {
    /// For terminals that show them.
    pub(crate) const UNICODE: Self =
        Self { passed: "√", here: "●", entering: "►", ahead: "○", failed: "×", warning: "‼" };
    /// For all others.
    pub(crate) const ASCII: Self =
        Self { passed: "+", here: "*", entering: ">", ahead: "-", failed: "x", warning: "!" };

    /// As the locale allows: POSIX has its character set in the first of these that is not empty.
    pub(crate) fn of_environment() -> Self {
        let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default();
        if is_unicode(&locale) { Self::UNICODE } else { Self::ASCII }
    }
}

fn is_unicode(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Text in a colour.
pub(crate) fn paint(color: AnsiColor, text: &str) -> String {
    let style = Style::new().fg_color(Some(color.into()));
    format!("{style}{text}{style:#}")
}

/// Text that stands out.
pub(crate) fn bold(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// Whether standard output can be drawn over.
pub(crate) fn can_redraw() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Draws a text over the one before it. Lines that are too long are cut by the terminal and not wrapped; the last text
/// stays when the process ends.
pub(crate) fn redraw(text: &str, is_first: bool) -> anyhow::Result<()> {
    const CLEAR: &str = "\x1b[2J";
    let begin = if is_first { CLEAR } else { "" };
    let lines: String = text.lines().flat_map(|line| [line, "\x1b[K\n"]).collect();
    print(&format!("{begin}\x1b[H\x1b[?7l{lines}\x1b[J\x1b[?7h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_whether_unicode_is_shown() {
        let check = |locale: &str, expected| assert_eq!(is_unicode(locale), expected, "{locale}");
        check("en_US.UTF-8", true);
        check("C.utf8", true);
        check("C", false);
        check("de_DE.ISO-8859-1", false);
        check("", false);
    }
}
