//! The end of this proxy's service: at once, or because another one has taken over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use orchestrate_core::ports::{Drain, Drained, Placement, Register};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Registry;
use super::change::{cut, cut_off, ended};
use crate::data::{Command, Finish};
use crate::protocol::Seen;
use crate::table::Instance;

/// What the workers' end is seen by.
#[derive(Clone)]
pub(crate) struct Ending {
    quiet: watch::Receiver<()>,
    ended: watch::Receiver<()>,
}

/// A question that is not answered yet.
pub(crate) struct Asked(watch::Sender<u32>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.send_modify(|asked| *asked -= 1);
    }
}

impl Ending {
    /// Returns once no request can be begun any more.
    pub async fn quiet(mut self) {
        while self.quiet.changed().await.is_ok() {}
    }

    /// Returns once nothing is under way.
    pub async fn ended(mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

impl Registry {
    /// Listens no more; who has a connection is served once more on it.
    pub fn retire(&self) {
        let _ = self.lingers_until.set(Instant::now() + self.shared.limits.linger);
        self.workers.iter().for_each(|worker| worker.tell(Command::Retire));
        self.lock().listeners.leave();
        // The heir asks them itself, and would count them twice.
        self.elders.forget_all();
    }

    /// Whether another proxy has taken over.
    pub fn has_retired(&self) -> bool {
        self.lingers_until.get().is_some()
    }

    /// A question counts until this is dropped.
    pub fn asked(&self) -> Asked {
        self.asked.send_modify(|asked| *asked += 1);
        Asked(self.asked.clone())
    }

    /// Returns once nobody waits for an answer, for instance to a drain that ended with the last request.
    pub async fn answered(&self) {
        // It cannot fail: the sender is here.
        let _ = self.asked.subscribe().wait_for(|asked| *asked == 0).await;
    }

    /// After [`Registry::retire`]: returns once idle connections had the time in which their next request was to come.
    pub async fn lingered(&self) {
        if let Some(until) = self.lingers_until.get() {
            tokio::time::sleep_until(*until).await;
        }
    }

    /// Returns once no elder routes a new request any more.
    pub async fn quiet_elders(&self) {
        self.elders.quiet(self.shared.limits.linger).await;
    }

    /// Listens no more, and has the workers finish what is under way, for so long at most. The first call counts.
    pub fn finish(&self, limit: Duration) -> Ending {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = end.get_or_insert_with(|| {
            let ((quiet, is_quiet), (ended, has_ended)) = (watch::channel(()), watch::channel(()));
            let finish = Finish { limit, quiet, ended };
            self.workers.iter().for_each(|worker| worker.tell(Command::Finish(finish.clone())));
            Ending { quiet: is_quiet, ended: has_ended }
        });
        self.lock().listeners.leave();
        ending.clone()
    }

    /// After [`Registry::retire`]: what is idle ends, and what is under way gets its time.
    pub fn finish_retired(&self) -> Ending {
        self.finish(self.shared.limits.retire)
    }

    /// Waits for what is still in flight to the release, whoever has the traffic by now, and cuts it at the
    /// deadline. Whether it still may is for the heir to know, who hangs up where it may not.
    pub async fn drain_rest(&self, request: &Drain) -> Drained {
        let placed = self.lock().placed(&request.placement);
        let Some(load) = placed.map(|placed| Arc::clone(&placed.load)) else { return Drained { cut: 0 } };
        if tokio::time::timeout(request.deadline.duration(), load.emptied()).await.is_ok() {
            return Drained { cut: 0 };
        }
        cut_off(&load, cut(&load, &self.workers)).await
    }

    /// Waits for what is still in flight to instances that the registration leaves out.
    pub async fn register_rest(&self, request: &Register) {
        if let Some(drain) = request.drain {
            ended(&self.leaving(request), drain.duration()).await;
        }
    }

    /// Every instance that was seen ready.
    pub fn seen_healthy(&self) -> Vec<Seen> {
        let state = self.lock();
        let tables: Vec<_> = state.known.values().map(super::Known::table).collect();
        let mut seen = Vec::new();
        for placed in tables.iter().flat_map(|table| &table.placed) {
            let instances = placed.lanes.iter().flat_map(|lane| &lane.instances);
            for instance in instances.filter(|instance| instance.healthy.load(Ordering::Relaxed)) {
                seen.push(Seen::of(&placed.placement, instance));
            }
        }
        seen
    }

    /// Takes the word of the proxy before for who is ready.
    pub fn believe(&self, seen: &[Seen]) {
        let seen: std::collections::BTreeSet<_> = seen.iter().collect();
        let state = self.lock();
        for placed in state.known.values().flat_map(|known| known.table().placed.clone()) {
            for instance in placed.lanes.iter().flat_map(|lane| &lane.instances) {
                if seen.contains(&Seen::of(&placed.placement, instance)) {
                    instance.healthy.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Seen {
    fn of(placement: &Placement, instance: &Instance) -> Self {
        Self {
            environment: placement.environment.clone(),
            slot: placement.slot,
            release: placement.release,
            instance: instance.id.clone(),
        }
    }
}
