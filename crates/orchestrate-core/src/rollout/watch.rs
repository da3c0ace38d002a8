//! Watching what is being rolled out, from one of its shares to the next; what is staged, for as long as it waits.

use super::Rollout;
use super::waiting::Waiting;
use crate::database::Database;
use crate::deployment::Deployment;
use crate::error::Result;
use crate::evidence::{Consequence, Evidence};
use crate::ports::Ports;
use crate::post_deploy_verification::{
    Inspection, Judged, LOOK_EVERY, RECORDS_EVERY, SoFar, Subject, Verdict, subject,
};
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

/// Watches one step to its end. One that is paused is watched as well, and does not end by itself. What is staged has no
/// traffic that it could spoil, so what is found there is only told.
pub async fn watch(db: &Database, ports: &Ports, rollout: &Rollout) -> Result<Next> {
    let (now, began) = (ports.clock.now(), ports.clock.running_for());
    let Some((deployment, subject)) = on_its_way(db, rollout).await? else { return Ok(Next::Overtaken) };
    // By the clock that does not jump, and never longer than what was asked for.
    let left = rollout.next_at.map_or(0, |at| at.millis_since(now));
    let until = began.plus(Span::from_millis(left).min(rollout.course.wait));
    let mut waiting = (rollout.weight == 0).then(|| Waiting::of(&deployment));
    let (mut inspection, mut so_far) = (Inspection::begin(ports, subject), SoFar::of(&deployment));
    let (mut records_due, mut goes_on) = (began, false);
    loop {
        let against = inspection.look().await;
        so_far.note(db, ports, &inspection).await;
        let bad = waiting.is_none() && against.iter().any(leads_back);
        let over = inspection.is_settled() && ports.clock.running_for() >= until;
        if bad || (over && goes_on) || ports.clock.running_for() >= records_due {
            records_due = ports.clock.running_for().plus(RECORDS_EVERY);
            match stands(db, rollout).await? {
                Some(now) => goes_on = now.next_at.is_some(),
                None => return Ok(Next::Overtaken),
            }
        }
        match &mut waiting {
            Some(waiting) => {
                waiting.note(db, ports, against).await?;
                inspection.look_anew();
            }
            None if bad => return Ok(judged(deployment, Judged::from(against))),
            None if over && goes_on => return Ok(judged(deployment, inspection.end())),
            None => {}
        }
        ports.clock.sleep(LOOK_EVERY).await;
    }
}

fn leads_back(one: &Evidence) -> bool {
    one.consequence == Consequence::Rollback
}

async fn on_its_way(db: &Database, rollout: &Rollout) -> Result<Option<(Deployment, Subject)>> {
    let Some(deployment) = db.deployment(rollout.deployment).await? else { return Ok(None) };
    let slots = db.slots(&rollout.environment).await?;
    let staged = slots.iter().find(|slot| slot.state == SlotState::Staged && slot.release == rollout.release);
    let Some(slot) = staged else { return Ok(None) };
    let subject = Subject { share: Some(rollout.weight), ..subject(db, &deployment, slot).await? };
    Ok(Some((deployment, subject)))
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
    let busy = db.lease(&rollout.environment).await?.is_some_and(|lease| lease.is_closed());
    let now = db.open_rollout(&rollout.environment).await?;
    Ok(now.filter(|now| !busy && now.is_at(rollout)))
}
