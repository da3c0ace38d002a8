//! What the daemon does with slots that lost their traffic: workers stop at once, the rest after drain or warm period.

mod reconcile;
mod restored;

pub use reconcile::{Told, Upkeep, reconcile};

use crate::database::Database;
use crate::error::Result;
use crate::execute::perform;
use crate::name::Fence;
use crate::plan::{Place, Step};
use crate::ports::{Placement, PortErrorKind, PortResult, Ports, Processes, SlotView};
use crate::situation::known;
use crate::slot::{SlotRecord, SlotState};
use crate::time::Timestamp;

/// A slot that lost its traffic, and the fence under which it may be looked after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaving {
    pub placement: Placement,
    state: SlotState,
    until: Option<Timestamp>,
    fence: Fence,
}

/// Every slot that is on its way out.
pub async fn leaving(db: &Database) -> Result<Vec<Leaving>> {
    let slots = db.list_leaving_slots().await?.into_iter();
    let leaving = |(placement, record, fence): (Placement, SlotRecord, Fence)| Leaving {
        placement,
        state: record.state,
        until: record.until,
        fence,
    };
    Ok(slots.map(leaving).collect())
}

/// One pass over all slots that are on their way out, one after another. Returns when the next warm period ends.
pub async fn tend(db: &Database, ports: &Ports) -> Result<Option<Timestamp>> {
    let mut next: Option<Timestamp> = None;
    for slot in leaving(db).await? {
        tend_one(db, ports, &slot).await?;
        next = [next, slot.due(ports.clock.now())].into_iter().flatten().min();
    }
    Ok(next)
}

impl Leaving {
    /// Whether it is to stay as it is for now.
    pub fn waits(&self, now: Timestamp) -> bool {
        self.state == SlotState::Warm && self.until.is_none_or(|until| until > now)
    }

    /// When its warm period ends, if that is still to come.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| self.state == SlotState::Warm && *until > now)
    }
}

/// Does what is due for one slot; a drain may take its time. True if nothing is left to do until its warm period ends.
pub async fn tend_one(db: &Database, ports: &Ports, slot: &Leaving) -> Result<bool> {
    let Leaving { placement, state, fence, .. } = slot;
    match state {
        SlotState::Warm => {
            let now = ports.clock.now();
            if slot.waits(now) {
                return park_workers(db, ports, placement, *fence).await;
            }
            if may_go(ports, placement).await && db.retire_slot_if_due(placement, now).await? {
                retire(db, ports, placement, *fence).await?;
            }
        }
        SlotState::Retiring => {
            if may_go(ports, placement).await {
                retire(db, ports, placement, *fence).await?;
            }
        }
        SlotState::Live | SlotState::Filling | SlotState::Staged => {}
    }
    Ok(false)
}

/// Workers have no traffic to lose, so only the live release runs them.
async fn park_workers(db: &Database, ports: &Ports, placement: &Placement, fence: Fence) -> Result<bool> {
    let release = known(db, placement.release).await?;
    if !release.contents.has_unrouted() {
        return Ok(true);
    }
    let step = Step::Stop(place(placement), Processes::Unrouted);
    Ok(told(ports, perform(ports, &placement.environment, fence, &release, &step).await))
}

/// What has traffic is not stopped, whatever the records say: the router may have been killed before it wrote a switch down.
/// Nor is the last healthy release: what could still serve stays while what is live cannot.
async fn may_go(ports: &Ports, placement: &Placement) -> bool {
    let view = match ports.router.observe(&placement.environment).await {
        Ok(view) => view,
        Err(error) => return told(ports, Err(error)),
    };
    let whole = |slot: &SlotView| {
        !slot.backends.is_empty() && slot.backends.iter().all(|backend| backend.healthy >= backend.instances)
    };
    let spare = view.placed(placement.slot, placement.release);
    if spare.is_some_and(|spare| spare.weight > 0) {
        return false;
    }
    let needed = spare.is_some_and(whole) && view.live().is_some_and(|live| !whole(live));
    if needed {
        let Placement { version, environment, .. } = placement;
        ports.progress.remark(&format!(
            "{version} keeps running in {environment}, because what is live there is not ready"
        ));
    }
    !needed
}

/// Workers, then drain, then the rest; a newer operation's fence ends it at any point.
async fn retire(db: &Database, ports: &Ports, placement: &Placement, fence: Fence) -> Result<()> {
    let release = known(db, placement.release).await?;
    let place = place(placement);
    let mut steps = Vec::new();
    if release.contents.has_unrouted() {
        steps.push(Step::Stop(place.clone(), Processes::Unrouted));
    }
    steps.push(Step::Drain(place.clone()));
    steps.push(Step::Stop(place, Processes::All));
    for step in steps {
        if !told(ports, perform(ports, &placement.environment, fence, &release, &step).await) {
            return Ok(());
        }
    }
    db.forget_slot(placement, ports.clock.now()).await
}

fn place(placement: &Placement) -> Place {
    Place { slot: placement.slot, release: placement.release, version: placement.version.clone() }
}

/// What failed is tried again at the next pass; a newer fence only means that somebody else took care.
fn told(ports: &Ports, result: PortResult<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) if error.kind == PortErrorKind::Fenced => false,
        Err(error) => {
            ports
                .progress
                .remark(&format!("a release that lost its traffic could not be stopped yet: {error}"));
            false
        }
    }
}

#[cfg(test)]
mod tests;
