//! The deployment, read straight: seal, plan, begin, execute, conclude. Also the end of an interrupted operation.

mod answers;
mod policies;
mod promotion;

pub use answers::failed;
pub(crate) use policies::Cleared;
pub use policies::{WAITS_FOR_APPROVAL, may_deploy};
pub use promotion::Promotion;

use crate::database::audit::{self, Entry as Audit};
use crate::database::{
    Asked, Database, Holder, Lease, OperationRecord, commit, leases, operations, releases, sites,
};
use crate::deployment::Deployment;
use crate::deployment_drill::anew_with_room;
use crate::deployment_strategy::StrategyKind;
use crate::drift;
use crate::drill::Drill;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::execute::record::{
    MOVED, NewDeploy, Seen, begin_deploy, begin_stop, busy, conclude_deploy, conclude_halt, conclude_stop,
    conclude_unpromoted, end_bake,
};
use crate::execute::{self, Limits, Operation, Outcome};
use crate::name::{EnvironmentName, Fence, ReleaseId, Version};
use crate::plan::{self, OperationKind, Place, Plan};
use crate::ports::Ports;
use crate::post_deploy_verification::Marks;
use crate::pre_deploy_validation::held;
use crate::release::{Contents, Release};
use crate::rollback_event::RollbackEvent;
use crate::situation::known;
use crate::slot::{Slot, SlotState};
use crate::time::Span;
use answers::{stop_error, under_way};

/// What is to be deployed, sealed already.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    pub environment: EnvironmentName,
    pub version: Version,
    pub contents: Contents,
    /// Another strategy than the environment's, for this once.
    pub strategy: Option<StrategyKind>,
    /// Only stages it: the traffic stays where it is until it is promoted.
    pub no_switch: bool,
    /// What somebody changed of what runs may be overwritten.
    pub force: bool,
    /// Whatever policies say; recorded, and told to everybody.
    pub break_glass: bool,
    pub actor: String,
    pub reason: Option<String>,
    pub limits: Limits,
}

/// A deployment that came to an end, or is live and baking.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub deployment: Deployment,
    pub outcome: Outcome,
    /// Nothing had to be done: this very release is live.
    pub already_live: bool,
    /// Nothing was live before.
    pub is_first: bool,
}

/// What came of an interrupted operation.
#[derive(Clone, Debug)]
pub enum Resumed {
    Deployment(Box<Deployed>),
    Rollback(Box<RollbackEvent>),
    Drill(Box<Drill>),
    Stopped,
}

/// How long after nobody carried it on an operation is still taken to be wanted. SQLite may bring back a begin whose writer was killed
/// as it committed, once all programs that had the database open are gone, however long that takes.
pub(crate) const WANTED_FOR: Span = Span::from_secs(15 * 60);

/// Deploys releases, and finishes what was interrupted.
#[derive(Clone)]
pub struct DeploymentExecutor {
    pub(crate) db: Database,
    pub(crate) ports: Ports,
}

impl DeploymentExecutor {
    pub fn new(db: Database, ports: Ports) -> Self {
        Self { db, ports }
    }

    /// Makes the release live. Refusals are errors; what was begun is told by the outcome.
    pub async fn deploy(&self, request: &DeployRequest) -> Result<Deployed> {
        let asked = Asked {
            environment: &request.environment,
            actor: &request.actor,
            what: "deploy",
            version: Some(request.version.as_str()),
            reason: request.reason.as_deref(),
        };
        self.noted(&asked, self.seal_and_deploy(request).await).await
    }

    /// A refusal is recorded, too.
    async fn noted<T>(&self, asked: &Asked<'_>, result: Result<T>) -> Result<T> {
        self.db.noted(asked, result, self.ports.clock.now()).await
    }

    async fn seal_and_deploy(&self, request: &DeployRequest) -> Result<Deployed> {
        self.not_held(request).await?;
        let release = self.seal(request).await?;
        let DeployRequest { environment, actor, .. } = request;
        let once = || Box::pin(self.deploy_once(request, &release));
        anew_with_room(&self.db, &self.ports, environment, actor, once).await
    }

    async fn seal(&self, request: &DeployRequest) -> Result<Release> {
        let mut tx = self.db.begin().await?;
        let now = self.ports.clock.now();
        let id = releases::seal(
            &mut tx,
            &request.environment,
            &request.version,
            &request.contents,
            &request.actor,
            now,
        )
        .await?;
        commit(tx).await?;
        known(&self.db, id).await
    }

    async fn not_held(&self, request: &DeployRequest) -> Result<()> {
        held(&self.db, &request.environment, &request.version).await?.map_or(Ok(()), Err)
    }

