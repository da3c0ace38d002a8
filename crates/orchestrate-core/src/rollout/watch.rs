//! Watching what is being rolled out, from one of its shares to the next.

use super::Rollout;
use crate::database::Database;
use crate::deployment::Deployment;
use crate::error::Result;
use crate::evidence::Consequence;
use crate::ports::Ports;
use crate::post_deploy_verification::{Inspection, Judged, LOOK_EVERY, RECORDS_EVERY, Verdict, subject};
use crate::slot::SlotState;
use crate::time::Span;

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was well for its whole wait.
    Promote,
    /// The deployment, with what speaks against it.
    Bad(Box<Deployment>),
    /// It was promoted, rolled back or stopped meanwhile, or another operation is under way.
    Overtaken,
}

/// Watches one step to its end. One that is paused is watched as well, and does not end by itself.
pub async fn watch(db: &Database, ports: &Ports, rollout: &Rollout) -> Result<Next> {
    let began = ports.clock.running_for();
    let Some(deployment) = db.deployment(rollout.deployment).await? else { return Ok(Next::Overtaken) };
    let slots = db.slots(&rollout.environment).await?;
    let staged = slots.iter().find(|slot| slot.state == SlotState::Staged && slot.release == rollout.release);
    let Some(slot) = staged else { return Ok(Next::Overtaken) };
    // By the clock that does not jump, and never longer than what was asked for.
    let left = rollout.next_at.map_or(0, |at| at.millis_since(ports.clock.now()));
    let until = began.plus(Span::from_millis(left).min(rollout.course.wait));
    let mut inspection = Inspection::begin(ports, subject(db, &deployment, slot).await?);
    let (mut records_due, mut goes_on) = (began, false);
    loop {
        let against = inspection.look().await;
        let bad = against.iter().any(|one| one.consequence == Consequence::Rollback);
        let over = inspection.is_settled() && ports.clock.running_for() >= until;
        if bad || over || ports.clock.running_for() >= records_due {
            records_due = ports.clock.running_for().plus(RECORDS_EVERY);
            match stands(db, rollout).await? {
                Some(now) => goes_on = now.next_at.is_some(),
                None => return Ok(Next::Overtaken),
            }
        }
        if bad {
            return Ok(judged(deployment, Judged::from(against)));
        }
        if over && goes_on {
            return Ok(judged(deployment, inspection.end()));
        }
        ports.clock.sleep(LOOK_EVERY).await;
    }
}

fn judged(deployment: Deployment, judged: Judged) -> Next {
    match judged.verdict {
        Verdict::Good => Next::Promote,
        Verdict::Overtaken => Next::Overtaken,
        Verdict::Bad(because) => {
            let (error_message, evidence) = (Some(because), judged.evidence);
            Next::Bad(Box::new(Deployment { error_message, evidence, ..deployment }))
        }
    }
}

/// How it stands, as long as it is at the same share and nothing else is done there.
async fn stands(db: &Database, rollout: &Rollout) -> Result<Option<Rollout>> {
    let busy = db.lease(&rollout.environment).await?.is_some_and(|lease| lease.operation.is_some());
    let now = db.open_rollout(&rollout.environment).await?;
    Ok(now.filter(|now| !busy && now.deployment == rollout.deployment && now.weight == rollout.weight))
}
