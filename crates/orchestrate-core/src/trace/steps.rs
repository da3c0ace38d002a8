//! The steps of an operation as spans, as its journal tells them.

use std::collections::BTreeMap;

use super::{Identity, TraceSpan, Traced, Value, end, first_line, text};
use crate::execute::journal::{Entry, StepEvent};
use crate::plan::Step;
use crate::time::Timestamp;

/// Nothing says what became of it: whoever carried it out was gone, or it was given up.
const CUT_OFF: &str = "it was cut off";

/// A step that did not come about.
pub(super) struct Failed<'a> {
    pub step: &'static str,
    pub message: Option<&'a str>,
}

/// The step that has the last word about a failure, if one stayed failed.
pub(super) fn failed(traced: &Traced) -> Option<Failed<'_>> {
    let mut last: BTreeMap<usize, &Entry> = BTreeMap::new();
    let before_undo = |entry: &&Entry| match entry.event {
        StepEvent::Started | StepEvent::Done | StepEvent::Failed => true,
        StepEvent::UndoStarted | StepEvent::Undone | StepEvent::UndoFailed => false,
    };
    for entry in traced.journal.iter().filter(before_undo) {
        last.insert(entry.step, entry);
    }
    let entry = last.into_values().rev().find(|entry| entry.event == StepEvent::Failed)?;
    let step = traced.operation.plan.steps().get(entry.step)?.name();
    Some(Failed { step, message: entry.detail.as_deref() })
}

/// One for each time that a step was begun, and for each time that it was taken back.
pub(super) fn spans(traced: &Traced, identity: &Identity) -> Vec<TraceSpan> {
    let (mut all, mut open) = (Vec::new(), BTreeMap::new());
    for (index, entry) in traced.journal.iter().enumerate() {
        let Some(step) = traced.operation.plan.steps().get(entry.step) else { continue };
        let before = open.remove(&entry.step);
        let failed = || first_line(entry.detail.as_deref().unwrap_or("it failed"));
        let undoes = match entry.event {
            StepEvent::Started => false,
            StepEvent::UndoStarted => true,
            StepEvent::Done | StepEvent::Undone => {
                all.extend(before.map(|span| ended(span, entry.at, None)));
                continue;
            }
            StepEvent::Failed | StepEvent::UndoFailed => {
                all.extend(before.map(|span| ended(span, entry.at, Some(failed()))));
                continue;
            }
        };
        all.extend(before.map(|span| ended(span, entry.at, Some(CUT_OFF.into()))));
        open.insert(entry.step, begun(identity, index, entry, step, undoes));
    }
    all.extend(open.into_values().map(|span| ended(span, end(traced), Some(CUT_OFF.into()))));
    all
}

fn begun(identity: &Identity, index: usize, entry: &Entry, step: &Step, undoes: bool) -> TraceSpan {
    let place = step.place();
    let name = if undoes { format!("undo {}", step.name()) } else { step.name().to_owned() };
    TraceSpan {
        id: identity.begun_by(index),
        parent: Some(identity.root()),
        name,
        start: entry.at,
        end: entry.at,
        error: None,
        attributes: vec![
            ("orchestrate.step.index", Value::Int(i64::try_from(entry.step).unwrap_or(i64::MAX))),
            ("orchestrate.step.text", text(step)),
            ("orchestrate.step.undo", Value::Bool(undoes)),
            ("orchestrate.slot", text(place.slot)),
            ("orchestrate.version", text(&place.version)),
        ],
        links: Vec::new(),
    }
}

/// A clock that was put back makes no span that ends before it begins.
fn ended(span: TraceSpan, at: Timestamp, error: Option<String>) -> TraceSpan {
    TraceSpan { end: at.max(span.start), error, ..span }
}
