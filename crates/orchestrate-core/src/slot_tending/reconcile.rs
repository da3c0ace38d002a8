//! What runs, and what the router knows, is made equal to what is recorded: after restarts, and when instances change.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::database::Database;
use crate::drift;
use crate::error::Result;
use crate::execute::{backends, perform};
use crate::name::{EnvironmentName, Fence, ReleaseId};
use crate::plan::{Place, Share, Step};
use crate::ports::{
    AwaitHealthy, Backend, BackendView, Deregister, Instance, Placement, PortError, PortErrorKind,
    PortResult, Ports, Processes, Register, RouterView, StartRequest, StopRequest, Switch,
};
use crate::release::Release;
use crate::rollout::Rollout;
use crate::situation::known;
use crate::slot::{SlotRecord, SlotState};

/// What the router was told of one environment. It takes what it is told as seen ready, so it is told again only where something changed:
/// an instance that ends and is started again is the business of its own health checks.
#[derive(Debug, Default)]
pub struct Told {
    registers: Vec<Register>,
    /// What somebody changed, as it is on record.
    drift: Vec<String>,
    /// What is sealed does not change, and is read again and again here.
    releases: BTreeMap<ReleaseId, Arc<Release>>,
    /// How often something was told, or started, so that a pass knows whether it did anything.
    times: u64,
    /// What the last pass saw, if it had nothing to do.
    seen: Option<(Vec<Instance>, Option<RouterView>)>,
}

/// How things are after a pass, and with that when the next one is due, if nobody says that something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// As it is recorded; of whatever changes, the daemon hears.
    Quiet,
    /// Nothing is left to do for now, but it is to be asked for regularly.
    Watched,
    /// Something could not be done yet.
    Unfinished,
}

impl Told {
    /// Whether what runs in the environment, or what the router knows of it, is something else than the last pass saw.
    pub async fn differs(&self, ports: &Ports, name: &EnvironmentName) -> bool {
        let Some((instances, view)) = &self.seen else { return true };
        let same = ports.provider.instances(name).await.is_ok_and(|now| now == *instances)
            && match view {
                Some(view) => ports.router.observe(name).await.is_ok_and(|now| now == *view),
                None => true,
            };
        !same
    }

    async fn release(&mut self, db: &Database, id: ReleaseId) -> Result<Arc<Release>> {
        if let Some(release) = self.releases.get(&id) {
            return Ok(Arc::clone(release));
        }
        let release = Arc::new(known(db, id).await?);
        self.releases.insert(id, Arc::clone(&release));
        Ok(release)
    }

    fn covers(&self, register: &Register, view: &RouterView) -> bool {
        let placement = &register.placement;
        let there = view.placed(placement.slot, placement.release);
        let count = |backend: &Backend| u32::try_from(backend.instances.len()).unwrap_or(u32::MAX);
        let knows = there.is_some_and(|there| {
            register.backends.iter().all(|backend| {
                let same =
                    |seen: &BackendView| seen.process == backend.process && seen.instances == count(backend);
                there.backends.iter().any(same)
            })
        });
        knows && self.registers.contains(register)
    }

    fn note(&mut self, register: Register) {
        self.registers.retain(|old| old.placement.slot != register.placement.slot);
        self.registers.push(register);
    }
}

/// Makes sure that what is recorded as live or warm in an environment runs, and that the router knows it and who has the
/// traffic. An open operation is left alone.
pub async fn reconcile(
    db: &Database,
    ports: &Ports,
    told: &mut Told,
    name: &EnvironmentName,
) -> Result<Upkeep> {
    told.seen = None;
    let Some(lease) = db.lease(name).await? else { return Ok(Upkeep::Quiet) };
    if lease.restored_at.is_some() && !super::restored::settle(db, ports, name).await? {
        return Ok(Upkeep::Watched);
    }
    if lease.operation.is_some() {
        return Ok(Upkeep::Watched);
    }
    let mut slots = db.slots(name).await?;
    told.releases.retain(|id, _| slots.iter().any(|slot| slot.release == *id));
    let Some(live) = slots.iter().find(|slot| slot.state == SlotState::Live) else {
        return pass(db, ports, told, name, slots, lease.fence).await;
    };
    let (live, slot) = (told.release(db, live.release).await?, live.slot);
    let provider = live.contents.settings.provider;
    if provider.may_drift() || !told.drift.is_empty() {
        match drift::look(db, ports, &mut told.drift, &live, slot).await? {
            Ok(false) => {}
            // Whether it is put back is for people to say; users are sent to where it runs all the same.
            Ok(true) if provider.is_local() => {
                let followed = follow(db, ports, told, name, lease.fence).await?;
                return Ok(upkeep(ports, name, followed, Upkeep::Watched));
            }
            Ok(true) => return Ok(Upkeep::Watched),
            Err(error) => {
                ports.progress.remark(&format!("{name} cannot be looked at: {error}"));
                return Ok(Upkeep::Unfinished);
            }
        }
        // That may have taken a while.
        slots = db.slots(name).await?;
    }
    match pass(db, ports, told, name, slots, lease.fence).await? {
        Upkeep::Quiet if !db.environment(name).await?.environment.settings.tells_changes() => {
            Ok(Upkeep::Watched)
        }
        kept => Ok(kept),
    }
}

