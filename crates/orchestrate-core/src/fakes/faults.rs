//! What can go wrong with a call, and when.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ports::PortErrorKind;

/// The calls of a provider and a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Fetch,
    Discard,
    Hook,
    ForgetHooks,
    Start,
    AwaitHealthy,
    Stop,
    Instances,
    Drift,
    Register,
    Switch,
    Shift,
    Persisted,
    Observe,
    Prove,
    Drain,
    Deregister,
    Close,
}

impl Kind {
    pub const ALL: [Self; 18] = [
        Self::Fetch,
        Self::Discard,
        Self::Hook,
        Self::ForgetHooks,
        Self::Start,
        Self::AwaitHealthy,
        Self::Stop,
        Self::Instances,
        Self::Drift,
        Self::Register,
        Self::Switch,
        Self::Shift,
        Self::Persisted,
        Self::Observe,
        Self::Prove,
        Self::Drain,
        Self::Deregister,
        Self::Close,
    ];
}

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call with this number, counted from 1 since the calls were forgotten the last time.
    Call(usize),
    Kind(Kind),
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It has no effect, and says so.
    Fail(PortErrorKind),
    /// It has its effect, but nobody is told.
    LoseAnswer,
    /// The calling program dies before the effect.
    CrashBefore,
    /// The calling program dies after the effect.
    CrashAfter,
    /// It waits at the gate before it has its effect.
    Hold(Gate),
    /// The instances of its slot turn unhealthy just before it.
    Sicken,
}

/// Where a call waits until a test lets it through.
#[derive(Clone, Debug)]
pub struct Gate {
    reached: Arc<watch::Sender<bool>>,
    open: Arc<watch::Sender<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { reached: Arc::new(watch::Sender::new(false)), open: Arc::new(watch::Sender::new(false)) }
    }
}

impl Gate {
    /// Returns once a call waits here.
    pub async fn reached(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.reached.subscribe().wait_for(|reached| *reached).await;
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) async fn pass(&self) {
        self.reached.send_replace(true);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// The faults that are still to happen, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<(When, usize, Fault)>);

impl Faults {
    pub fn add(&mut self, when: When, times: usize, fault: Fault) {
        self.0.push((when, times, fault));
    }

    /// One for this very call goes before one for its kind.
    pub fn pick(&mut self, kind: Kind, number: usize) -> Option<Fault> {
        for hit in [When::Call(number), When::Kind(kind)] {
            let found = self.0.iter_mut().find(|(when, times, _)| *times > 0 && *when == hit);
            if let Some((_, times, fault)) = found {
                *times -= 1;
                return Some(fault.clone());
            }
        }
        None
    }
}