    async fn deploy_once(&self, request: &DeployRequest, release: &Release) -> Result<Deployed> {
        let name = &request.environment;
        let (environment, seen) = self.see(name).await?;
        // It may be held since it was asked for, for example by a rollback of it.
        self.not_held(request).await?;
        let live = match environment.live {
            Some(live) => {
                let record = seen.slots.iter().find(|slot| slot.state == SlotState::Live);
                let slot = record
                    .ok_or_else(|| {
                        Error::refused(MOVED, format!("what is live in {name} changed meanwhile"))
                            .hint("try again")
                    })?
                    .slot;
                Some((known(&self.db, live.release).await?, slot))
            }
            None => None,
        };
        if let Some(staged) = seen.slots.iter().find(|slot| slot.state == SlotState::Staged) {
            return Err(under_way(name, &staged.version));
        }
        let mut strategy = environment.environment.settings.strategy.clone();
        strategy.kind = request.strategy.unwrap_or(strategy.kind);
        let from = live.as_ref().map(|(release, slot)| (release, *slot));
        let retry = format!("orchestrate deploy --env {name} --version {}", request.version);
        drift::refuse(&self.ports, from, request.force || request.break_glass, &retry).await?;
        let plan = if from.is_some_and(|(live, _)| live.id == release.id) {
            self.nothing_to_do(release, from, strategy.kind, &seen.slots).await?
        } else {
            let (slots, no_switch) = (seen.slots.as_slice(), request.no_switch);
            let served = if from.is_none() { self.served(name).await } else { None };
            let situation = plan::deploy::Situation {
                release,
                live: from,
                served,
                slots,
                strategy: &strategy,
                no_switch,
            };
            Some(plan::deploy::plan(&situation)?)
        };
        if strategy.kind == StrategyKind::Canary && plan.as_ref().is_some_and(|plan| plan.halt().is_none()) {
            self.ports
                .progress
                .remark("there is nothing to share the traffic with; it gets all of it at once");
        }
        let already_live = plan.is_none();
        let cleared = self.cleared(request, &environment, release, !already_live).await?;
        let plan = match (plan, from) {
            (Some(plan), _) => plan,
            (None, Some((_, slot))) => {
                Plan::keep(Place::of(release, slot), release.contents.routed().next().is_some())
            }
            (None, None) => return Err(Error::bug("nothing is live, yet nothing is to be done")),
        };
        let before = live.as_ref().map(|(live, slot)| Place::of(live, *slot).placement(name));
        let unwatched = release.contents.settings.verify.bake.is_zero() && plan.halt().is_none();
        let marks = match unwatched {
            true => None,
            false => Some(Marks::take(&self.ports, name, release.id, before).await),
        };
        let new = NewDeploy {
            environment: &environment,
            release,
            from: from.map(|(release, _)| release),
            strategy: strategy.kind,
            plan,
            actor: &request.actor,
            reason: request.reason.as_deref(),
            cleared,
            marks,
            seen,
        };
        let mut operation = begin_deploy(&self.db, &self.ports, new).await?;
        let outcome = execute::run(&self.db, &self.ports, &mut operation, &request.limits).await?;
        self.conclude(&mut operation, outcome, already_live).await
    }

    /// Where the router sends users; whoever cannot be asked is asked again by the operation.
    async fn served(&self, name: &EnvironmentName) -> Option<Slot> {
        self.ports.router.observe(name).await.ok()?.live().map(|there| there.slot)
    }

    /// The very release is live and whole: a deployment of it is recorded, nothing is restarted.
    async fn nothing_to_do(
        &self,
        release: &Release,
        live: Option<(&Release, crate::slot::Slot)>,
        strategy: StrategyKind,
        slots: &[crate::slot::SlotRecord],
    ) -> Result<Option<Plan>> {
        let Some((_, slot)) = live else { return Ok(None) };
        let serves = release.contents.routed().next().is_none() || {
            let view = self.ports.router.observe(&release.environment).await.unwrap_or_default();
            let there = view.live().filter(|there| there.slot == slot && there.release == release.id);
            there.is_some_and(|there| plan::rollback::has_enough(there, release).is_ok())
        };
        Ok(if serves {
            None
        } else {
            Some(Plan::restore(Place::of(release, slot), release, strategy, slots))
        })
    }

    async fn conclude(
        &self,
        operation: &mut Operation,
        outcome: Outcome,
        already_live: bool,
    ) -> Result<Deployed> {
        let last = outcome.last_switch(operation);
        let (kept, deployment) = tokio::join!(execute::keep_traffic(&self.ports, last.as_ref()), async {
            tokio::task::yield_now().await;
            self.record(operation, &outcome).await
        });
        if let (Err(error), Outcome::Completed) = (kept, &outcome) {
            self.ports
                .progress
                .remark(&format!("the proxy did not confirm that its state is on disk: {error}"));
        }
        let is_first = operation.from.is_none() && !already_live;
        Ok(Deployed { deployment: deployment?, outcome, already_live, is_first })
    }

