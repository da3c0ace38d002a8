//! What people and scripts see: results on stdout, everything else on stderr. The only place that prints.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use orchestrate_core::Error;
use orchestrate_core::time::Timestamp;
use serde::Serialize;

use crate::args::{Color, Format, Global};
use crate::exit::Failure;

/// Prints in one format, with or without colour.
#[derive(Clone, Debug)]
pub struct Printer {
    pub format: Format,
    pub quiet: bool,
    pub verbose: bool,
    pub yes: bool,
    color_out: bool,
    color_err: bool,
    /// Something that was printed went nowhere.
    lost: Arc<AtomicBool>,
}

/// An error for scripts, its fields in the order in which INTERFACE shows them.
#[derive(Serialize)]
struct ErrorLine<'a> {
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();

impl Printer {
    pub fn new(global: &Global, format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colored = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        Self {
            format,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            yes: global.yes,
            color_out: colored(std::io::stdout().is_terminal()),
            color_err: colored(std::io::stderr().is_terminal()),
            lost: Arc::default(),
        }
    }

    pub fn json(&self) -> bool {
        self.format == Format::Json
    }

    pub fn colors(&self) -> bool {
        self.color_out
    }

    /// Whether a person watches: then progress may move.
    pub fn animated(&self) -> bool {
        self.color_err && !self.quiet && !self.json() && std::io::stderr().is_terminal()
    }

    /// A result: as JSON for scripts, else as the text that `text` makes.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        let output =
            if self.json() { escaped(&serde_json::to_string(value).unwrap_or_default()) } else { text() };
        self.out(&output);
    }

    /// One piece of a result.
    pub fn out(&self, text: &str) {
        let text = text.trim_end_matches('\n');
        if text.is_empty() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", steady(text, self.color_out)).and_then(|()| out.flush());
        // A reader that went away, as in `| head`, is no error.
        if written.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// The exit code, unless something of the result could not be written where it was to go.
    pub fn concluded(&self, code: u8) -> u8 {
        if code != 0 || !self.lost.load(Ordering::Relaxed) {
            return code;
        }
        let error = Error::needs_attention("ORC-0512", "it was done, but its result could not be written")
            .hint("see whether the disk is full, and whether what it was written to is still there");
        self.failure(&error.into())
    }

    /// What is going on, for people who wait.
    pub fn progress(&self, text: &str) {
        if !self.quiet && !self.json() {
            self.err(text);
        }
    }

    /// What should be known although it is no error.
    pub fn note(&self, text: &str) {
        if !self.json() {
            self.err(&format!("{} {text}", self.paint_err(NOTE, "note:")));
        }
    }

    fn err(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", steady(text, self.color_err));
    }

    /// Prints an error in the chosen format and returns the exit code.
    pub fn failure(&self, failure: &Failure) -> u8 {
        let (code, message, hint, place) = match failure {
            Failure::Told(error) => {
                (error.code(), error.full_message(), error.hint_text().map(str::to_owned), None)
            }
            Failure::Config(error) => {
                let place = (!self.json()).then(|| error.render(self.color_err));
                (error.code(), error.to_string(), error.hint_text().map(str::to_owned), place)
            }
        };
        if self.json() {
            let error = ErrorLine { error: Told { code, message: &message, hint: hint.as_deref() } };
            self.err(&escaped(&serde_json::to_string(&error).unwrap_or_default()));
        } else if let Some(place) = place {
            self.err(place.trim_end());
        } else {
            // Below the first line stands what an instance printed, which may be anything.
            let message = harmless(&message);
            let (message, detail) = message.split_once('\n').unwrap_or((&message, ""));
            self.err(&format!("{} {message} [{code}]", self.paint_err(BAD, "error:")));
            detail.lines().for_each(|line| self.err(&format!("  | {line}")));
            if let Some(hint) = hint {
                self.err(&format!("{}  {hint}", self.paint_err(NOTE, "hint:")));
            }
        }
        failure.exit_code()
    }

    pub fn good(&self, text: &str) -> String {
        paint(self.color_out, GOOD, text)
    }

    pub fn bad(&self, text: &str) -> String {
        paint(self.color_out, BAD, text)
    }

    pub fn noted(&self, text: &str) -> String {
        paint(self.color_out, NOTE, text)
    }

    pub fn faint(&self, text: &str) -> String {
        paint(self.color_out, FAINT, text)
    }

    fn paint_err(&self, style: Style, text: &str) -> String {
        paint(self.color_err, style, text)
    }

    /// A table without lines, as wide as its content.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if !header.is_empty() {
            table.set_header(header.iter().map(|name| self.faint(name)));
        }
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

/// Prints an error for a script before anything else is known, and returns its exit code.
pub fn json_error(error: &orchestrate_core::Error) -> u8 {
    let told = Told { code: error.code(), message: error.message(), hint: error.hint_text() };
    let line = escaped(&serde_json::to_string(&ErrorLine { error: told }).unwrap_or_default());
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    error.kind().exit_code()
}

/// Prints a text that would steer a terminal, without what does it; false, and nothing is printed, if it would not.
pub fn print_if_it_steers(text: &str) -> bool {
    let found = text.contains(steers);
    if found {
        let _ = write!(std::io::stderr().lock(), "{}", steady(text, false));
    }
    found
}

fn paint(color: bool, style: Style, text: &str) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// `2026-11-22 03:00:00` in UTC; the milliseconds are for scripts.
pub fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

/// `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`.
pub fn took(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis} ms"),
        1_000..=59_999 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..=3_599_999 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1000),
        3_600_000..=86_399_999 => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
        _ => format!("{} d {} h", millis / 86_400_000, millis % 86_400_000 / 3_600_000),
    }
}

/// Text of unknown origin, made harmless for a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The same on one line, so that it cannot pass for a line of ours.
pub fn on_one_line(text: &str) -> String {
    harmless(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether a terminal obeys it, or shows what follows in another order than it is written.
fn steers(c: char) -> bool {
    c.is_control() && c != '\t' && c != '\n'
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// The last gate before the terminal: whatever was forgotten before it, nothing passes but our own colours.
fn steady(text: &str, colors: bool) -> std::borrow::Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let style = if colors { style_at(rest) } else { 0 };
        let length = if style > 0 { style } else { c.len_utf8() };
        match style > 0 || !steers(c) {
            true => out.push_str(&rest[..length]),
            false => out.push('\u{fffd}'),
        }
        rest = &rest[length..];
    }
    out.into()
}

/// How long the colour is that the text begins with; 0, if it begins with none.
fn style_at(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(0);
    if parameters[end..].starts_with('m') { 2 + end + 1 } else { 0 }
}

/// JSON with what steers a terminal written as escapes: the same value.
fn escaped(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match steers(c) {
            // Writing to a String cannot fail.
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_colours_reach_a_terminal() {
        let bad = "a\u{1b}]0;t\u{7}b\u{9b}2Jc\u{1b}[2Jd\u{202e}e\u{1b}[31";
        for colors in [false, true] {
            assert!(!steady(bad, colors).contains(steers), "{colors}");
        }
        let ours = paint(true, GOOD, "fine\tand\nwell");
        assert_eq!(steady(&ours, true), ours);
        assert!(!steady(&ours, false).contains('\u{1b}'));
        let value = serde_json::json!({ "reason": bad });
        let json = escaped(&value.to_string());
        assert!(!json.contains(steers));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
