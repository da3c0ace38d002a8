//! Carrying out: every step is journaled before it touches anything; before traffic moved, undo; after it, finish.

mod attempt;
mod hook;
pub mod journal;
mod last_switch;
pub(crate) mod record;
mod step;
#[cfg(test)]
pub(crate) mod tests;
mod undo;

pub(crate) use attempt::share_of;
pub use hook::forget_hooks;
pub(crate) use last_switch::{LastSwitch, keep_traffic};
pub(crate) use step::backends;
pub use step::perform;

use tokio::sync::watch;

use crate::database::{Database, EnvironmentRecord, OperationRecord};
use crate::error::{Error, Result};
use crate::hooks::HookRun;
use crate::name::EnvironmentName;
use crate::plan::{OperationKind, Place, Step};
use crate::ports::{PortError, PortErrorKind, Ports};
use crate::release::Release;
use crate::rollback_event::{Phase, RollbackEvent};
use crate::time::{Span, Timestamp};
use attempt::{after_failure, attempt};
use journal::{Entry, StepEvent, StepState};

/// How it ended. Only the last one wakes a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// A deployment got its traffic, but the live address did not prove it good: it goes back by a rollback.
    Condemned(Failure),
    /// Put back: users are served as before.
    Undone(Failure),
    NeedsAttention(Failure),
}

impl Outcome {
    /// Why it is not completed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Completed => None,
            Self::Condemned(failure) | Self::Undone(failure) | Self::NeedsAttention(failure) => Some(failure),
        }
    }
}

/// Why a step did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    Failed,
    TimedOut,
    Interrupted,
    /// A warm target had too few ready instances at the moment of the switch.
    NotReady,
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let kind = match error.kind {
            PortErrorKind::TimedOut => FailureKind::TimedOut,
            PortErrorKind::NotReady => FailureKind::NotReady,
            PortErrorKind::Fenced
            | PortErrorKind::Missing
            | PortErrorKind::Failed
            | PortErrorKind::Unreachable => FailureKind::Failed,
        };
        Self { kind, message: error.message, detail: error.detail }
    }
}

/// What may end an operation early, as long as traffic has not moved.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub timeout: Option<Span>,
    /// Becomes true when the person gives up (Ctrl-C).
    pub interrupt: Option<watch::Receiver<bool>>,
    /// Why nothing more of it is wanted.
    pub unwanted: Option<String>,
}

impl Limits {
    async fn hit(self) -> Failure {
        let timeout = async {
            match self.timeout {
                Some(span) => {
                    tokio::time::sleep(span.duration()).await;
                    Failure {
                        kind: FailureKind::TimedOut,
                        message: format!("it took longer than {span}"),
                        detail: None,
                    }
                }
                None => std::future::pending().await,
            }
        };
        let interrupt = async {
            let Some(mut receiver) = self.interrupt else { return std::future::pending().await };
            if receiver.wait_for(|on| *on).await.is_err() {
                return std::future::pending().await;
            }
            Failure { kind: FailureKind::Interrupted, message: "it was interrupted".into(), detail: None }
        };
        tokio::select! { failure = timeout => failure, failure = interrupt => failure }
    }
}

/// An operation that was begun: on disk, with its lease, and with the releases it is about.
#[derive(Debug)]
pub struct Operation {
    pub(crate) record: OperationRecord,
    pub(crate) target: Release,
    pub(crate) from: Option<Release>,
    /// What else its steps are about: releases that are in the way.
    others: Vec<Release>,
    states: Vec<StepState>,
    /// How many journal entries are on disk.
    written: usize,
    /// Entries that the next durable write takes along.
    pending: Vec<Entry>,
    pub(crate) phases: Vec<Phase>,
    /// Hooks that were run; the next durable write takes those along that are not on disk yet.
    pub(crate) hooks: Vec<HookRun>,
    hooks_written: usize,
    pub(crate) begun: Option<Begun>,
}

