//! One error type for every front door: a kind (which decides the exit code), a stable code with a page in
//! `docs/errors/`, a message that says what went wrong with what, and a hint with the command to type next.

use std::error::Error as StdError;
use std::fmt;

/// What an error means to the person who typed the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing was changed: policy, no target, held, needs `--force`, another operation. Exit code 1.
    Refused,
    /// The command line or a file cannot be used. Exit code 2.
    Usage,
    /// It was tried, failed, and users are served as before. Exit code 3.
    Failed,
    /// It could neither be finished nor put back. Exit code 4.
    NeedsAttention,
    /// A bug in orchestrate. Exit code 70.
    Bug,
}

impl ErrorKind {
    /// The exit code of the process, as INTERFACE promises it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::NeedsAttention => 4,
            Self::Bug => 70,
        }
    }
}

/// An error with all that a person needs at three in the morning.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, code, message: message.into(), hint: None, source: None }) }
    }

    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, code, message)
    }

    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, code, message)
    }

    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, code, message)
    }

    pub fn needs_attention(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NeedsAttention, code, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, "ORC-0070", message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The same in other words: its kind, code, hint and causes stay.
    #[must_use]
    pub fn reworded(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// A stable code such as `ORC-0104`; its page is `docs/errors/ORC-0104.md`.
    pub fn code(&self) -> &'static str {
        self.inner.code
    }

    /// What happened, without its causes.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The next command to type, where there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The message and each cause, joined by `: `, a cause that only repeats the one above left out.
    pub fn full_message(&self) -> String {
        let source = self.inner.source.as_deref().map(|source| source as &dyn StdError);
        with_causes(self.inner.message.clone(), source)
    }
}

/// Any error with each of its causes, as [`Error::full_message`] has them.
pub fn causes(error: &dyn StdError) -> String {
    with_causes(error.to_string(), error.source())
}

fn with_causes(mut text: String, mut cause: Option<&dyn StdError>) -> String {
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
