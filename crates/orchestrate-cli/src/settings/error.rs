//! What is wrong with a config file, with the line it stands on. Holds no more of the file than it may show.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};

/// A config file that cannot be used: exit code 2.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: &'static str,
    file: String,
    message: String,
    hint: Option<String>,
    snippets: Vec<Snippet>,
}

/// One line of the file with a mark under a part of it; secret values are masked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    pub line: usize,
    pub column: usize,
    pub text: String,
    /// Where the mark starts and how long it is, in characters of `text`.
    pub mark: (usize, usize),
    pub note: String,
}

pub(super) mod code {
    pub const UNREADABLE: &str = "ORC-0220";
    pub const TOO_LARGE: &str = "ORC-0221";
    pub const NOT_TEXT: &str = "ORC-0222";
    pub const NOT_YAML: &str = "ORC-0223";
    pub const UNKNOWN_KEY: &str = "ORC-0224";
    pub const DUPLICATE_KEY: &str = "ORC-0225";
    pub const MISSING_KEY: &str = "ORC-0226";
    pub const WRONG_TYPE: &str = "ORC-0227";
    pub const BAD_VALUE: &str = "ORC-0228";
    pub const MISSING_VARIABLE: &str = "ORC-0229";
    pub const ADDRESS_CLASH: &str = "ORC-0231";
}

impl ConfigError {
    pub(super) fn new(code: &'static str, file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                file: file.into(),
                message: message.into(),
                hint: None,
                snippets: vec![],
            }),
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Adds a line to show; the first one says where the error is.
    #[must_use]
    pub(super) fn snippet(mut self, snippet: Snippet) -> Self {
        self.inner.snippets.push(snippet);
        self
    }

    pub fn code(&self) -> &'static str {
        self.inner.code
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Line and column, both counted from one; none where the whole file is meant.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.inner.snippets.first().map(|snippet| (snippet.line, snippet.column))
    }

    /// The message with file, line and column, the lines it is about, and the hint; ends with a newline.
    pub fn render(&self, color: bool) -> String {
        let style = |style: Style| if color { style } else { Style::new() };
        let (red, bold) = (style(AnsiColor::Red.on_default().bold()), style(Style::new().bold()));
        let mut text =
            format!("{red}error[{}]{red:#}{bold}: {}{bold:#}\n", self.inner.code, self.inner.message);
        text.push_str(&self.render_place(color));
        if let Some(hint) = &self.inner.hint {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:>width$} {bold}help{bold:#}: {hint}", "=", width = self.margin() + 2);
        }
        text
    }

    /// Only the place: `--> file:line:column` and the lines with their marks; ends with a newline.
    pub fn render_place(&self, color: bool) -> String {
        let style = |style: Style| if color { style } else { Style::new() };
        let (blue, red) =
            (style(AnsiColor::Blue.on_default().bold()), style(AnsiColor::Red.on_default().bold()));
        let width = self.margin();
        let mut text = format!("{:width$}{blue}-->{blue:#} {}\n", "", self.place());
        for (index, snippet) in self.inner.snippets.iter().enumerate() {
            let mark = if index == 0 { red } else { blue };
            let carets = if index == 0 { "^" } else { "-" }.repeat(snippet.mark.1.max(1));
            let under = format!("{carets} {}", snippet.note);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:width$} {blue}|{blue:#}", "");
            let _ = writeln!(text, "{blue}{:>width$} |{blue:#} {}", snippet.line, snippet.text);
            let _ = writeln!(
                text,
                "{:width$} {blue}|{blue:#} {:indent$}{mark}{}{mark:#}",
                "",
                "",
                under.trim_end(),
                indent = snippet.mark.0
            );
        }
        text
    }

    /// `file:line:column`, or the file alone.
    fn place(&self) -> String {
        match self.position() {
            Some((line, column)) => format!("{}:{line}:{column}", self.inner.file),
            None => self.inner.file.clone(),
        }
    }

    fn margin(&self) -> usize {
        self.inner.snippets.iter().map(|snippet| snippet.line.to_string().len()).max().unwrap_or(1)
    }
}

/// One line: `file:line:column: message`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.inner.message)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

/// The config error stays its source, so that the printer can find it there and show the lines.
impl From<ConfigError> for orchestrate_core::Error {
    fn from(error: ConfigError) -> Self {
        let core = Self::usage(error.code(), error.to_string());
        let core = match error.hint_text() {
            Some(hint) => core.hint(hint),
            None => core,
        };
        core.source(error)
    }
}

/// Text of the file, safe to print: no control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(80, text)
}

pub(super) fn shown_up_to(longest: usize, text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(longest) {
        match c {
            // Quoted with backticks, so these need no backslash.
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}