/// What the beginning of a rollback read and wrote: its end need not read that again. A resume has to.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub environment: EnvironmentRecord,
    pub event: RollbackEvent,
}

impl Operation {
    pub(crate) async fn new(
        db: &Database,
        record: OperationRecord,
        target: Release,
        from: Option<Release>,
        entries: &[Entry],
    ) -> Result<Self> {
        let states = journal::fold(record.plan.steps().len(), entries).map_err(|error| {
            Error::failed("ORC-0402", "the journal of the operation is damaged").source(error)
        })?;
        let others = others(db, &record, &target, from.as_ref()).await?;
        Ok(Self {
            record,
            target,
            from,
            others,
            states,
            written: entries.len(),
            pending: Vec::new(),
            phases: Vec::new(),
            hooks: Vec::new(),
            hooks_written: 0,
            begun: None,
        })
    }

    pub(crate) fn environment(&self) -> &EnvironmentName {
        &self.record.environment
    }

    /// The release that a step is about.
    fn release_of(&self, step: &Step) -> &Release {
        let mut known = self.from.iter().chain(&self.others);
        known.find(|release| release.id == step.place().release).unwrap_or(&self.target)
    }

    /// Whether the place had the traffic when the operation began.
    fn was_live(&self, place: &Place) -> bool {
        let plan = &self.record.plan;
        plan.from() == Some(place) || (plan.kind() == OperationKind::Stop && plan.target() == place)
    }

    /// Whether the target was made to start.
    fn has_started(&self) -> bool {
        let starts = Step::starts;
        let mut steps = self.record.plan.steps().iter().zip(&self.states);
        steps.any(|(step, state)| starts(step) && *state != StepState::Pending)
    }

    /// Entries that are not on disk yet, for the transaction that concludes.
    pub(crate) fn take_pending(&mut self) -> (usize, Vec<Entry>) {
        let entries = std::mem::take(&mut self.pending);
        let first = self.written;
        self.written += entries.len();
        (first, entries)
    }

    fn note_hook(&mut self, ran: HookRun) {
        self.hooks.push(ran);
    }

    /// What became of hooks and is not on disk yet, for the transaction that takes it along.
    pub(crate) fn take_hooks(&mut self) -> Vec<HookRun> {
        let first = std::mem::replace(&mut self.hooks_written, self.hooks.len());
        self.hooks[first..].to_vec()
    }

    /// Whether it can still come to nothing: its traffic has not moved, or goes back where it was.
    async fn may_be_left(&self, ports: &Ports) -> bool {
        let plan = &self.record.plan;
        match plan.returns_to() {
            Some(_) => self.states.iter().any(|state| *state != StepState::Done),
            None => matches!(share_of(ports, self.environment(), plan.target()).await, Ok(0)),
        }
    }

    /// Until the switch begins, an operation can be given up; from then on it is finished.
    fn may_stop_at(&self, index: usize) -> bool {
        !self.record.plan.steps()[..=index].iter().any(|step| matches!(step, Step::SwitchTraffic(_)))
    }

    fn note(&mut self, step: usize, event: StepEvent, detail: Option<String>, at: Timestamp) -> Result<()> {
        let state = self.states[step];
        self.states[step] = state.after(event).ok_or_else(|| {
            Error::bug(format!("an impossible step: {}", journal::IllegalEvent { step, state, event }))
        })?;
        self.pending.push(Entry { step, event, detail, at });
        Ok(())
    }

    async fn flush(&mut self, db: &Database) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let ((first, entries), hooks) = (self.take_pending(), self.take_hooks());
        db.append_journal(&self.record, first, &entries, &hooks).await
    }
}

async fn others(
    db: &Database,
    record: &OperationRecord,
    target: &Release,
    from: Option<&Release>,
) -> Result<Vec<Release>> {
    let mut others: Vec<Release> = Vec::new();
    for step in record.plan.steps() {
        let id = step.place().release;
        let known = target.id == id || from.is_some_and(|from| from.id == id);
        if !known && others.iter().all(|other| other.id != id) {
            others.push(crate::situation::known(db, id).await?);
        }
    }
    Ok(others)
}

