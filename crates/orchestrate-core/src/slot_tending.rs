//! What the daemon does with slots that lost their traffic: workers stop at once, the rest after drain or warm period.

use crate::database::Database;
use crate::error::Result;
use crate::execute::perform;
use crate::name::Fence;
use crate::plan::{Place, Step};
use crate::ports::{Placement, PortErrorKind, Ports, Processes};
use crate::situation::known;
use crate::slot::SlotState;
use crate::time::Timestamp;

/// One pass over all slots that are on their way out. Returns when the next warm period ends.
pub async fn tend(db: &Database, ports: &Ports) -> Result<Option<Timestamp>> {
    let mut next: Option<Timestamp> = None;
    for (placement, record, fence) in db.list_leaving_slots().await? {
        match record.state {
            SlotState::Warm => {
                if record.until.is_some_and(|until| until <= ports.clock.now()) {
                    if db.retire_slot_if_due(&placement, ports.clock.now()).await? {
                        retire(db, ports, &placement, fence).await?;
                    }
                } else {
                    park_workers(db, ports, &placement, fence).await?;
                    next = [next, record.until].into_iter().flatten().min();
                }
            }
            SlotState::Retiring => retire(db, ports, &placement, fence).await?,
            SlotState::Live | SlotState::Filling => {}
        }
    }
    Ok(next)
}

/// Workers have no traffic to lose, so only the live release runs them.
async fn park_workers(db: &Database, ports: &Ports, placement: &Placement, fence: Fence) -> Result<()> {
    let release = known(db, placement.release).await?;
    if release.contents.has_unrouted() {
        let step = Step::Stop(place(placement), Processes::Unrouted);
        told(ports, perform(ports, &placement.environment, fence, &release, &step).await);
    }
    Ok(())
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
    db.forget_slot(placement).await
}

fn place(placement: &Placement) -> Place {
    Place { slot: placement.slot, release: placement.release, version: placement.version.clone() }
}

/// What failed is tried again at the next pass; a newer fence only means that somebody else took care.
fn told(ports: &Ports, result: crate::ports::PortResult<()>) -> bool {
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