    async fn record(&self, operation: &mut Operation, outcome: &Outcome) -> Result<Deployment> {
        let (db, ports) = (&self.db, &self.ports);
        let halt = operation.record.plan.halt().cloned().filter(|_| *outcome == Outcome::Completed);
        match (halt, outcome.of_unpromoted().filter(|_| operation.is_promotion())) {
            (Some(halt), _) => conclude_halt(db, ports, operation, &halt).await,
            (None, Some((failure, stuck))) => conclude_unpromoted(db, ports, operation, failure, stuck).await,
            (None, None) => conclude_deploy(db, ports, operation, outcome).await,
        }
    }

    /// Ends the bake of a live deployment with its verdict; `None` if it ended otherwise meanwhile.
    pub async fn finish_bake(
        &self,
        deployment: crate::name::DeploymentId,
        verdict: std::result::Result<(), String>,
    ) -> Result<Option<Deployment>> {
        self.end_bake(deployment, verdict, &[]).await
    }

    /// The same, with what the verdict rests on.
    pub async fn end_bake(
        &self,
        deployment: crate::name::DeploymentId,
        verdict: std::result::Result<(), String>,
        evidence: &[Evidence],
    ) -> Result<Option<Deployment>> {
        end_bake(&self.db, deployment, verdict, evidence, self.ports.clock.now()).await
    }

    /// Finishes or undoes the interrupted operation of an environment; refused while its holder still runs.
    pub async fn resume(&self, environment: &EnvironmentName, actor: &str) -> Result<Resumed> {
        let asked = Asked { environment, actor, what: "resume", version: None, reason: None };
        self.noted(&asked, self.resume_open(environment, actor, None).await).await
    }

    /// The same, without anybody having asked for it. What was begun long ago and has moved no traffic is undone: whoever began it may
    /// not want it any more.
    pub async fn resume_by_itself(&self, environment: &EnvironmentName, actor: &str) -> Result<Resumed> {
        let asked = Asked { environment, actor, what: "resume", version: None, reason: None };
        self.noted(&asked, self.resume_open(environment, actor, Some(WANTED_FOR)).await).await
    }

    async fn resume_open(
        &self,
        environment: &EnvironmentName,
        actor: &str,
        wanted_for: Option<Span>,
    ) -> Result<Resumed> {
        let Some(record) = self.db.open_operation(environment).await? else {
            self.db.environment(environment).await?;
            return Err(Error::refused(
                "ORC-0120",
                format!("there is no interrupted operation in {environment}"),
            )
            .hint(format!("see how it stands: orchestrate deploy status --env {environment}")));
        };
        // First the lease: who is adopted by another site gets a newer fence.
        let lease =
            self.db.lease(environment).await?.ok_or_else(|| Error::bug("an operation without a lease"))?;
        sites::only_here(&self.db, &self.ports, &self.db.environment(environment).await?).await?;
        if let Some(since) = lease.restored_at {
            return Err(crate::database::restored::waits(environment, since));
        }
        let stuck = record.status == crate::database::OperationStatus::NeedsAttention;
        if !stuck && !self.is_abandoned(lease.holder.as_ref(), lease.expires_at) {
            return Err(busy(&self.db, &self.ports, environment).await?);
        }
        let left_for = lease.expires_at.map_or(0, |at| self.ports.clock.now().millis_since(at));
        let is_stale = !stuck && wanted_for.is_some_and(|wanted| left_for > wanted.as_millis());
        let left = || {
            format!("it was left alone for {}, so it may not be wanted any more", Span::from_millis(left_for))
        };
        let unwanted = match record.kind {
            // Nobody waits for its proof any more, and users are to be where they were.
            OperationKind::Drill => Some("it was interrupted: nobody carries it out any more".to_owned()),
            OperationKind::Deploy
            | OperationKind::Promote
            | OperationKind::Rollback
            | OperationKind::Stop => is_stale.then(left),
        };
        let limits = Limits { unwanted, ..Limits::default() };
        let mut operation = self.take_over(record, lease.fence, actor).await?;
        let outcome = execute::run(&self.db, &self.ports, &mut operation, &limits).await?;
        self.conclude_resumed(&mut operation, outcome).await
    }

    /// Whether the lease's holder is gone: its process ended, or, where that cannot be seen, its time is up.
    pub(crate) fn is_abandoned(
        &self,
        holder: Option<&Holder>,
        expires_at: Option<crate::time::Timestamp>,
    ) -> bool {
        let expired = expires_at.is_none_or(|at| at < self.ports.clock.now());
        match holder.and_then(|holder| self.ports.host.runs(holder)) {
            Some(false) => true,
            Some(true) | None => expired,
        }
    }