/// Runs, or resumes: both start from what the journal says. An error means that the operation is still open.
pub(crate) async fn run(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    limits: &Limits,
) -> Result<Outcome> {
    let environment = operation.environment().clone();
    let fence = operation.record.fence;
    let keep_lease = async {
        loop {
            tokio::time::sleep(ports.lease_ttl.duration() / 3).await;
            if let Err(error) = db.renew_lease(&environment, fence, ports.clock.now(), ports.lease_ttl).await
                && error.code() == "ORC-0107"
            {
                return error;
            }
        }
    };
    tokio::select! {
        biased;
        lost = keep_lease => Err(lost),
        // On the heap, because operations are begun from deep within others.
        outcome = Box::pin(drive(db, ports, operation, limits)) => outcome,
    }
}

async fn drive(db: &Database, ports: &Ports, operation: &mut Operation, limits: &Limits) -> Result<Outcome> {
    if operation.states.iter().any(|state| state.is_undo()) {
        let because = Failure {
            kind: FailureKind::Interrupted,
            message: "it was interrupted while it was being undone".into(),
            detail: None,
        };
        return Box::pin(undo::undo(db, ports, operation, because)).await;
    }
    if let Some(message) = &limits.unwanted
        && operation.may_be_left(ports).await
    {
        let because = Failure { kind: FailureKind::Interrupted, message: message.clone(), detail: None };
        return Box::pin(undo::undo(db, ports, operation, because)).await;
    }
    let mut limit = Box::pin(limits.clone().hit());
    for index in 0..operation.record.plan.steps().len() {
        if operation.states[index] == StepState::Done {
            continue;
        }
        let outcome = match run_step(db, ports, operation, index, &mut limit).await? {
            Ok(()) => continue,
            Err(failure) => after_failure(db, ports, operation, index, failure).await?,
        };
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Completed)
}

async fn run_step(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    index: usize,
    limit: &mut (impl Future<Output = Failure> + Unpin),
) -> Result<std::result::Result<(), Failure>> {
    let step = operation.record.plan.steps()[index].clone();
    if operation.states[index] != StepState::Started {
        operation.note(index, StepEvent::Started, None, ports.clock.now())?;
    }
    if step.has_effect() {
        operation.flush(db).await?;
    }
    ports.progress.started(&step);
    let (started, began) = (std::time::Instant::now(), ports.clock.now());
    let (may_stop, mut ran) = (operation.may_stop_at(index), None);
    let result = tokio::select! {
        biased;
        result = attempt(ports, operation, &step, &mut ran) => result,
        failure = limit, if may_stop => Err(Ok(failure)),
    };
    if let (Step::Hook(_, hook), Err(Ok(failure)), None) = (&step, &result, &ran) {
        ran = Some(HookRun::cut_off(*hook, &failure.message));
    }
    ran.into_iter().for_each(|ran| operation.note_hook(ran));
    let took = Span::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    let name = operation.record.plan.phase(&step).into();
    operation.phases.push(Phase { name, ms: ports.clock.now().millis_since(began) });
    match result {
        Ok(said) => {
            let said = said.or_else(|| step.milestone());
            operation.note(index, StepEvent::Done, said, ports.clock.now())?;
            ports.progress.done(&step, took);
            Ok(Ok(()))
        }
        Err(Err(_)) => Err(crate::database::lease_lost(operation.environment())),
        Err(Ok(failure)) => {
            let said = match (&step, &failure.detail) {
                (Step::Hook(..), Some(said)) => format!("{}\n{said}", failure.message),
                _ => failure.message.clone(),
            };
            operation.note(index, StepEvent::Failed, Some(said), ports.clock.now())?;
            Ok(Err(failure))
        }
    }
}
