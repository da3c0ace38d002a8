//! An operation as a trace: made of its records once it has ended, so that the same operation is the same trace however often
//! it is told.

mod parent;
mod steps;

pub use parent::Traceparent;

use crate::database::{OperationRecord, OperationStatus};
use crate::deployment::Deployment;
use crate::execute::journal::Entry;
use crate::plan::OperationKind;
use crate::release::Digest;
use crate::rollback_event::RollbackEvent;
use crate::time::Timestamp;

/// More of a message than this is not told.
const MESSAGE_CHARS: usize = 1_000;

/// One operation and its steps. The first span is the operation's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: [u8; 16],
    pub spans: Vec<TraceSpan>,
}

/// What was done from when to when, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSpan {
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Why it did not come about.
    pub error: Option<String>,
    pub attributes: Vec<(&'static str, Value)>,
    /// What it follows from, in another trace.
    pub links: Vec<([u8; 16], [u8; 8])>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Int(i64),
    Bool(bool),
}

/// The records that a trace is made of.
#[derive(Clone, Debug)]
pub struct Traced {
    pub operation: OperationRecord,
    pub journal: Vec<Entry>,
    pub service: Option<String>,
    pub deployment: Option<Deployment>,
    pub rollback: Option<RollbackEvent>,
    /// The operation by which what is rolled back was deployed.
    pub deployed_by: Option<OperationRecord>,
}

impl Trace {
    /// `None`: whoever asked for the operation is not traced, so nothing of it is.
    pub fn of(traced: &Traced) -> Option<Self> {
        let parent = traced.operation.traceparent;
        if parent.is_some_and(|parent| !parent.sampled) {
            return None;
        }
        let identity = Identity::of(&traced.operation);
        let mut root = root(traced, &identity);
        root.parent = parent.map(|parent| parent.span);
        let mut spans = vec![root];
        spans.extend(steps::spans(traced, &identity));
        Some(Self { id: identity.trace, spans })
    }
}

/// The numbers of an operation's spans. They depend on what never changes of it, and on what another database's operation of
/// the same number does not have.
struct Identity {
    trace: [u8; 16],
    of: String,
}

impl Identity {
    fn of(operation: &OperationRecord) -> Self {
        let OperationRecord { id, environment, started_at, .. } = operation;
        let of = format!("operation {id} of {environment} begun {started_at}");
        let trace = operation.traceparent.map_or_else(|| digest(&of), |parent| parent.trace);
        Self { trace, of }
    }

    fn root(&self) -> [u8; 8] {
        digest(&format!("{} itself", self.of))
    }

    /// The span that an entry of the journal begins.
    fn begun_by(&self, entry: usize) -> [u8; 8] {
        digest(&format!("{} entry {entry}", self.of))
    }
}

fn digest<const N: usize>(of: &str) -> [u8; N] {
    let digits = Digest::of(of.as_bytes());
    let byte = |at: usize| digits.as_str().get(at * 2..at * 2 + 2);
    std::array::from_fn(|at| byte(at).and_then(|text| u8::from_str_radix(text, 16).ok()).unwrap_or(1))
}

fn root(traced: &Traced, identity: &Identity) -> TraceSpan {
    let operation = &traced.operation;
    let failed = steps::failed(traced);
    let undone = operation.status != OperationStatus::Completed;
    let error = (undone || failed.is_some()).then(|| {
        let known = operation.error_message.as_deref();
        let said = known.or(failed.as_ref().and_then(|failed| failed.message));
        first_line(said.unwrap_or("it did not come about"))
    });
    let mut attributes = attributes(traced, error.is_none());
    if let Some(failed) = &failed {
        attributes.push(("error.type", text(failed.step)));
    }
    let link = |by: &OperationRecord| {
        let identity = Identity::of(by);
        (identity.trace, identity.root())
    };
    TraceSpan {
        id: identity.root(),
        parent: None,
        name: format!("{} {}", operation.kind.as_str(), operation.environment),
        start: operation.started_at,
        end: end(traced),
        error,
        attributes,
        links: traced.deployed_by.iter().map(link).collect(),
    }
}

/// What has a name among the conventions of OpenTelemetry has that one.
fn attributes(traced: &Traced, good: bool) -> Vec<(&'static str, Value)> {
    let (operation, plan) = (&traced.operation, &traced.operation.plan);
    let outcome = if good { "succeeded" } else { "failed" };
    let mut all = vec![
        ("deployment.environment.name", text(&operation.environment)),
        ("deployment.id", text(operation.deployment)),
        ("deployment.status", text(outcome)),
        ("orchestrate.operation.id", Value::Int(operation.id.0)),
        ("orchestrate.operation.kind", text(operation.kind.as_str())),
        ("orchestrate.operation.outcome", text(operation.status.as_str())),
        ("orchestrate.version", text(&plan.target().version)),
    ];
    let mut add = |name, value: Option<String>| all.extend(value.map(|value| (name, Value::Text(value))));
    add("orchestrate.service", traced.service.clone());
    add("orchestrate.from_version", plan.from().map(|place| place.version.to_string()));
    if let Some(deployment) = &traced.deployment {
        add("orchestrate.provider", Some(deployment.provider.to_string()));
        add("orchestrate.strategy", Some(deployment.strategy.as_str().to_owned()));
    }
    let asked = traced.deployment.as_ref().filter(|_| operation.kind == OperationKind::Deploy);
    let (actor, reason) = match (&traced.rollback, asked) {
        (Some(event), _) => (Some(&event.actor), event.reason.as_deref()),
        (None, Some(deployment)) => (Some(&deployment.actor), deployment.reason.as_deref()),
        (None, None) => (None, None),
    };
    add("orchestrate.actor", actor.cloned());
    add("orchestrate.reason", reason.map(first_line));
    if let Some(event) = &traced.rollback {
        add("orchestrate.rollback.type", Some(event.rollback_type.to_string()));
        add("orchestrate.rollback.path", Some(event.path.to_string()));
        add("orchestrate.rollback.trigger", Some(event.trigger.to_string()));
        all.push(("orchestrate.rollback.id", Value::Int(event.id.0)));
    }
    all
}

fn end(traced: &Traced) -> Timestamp {
    let OperationRecord { started_at, ended_at, .. } = traced.operation;
    ended_at.unwrap_or(started_at).max(started_at)
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

/// What follows may be the output of a command of the user's.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;
