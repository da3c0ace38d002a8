//! Watching a release that went live, until its bake is over or it shows itself bad.

use crate::database::Database;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::Result;
use crate::plan::Place;
use crate::ports::{InstanceState, Ports};
use crate::release::Release;
use crate::situation::known;
use crate::slot::SlotState;
use crate::time::Span;

/// How a bake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad(String),
    /// It was rolled back, or another deployment took over, while it was watched.
    Overtaken,
}

/// The pause between two looks at what is live.
const LOOK_EVERY: Span = Span::from_millis(250);
/// How many looks in a row must find too few ready instances: one may fall into a restart of the proxy.
const LOOKS: u32 = 3;

/// Watches the deployment's release until `bake_until`.
pub async fn watch(db: &Database, ports: &Ports, deployment: &Deployment) -> Result<Verdict> {
    let release = known(db, deployment.release).await?;
    let mut short = 0;
    let (begun, mut seen_well) = (ports.clock.now(), false);
    let patience = release.contents.settings.health_check.deadline;
    loop {
        let Some(now) = db.deployment(deployment.id).await? else { return Ok(Verdict::Overtaken) };
        let (true, Some(until)) = (now.status == DeploymentStatus::InProgress, now.bake_until) else {
            return Ok(Verdict::Overtaken);
        };
        let slots = db.slots(&deployment.environment).await?;
        let live = slots.iter().find(|slot| slot.state == SlotState::Live && slot.release == release.id);
        let Some(live) = live else { return Ok(Verdict::Overtaken) };
        let place = Place::of(&release, live.slot);
        if db.lease(&deployment.environment).await?.is_some_and(|lease| lease.operation.is_some()) {
            // Another operation may stop and start things; what it leaves is looked at afterwards.
            ports.clock.sleep(LOOK_EVERY).await;
            continue;
        }
        match look(ports, deployment, &release, &place).await {
            Look::Good => (short, seen_well) = (0, true),
            // After a reboot nothing runs yet: it gets the time that a start gets.
            Look::Absent(_) if !seen_well && ports.clock.now() < begun.plus(patience.duration()) => short = 1,
            Look::Short(why) | Look::Absent(why) => {
                short += 1;
                if short >= LOOKS {
                    return Ok(Verdict::Bad(why));
                }
            }
            Look::Bad(why) => return Ok(Verdict::Bad(why)),
        }
        if short == 0 && ports.clock.now() >= until {
            return Ok(Verdict::Good);
        }
        ports.clock.sleep(LOOK_EVERY).await;
    }
}

enum Look {
    Good,
    /// Too few are ready, or nobody could say: bad if it stays so.
    Short(String),
    Bad(String),
    /// None of its instances runs.
    Absent(String),
}

async fn look(ports: &Ports, deployment: &Deployment, release: &Release, place: &Place) -> Look {
    match ports.provider.instances(&deployment.environment).await {
        Err(error) => return Look::Short(format!("its instances cannot be seen: {error}")),
        Ok(instances) => {
            let ours = instances
                .iter()
                .filter(|i| i.placement.slot == place.slot && i.placement.release == release.id);
            let mut ours = ours.peekable();
            if ours.peek().is_none() {
                return Look::Absent("none of its instances runs".into());
            }
            for instance in ours {
                if let (true, Some(exit)) = (instance.restarts > 0, &instance.last_exit) {
                    return Look::Bad(format!("{} {exit} within its bake", instance.id));
                }
                match instance.state {
                    InstanceState::Unhealthy => {
                        return Look::Bad(format!("{} fails its health check within its bake", instance.id));
                    }
                    InstanceState::BackingOff => {
                        return Look::Bad(format!("{} ended within its bake", instance.id));
                    }
                    InstanceState::Starting | InstanceState::Ready | InstanceState::Stopping => {}
                }
            }
        }
    }
    match ports.router.observe(&deployment.environment).await {
        Err(error) => Look::Short(format!("the proxy does not answer: {error}")),
        Ok(view) => {
            let slot = view.slot(place.slot).filter(|slot| slot.release == release.id);
            let short = release.contents.routed().find_map(|(name, process, _)| {
                let healthy = slot.map_or(0, |slot| slot.healthy(name));
                (healthy < process.instances)
                    .then(|| format!("only {healthy} of {} instances of {name} are ready", process.instances))
            });
            short.map_or(Look::Good, Look::Short)
        }
    }
}

#[cfg(test)]
mod tests;
