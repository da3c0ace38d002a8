//! The journal of an operation: events are only added, and a step's state is folded from them by one function.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What happened to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEvent {
    Started,
    Done,
    Failed,
    UndoStarted,
    Undone,
    UndoFailed,
}

impl StepEvent {
    pub const ALL: [Self; 6] =
        [Self::Started, Self::Done, Self::Failed, Self::UndoStarted, Self::Undone, Self::UndoFailed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::UndoStarted => "undo_started",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub step: usize,
    pub event: StepEvent,
    pub detail: Option<String>,
    pub at: Timestamp,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    Pending,
    Started,
    Done,
    Failed,
    Undoing,
    Undone,
    /// Its undo failed.
    Stuck,
}

/// An event that cannot follow the state: a bug, or a journal that something else wrote to.
#[derive(Debug, PartialEq, Eq)]
pub struct IllegalEvent {
    pub step: usize,
    pub state: StepState,
    pub event: StepEvent,
}

impl fmt::Display for IllegalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} is {:?}, which `{}` cannot follow", self.step, self.state, self.event.as_str())
    }
}

impl std::error::Error for IllegalEvent {}

impl StepState {
    /// The whole machine.
    pub fn after(self, event: StepEvent) -> Option<Self> {
        use {StepEvent as E, StepState as S};
        match (self, event) {
            // A step is started again by a retry, or by whoever resumes.
            (S::Pending | S::Started | S::Failed, E::Started) => Some(S::Started),
            (S::Started, E::Done) => Some(S::Done),
            (S::Started, E::Failed) => Some(S::Failed),
            (S::Started | S::Done | S::Failed | S::Undoing | S::Stuck, E::UndoStarted) => Some(S::Undoing),
            (S::Undoing, E::Undone) => Some(S::Undone),
            (S::Undoing, E::UndoFailed) => Some(S::Stuck),
            (S::Pending, E::Done | E::Failed | E::UndoStarted)
            | (S::Done, E::Started | E::Done | E::Failed)
            | (S::Failed, E::Done | E::Failed)
            | (S::Undoing | S::Stuck, E::Started | E::Done | E::Failed)
            | (S::Undone, E::Started | E::Done | E::Failed | E::UndoStarted)
            | (
                S::Pending | S::Started | S::Done | S::Failed | S::Undone | S::Stuck,
                E::Undone | E::UndoFailed,
            ) => None,
        }
    }

    /// Whether it belongs to an operation that is being undone.
    pub const fn is_undo(self) -> bool {
        match self {
            Self::Undoing | Self::Undone | Self::Stuck => true,
            Self::Pending | Self::Started | Self::Done | Self::Failed => false,
        }
    }
}

/// The state of each of `steps` steps.
pub fn fold(steps: usize, entries: &[Entry]) -> Result<Vec<StepState>, IllegalEvent> {
    let mut states = vec![StepState::Pending; steps];
    for entry in entries {
        let illegal = |state| IllegalEvent { step: entry.step, state, event: entry.event };
        let state = states.get_mut(entry.step).ok_or_else(|| illegal(StepState::Pending))?;
        *state = state.after(entry.event).ok_or_else(|| illegal(*state))?;
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_undone_and_nothing_ends_that_was_not_started() {
        for event in StepEvent::ALL {
            assert_eq!(StepState::Undone.after(event), None);
        }
        assert_eq!(StepState::Pending.after(StepEvent::Done), None);
        assert_eq!(StepState::Done.after(StepEvent::Started), None);
        assert_eq!(StepState::Stuck.after(StepEvent::UndoStarted), Some(StepState::Undoing));
    }
}
