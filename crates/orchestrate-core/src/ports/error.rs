//! Why a provider or a router did not do what was asked.

use std::fmt;

use serde::{Deserialize, Serialize};

pub type PortResult<T> = Result<T, PortError>;

/// Why a provider or a router did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortError {
    pub kind: PortErrorKind,
    pub message: String,
    /// What may help, for people: the last lines of an instance's output, a command to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortErrorKind {
    /// A newer operation has been here: stop at once.
    Fenced,
    /// Fewer ready instances than needed.
    NotReady,
    /// It did not become so within its time.
    TimedOut,
    /// The sealed artifact, or another thing that was named, is not there or is not what it was.
    Missing,
    /// It was understood and cannot be done.
    Failed,
    /// No answer: whether it was done is not known.
    Unreachable,
}

impl PortError {
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(PortErrorKind::Failed, message)
    }

    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(PortErrorKind::Unreachable, message)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PortError {}