async fn pass(
    db: &Database,
    ports: &Ports,
    told: &mut Told,
    name: &EnvironmentName,
    slots: Vec<SlotRecord>,
    fence: Fence,
) -> Result<Upkeep> {
    let before = told.times;
    let kept = reconcile_environment(db, ports, told, name, slots, fence).await?;
    let kept = kept.map(|seen| {
        if told.times == before {
            told.seen = Some(seen);
        }
    });
    Ok(upkeep(ports, name, kept, Upkeep::Quiet))
}

/// `well`: how things are where all of it was done.
fn upkeep(ports: &Ports, name: &EnvironmentName, done: PortResult<()>, well: Upkeep) -> Upkeep {
    match done {
        Ok(()) => well,
        // A newer fence means that an operation began meanwhile, which sees to it.
        Err(error) if error.kind == PortErrorKind::Fenced => Upkeep::Watched,
        Err(error) => {
            ports.progress.remark(&format!("{name} is not yet as it is recorded: {error}"));
            Upkeep::Unfinished
        }
    }
}

/// Nothing is started, stopped or switched, but the router hears of the addresses at which there are instances now.
async fn follow(
    db: &Database,
    ports: &Ports,
    told: &mut Told,
    name: &EnvironmentName,
    fence: Fence,
) -> Result<PortResult<()>> {
    let instances = match ports.provider.instances(name).await {
        Ok(instances) => instances,
        Err(error) => return Ok(Err(error)),
    };
    for slot in db.slots(name).await?.into_iter().filter(|slot| is_kept(slot.state)) {
        let release = told.release(db, slot.release).await?;
        let placement = Place::of(&release, slot.slot).placement(name);
        let ours: Vec<_> = instances.iter().filter(|i| i.placement == placement).cloned().collect();
        if let Err(error) = tell_where(ports, told, &release, &placement, &ours, fence).await {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

const fn is_kept(state: SlotState) -> bool {
    matches!(state, SlotState::Live | SlotState::Warm | SlotState::Staged)
}

/// Returns what runs and what the router said of it.
async fn reconcile_environment(
    db: &Database,
    ports: &Ports,
    told: &mut Told,
    name: &EnvironmentName,
    mut slots: Vec<SlotRecord>,
    fence: Fence,
) -> Result<PortResult<(Vec<Instance>, Option<RouterView>)>> {
    slots.retain(|slot| is_kept(slot.state));
    if slots.is_empty() {
        return Ok(Ok((Vec::new(), None)));
    }
    let instances = match ports.provider.instances(name).await {
        Ok(instances) => instances,
        Err(error) => return Ok(Err(error)),
    };
    let rollout = db.open_rollout(name).await?;
    // Users wait for what is live, and for nothing else.
    slots.sort_by_key(|slot| slot.state != SlotState::Live);
    let live = slots.iter().find(|slot| slot.state == SlotState::Live).map(|slot| Placement {
        environment: name.clone(),
        slot: slot.slot,
        release: slot.release,
        version: slot.version.clone(),
    });
    let mut last = None;
    for slot in slots {
        let (release, before) = (told.release(db, slot.release).await?, told.times);
        let placement = Place::of(&release, slot.slot).placement(name);
        let known_as = placement.clone();
        let ours: Vec<_> = instances.iter().filter(|i| i.placement == placement).cloned().collect();
        let ran = !ours.is_empty();
        let shared = rollout.as_ref().filter(|rollout| rollout.release == release.id);
        let kept = match keep_placed(ports, told, slot.state, &release, &placement, ours, fence).await {
            Ok(Some(view)) => {
                let kept = match (slot.state, shared, &live) {
                    (SlotState::Live, _, _) => {
                        restore_traffic(ports, told, &view, placement, fence, rollout.is_some()).await
                    }
                    (SlotState::Staged, Some(rollout), Some(live)) => {
                        restore_share(ports, told, &view, rollout, live, &release, fence).await
                    }
                    _ => Ok(()),
                };
                last = Some(view);
                kept
            }
            Ok(None) => Ok(()),
            // It was warm on the site that this one took over from.
            Err(error) if is_not_here(ports, slot.state, &error) => {
                db.end_warm_period(&known_as, ports.clock.now()).await?;
                continue;
            }
            Err(error) => Err(error),
        };
        let forgotten = match told.times == before {
            true => Ok(()),
            false => forget_again(db, ports, &known_as, ran, fence).await?,
        };
        if let Err(error) = kept.and(forgotten) {
            return Ok(Err(error));
        }
    }
    Ok(Ok((instances, last)))
}

fn is_not_here(ports: &Ports, state: SlotState, error: &PortError) -> bool {
    state == SlotState::Warm && error.kind == PortErrorKind::Missing && ports.host.site().is_some()
}

/// A slot may have been retired while the router was told of it; then nobody would tell the router of its end. What did not
/// run before runs only because it was started again here, and nobody else would stop it; what did may still answer.
async fn forget_again(
    db: &Database,
    ports: &Ports,
    placement: &Placement,
    ran: bool,
    fence: Fence,
) -> Result<PortResult<()>> {
    let slots = db.slots(&placement.environment).await?;
    let same = |record: &SlotRecord| record.slot == placement.slot && record.release == placement.release;
    if slots.iter().any(|record| same(record) && record.state != SlotState::Retiring) {
        return Ok(Ok(()));
    }
    let Placement { environment, slot, release, .. } = placement.clone();
    match ports.router.deregister(&Deregister { environment, slot, release, fence }).await {
        Ok(()) if ran => return Ok(Ok(())),
        Ok(()) => {}
        // It has the traffic by now, so it is known rightly.
        Err(error) if error.kind == PortErrorKind::Failed => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    }
    let (placement, processes) = (placement.clone(), Processes::All);
    Ok(ports.provider.stop(&StopRequest { placement, processes, fence, counts: None }).await)
}

/// What the router knew before; nothing, where it knows better than the records.
async fn keep_placed(
    ports: &Ports,
    told: &mut Told,
    state: SlotState,
    release: &Release,
    placement: &Placement,
    mut instances: Vec<Instance>,
    fence: Fence,
) -> PortResult<Option<RouterView>> {
    // The workers of a warm release must not run again, and a rollback to it may as well be a cold one.
    let wanted = state != SlotState::Warm || !release.contents.has_unrouted();
    if instances.is_empty() && wanted {
        let processes = if state == SlotState::Staged { Processes::Routed } else { Processes::All };
        told.times += 1;
        instances = start_again(ports, release, placement, processes, fence).await?;
    }
    tell_where(ports, told, release, placement, &instances, fence).await
}

/// Returns what the router knew before; nothing, where it knows better than what runs.
async fn tell_where(
    ports: &Ports,
    told: &mut Told,
    release: &Release,
    placement: &Placement,
    instances: &[Instance],
    fence: Fence,
) -> PortResult<Option<RouterView>> {
    let backends = backends(release, instances);
    if backends.is_empty() || backends.iter().any(|backend| backend.instances.is_empty()) {
        // There is nothing to tell, and what the router knows may still be right.
        return Ok(None);
    }
    let register = Register { placement: placement.clone(), backends, fence, drain: None };
    let view = ports.router.observe(&placement.environment).await?;
    if !told.covers(&register, &view) {
        told.times += 1;
        ports.router.register(&register).await?;
        told.note(register);
    }
    Ok(Some(view))
}

/// What is recorded was stopped with the daemon, or its records were lost: it runs again.
async fn start_again(
    ports: &Ports,
    release: &Release,
    placement: &Placement,
    processes: Processes,
    fence: Fence,
) -> PortResult<Vec<Instance>> {
    let placement = placement.clone();
    ports
        .provider
        .start(&StartRequest { placement: placement.clone(), processes, fence, counts: None })
        .await?;
    let deadline = release.contents.settings.health_check.deadline;
    ports.provider.await_healthy(&AwaitHealthy { placement, processes, deadline, counts: None }).await
}

/// The router may have lost its state; then what is recorded as live gets the traffic back, ready or not.
async fn restore_traffic(
    ports: &Ports,
    told: &mut Told,
    view: &RouterView,
    placement: Placement,
    fence: Fence,
    shares: bool,
) -> PortResult<()> {
    let there = view.placed(placement.slot, placement.release);
    if there.is_some_and(|there| there.weight == 100 || (shares && there.weight > 0)) {
        return Ok(());
    }
    told.times += 1;
    ports.router.switch(&Switch { placement, needs: BTreeMap::new(), fence }).await
}

/// The same for what is on its way to be live: the share that it had come to.
async fn restore_share(
    ports: &Ports,
    told: &mut Told,
    view: &RouterView,
    rollout: &Rollout,
    live: &Placement,
    release: &Release,
    fence: Fence,
) -> PortResult<()> {
    let there = view.placed(rollout.slot, rollout.release);
    if there.is_some_and(|there| there.weight == rollout.weight) {
        return Ok(());
    }
    told.times += 1;
    let rest = Place { slot: live.slot, release: live.release, version: live.version.clone() };
    let (weight, rules) = (rollout.weight, rollout.course.rules.clone());
    let step = Step::ShiftTraffic(rollout.place(), Share { weight, was: weight, rest, rules, needs: None });
    perform(ports, &live.environment, fence, release, &step).await
}