    async fn take_over(&self, mut record: OperationRecord, seen: Fence, actor: &str) -> Result<Operation> {
        let (now, holder) = (self.ports.clock.now(), self.ports.host.holder(actor));
        let mut tx = self.db.begin().await?;
        let fence =
            leases::take_over(&mut tx, &record.environment, seen, &holder, now, self.ports.lease_ttl).await?;
        let fence = fence.ok_or_else(|| crate::database::lease_lost(&record.environment))?;
        operations::set_fence(&mut tx, record.id, fence).await?;
        let detail = serde_json::json!({
            "operation": record.id, "kind": record.kind, "deployment": record.deployment,
            "rollback": record.rollback, "version": record.plan.target().version,
        });
        let (environment, action) = (&record.environment, "operation_resumed");
        audit::record(&mut tx, Audit { at: now, environment, actor, action, reason: None, detail });
        commit(tx).await?;
        record.fence = fence;
        let entries = self.db.journal(record.id).await?;
        let target = known(&self.db, record.plan.target().release).await?;
        let from = match record.plan.from() {
            Some(place) => Some(known(&self.db, place.release).await?),
            None => None,
        };
        Operation::new(&self.db, record, target, from, &entries).await
    }

    async fn conclude_resumed(&self, operation: &mut Operation, outcome: Outcome) -> Result<Resumed> {
        match operation.record.kind {
            OperationKind::Deploy | OperationKind::Promote => self
                .conclude(operation, outcome, false)
                .await
                .map(|deployed| Resumed::Deployment(Box::new(deployed))),
            OperationKind::Rollback => {
                let event =
                    crate::deployment_rollback::conclude(&self.db, &self.ports, operation, &outcome).await?;
                Ok(Resumed::Rollback(Box::new(event)))
            }
            OperationKind::Drill => {
                let drill =
                    crate::deployment_drill::conclude(&self.db, &self.ports, operation, &outcome, false)
                        .await?;
                Ok(Resumed::Drill(Box::new(drill)))
            }
            OperationKind::Stop => {
                conclude_stop(&self.db, &self.ports, operation, &outcome).await?;
                stop_error(operation.environment(), outcome).map_or(Ok(Resumed::Stopped), Err)
            }
        }
    }

    /// Stops everything that runs in an environment, and records that nothing is live.
    pub async fn stop_environment(&self, name: &EnvironmentName, actor: &str) -> Result<Version> {
        let asked = Asked { environment: name, actor, what: "stop", version: None, reason: None };
        let stopped =
            anew_with_room(&self.db, &self.ports, name, actor, || Box::pin(self.stop_all(name, actor))).await;
        self.noted(&asked, stopped).await
    }

    async fn stop_all(&self, name: &EnvironmentName, actor: &str) -> Result<Version> {
        let (environment, seen) = self.see(name).await?;
        let live = environment.live.ok_or_else(|| {
            Error::refused("ORC-0121", format!("nothing runs in {name}"))
                .hint(format!("deploy something: orchestrate deploy --env {name} --version V"))
        })?;
        let release = known(&self.db, live.release).await?;
        let mut places = Vec::new();
        for record in &seen.slots {
            places.push((
                record.state == SlotState::Live,
                Place::of(&self.name_of(record.release).await?, record.slot),
            ));
        }
        places.sort_by_key(|(live, _)| !live);
        let mut places = places.into_iter().map(|(_, place)| place);
        let first = places.next().ok_or_else(|| {
            Error::refused(MOVED, format!("what is live in {name} changed meanwhile")).hint("try again")
        })?;
        let plan = Plan::stop(first, places);
        let mut operation =
            begin_stop(&self.db, &self.ports, &release, live.deployment, plan, actor, &seen).await?;
        let outcome = execute::run(&self.db, &self.ports, &mut operation, &Limits::default()).await?;
        conclude_stop(&self.db, &self.ports, &mut operation, &outcome).await?;
        stop_error(name, outcome).map_or(Ok(release.version), Err)
    }

    async fn name_of(&self, release: ReleaseId) -> Result<Release> {
        known(&self.db, release).await
    }

    async fn see(&self, name: &EnvironmentName) -> Result<(crate::database::EnvironmentRecord, Seen)> {
        // First the lease: whatever begins after that has a newer fence, which `begin` refuses.
        let lease = self.db.lease(name).await?;
        let environment = self.db.environment(name).await?;
        if lease.as_ref().is_some_and(Lease::is_closed) {
            return Err(busy(&self.db, &self.ports, name).await?);
        }
        sites::only_here(&self.db, &self.ports, &environment).await?;
        let fence = lease.map_or(Fence(0), |lease| lease.fence);
        Ok((environment, Seen { fence, slots: self.db.slots(name).await? }))
    }
}
