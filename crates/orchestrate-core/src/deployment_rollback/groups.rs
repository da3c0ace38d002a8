//! Several environments go back together: all of them or none, and whoever dies in between is taken over from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::preview::Depth;
use super::{Asking, DeploymentRollback, Preview, RollbackRequest, failed};
use crate::database::Holder;
use crate::database::groups::NewGroup;
use crate::deployment_drill::drill_cleared;
use crate::deployment_executor::WANTED_FOR;
use crate::environment::DependsOn;
use crate::error::{Error, Result};
use crate::execute::Limits;
use crate::group::{GroupPart, GroupRollback, GroupStatus, Next, PartOf, in_order};
use crate::name::{EnvironmentName, GroupRollbackId};
use crate::rollback_event::{RollbackStatus, Trigger};
use crate::time::Span;

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct GroupRequest {
    pub group: String,
    pub force: bool,
    pub actor: String,
    pub reason: Option<String>,
    pub limits: Limits,
}

/// What would be done, in order.
#[derive(Clone, Debug, Serialize)]
pub struct GroupPreview {
    pub group: String,
    pub parts: Vec<Preview>,
}

/// How far it was carried.
#[derive(Clone, Debug)]
pub enum Carried {
    /// It came to its end, or is stuck.
    Ended(Box<GroupRollback>),
    /// An operation of one of its parts is open and ends without us; it goes on after that.
    Waits(EnvironmentName),
    /// Another program carries it on.
    Lost,
}

/// How many times the lease's life somebody on another machine may be silent before it is taken over from.
const PATIENCE: u64 = 4;

impl DeploymentRollback {
    /// The plan of each member, in order, with what stands in its way; refused where one of them has no plan.
    pub async fn preview_group(&self, request: &GroupRequest) -> Result<GroupPreview> {
        let order = self.members(&request.group).await?;
        let mut parts = Vec::new();
        for environment in &order {
            let asking = asking(request, &order);
            let preview = self.preview(&one(environment, request.force), &asking).await;
            parts.push(preview.map_err(|error| of(environment, error))?);
        }
        Ok(GroupPreview { group: request.group.clone(), parts })
    }

    /// Takes every member back to its previous release, who needs others first. If one cannot, those that went come forward again.
    pub async fn rollback_group(&self, request: &GroupRequest) -> Result<Carried> {
        for environment in &self.members(&request.group).await? {
            drill_cleared(&self.db, &self.ports, environment, &request.actor).await?;
        }
        let preview = self.preview_group(request).await?;
        let blocked = preview.parts.iter().filter(|part| !part.blockers.is_empty());
        let told: Vec<String> =
            blocked.map(|part| format!("{}: {}", part.environment, part.blockers.join("; "))).collect();
        if !told.is_empty() {
            return Err(Error::refused(
                "ORC-0187",
                format!("{} does not go back: {}", request.group, told.join("; ")),
            )
            .hint(format!(
                "nothing was changed; see the plan of all: orchestrate deploy rollback --group {} --dry-run",
                request.group
            )));
        }
        let parts = preview.parts.into_iter();
        let parts: Vec<_> =
            parts.map(|part| (part.environment, part.from_version, part.target_version)).collect();
        let (holder, now) = (self.ports.host.holder(&request.actor), self.ports.clock.now());
        let (actor, reason) = (request.actor.as_str(), request.reason.as_deref());
        let new = NewGroup {
            group: &request.group,
            actor,
            reason,
            forced: request.force,
            holder: &holder,
            parts: &parts,
            now,
        };
        let id = self.db.begin_group(&new).await?;
        let carried = self.carry_group(id, &holder, &request.limits).await;
        if !matches!(carried, Ok(Carried::Ended(_))) {
            self.db.leave_group(id, &holder).await?;
        }
        carried
    }

    /// Goes on with what a program left that is gone; `None` while it is somebody else's.
    pub async fn resume_group(&self, group: &GroupRollback, actor: &str) -> Result<Option<Carried>> {
        let (holder, now) = (self.ports.host.holder(actor), self.ports.clock.now());
        let is_ours = group.holder.as_ref() == Some(&holder);
        let silent_for = now.millis_since(group.renewed_at);
        let is_gone = group.holder.as_ref().is_none_or(|other| match self.ports.host.runs(other) {
            Some(runs) => !runs,
            None => silent_for > PATIENCE * self.ports.lease_ttl.as_millis(),
        });
        let may_go_on = is_ours || (is_gone && self.db.take_group(group, &holder, now).await?);
        if !may_go_on {
            return Ok(None);
        }
        if silent_for > WANTED_FOR.as_millis() && matches!(group.next(), Next::Back(_)) {
            let left = Span::from_millis(silent_for);
            let why = format!("it was left alone for {left}, so it may not be wanted any more");
            self.db.fail_group(group.id, &why).await?;
        }
        self.carry_group(group.id, &holder, &Limits::default()).await.map(Some)
    }

    async fn carry_group(&self, id: GroupRollbackId, holder: &Holder, limits: &Limits) -> Result<Carried> {
        loop {
            let now = self.ports.clock.now();
            if !self.db.renew_group(id, holder, now).await? {
                return Ok(Carried::Lost);
            }
            let group = self.recorded(id).await?;
            match group.next() {
                Next::Back(part) => self.go(&group, part, false, limits).await?,
                Next::Forward(part) => self.go(&group, part, true, &Limits::default()).await?,
                Next::Wait(environment) => return Ok(Carried::Waits(environment.clone())),
                Next::End(status, error) => {
                    self.db.end_group(&group, status, error.as_deref(), now).await?;
                    return self.recorded(id).await.map(|group| Carried::Ended(Box::new(group)));
                }
            }
        }
    }

    /// One part goes back, or forward again. What came of it is on record, so that [`GroupRollback::next`] knows.
    async fn go(
        &self,
        group: &GroupRollback,
        part: &GroupPart,
        forward: bool,
        limits: &Limits,
    ) -> Result<()> {
        let GroupRollback { id, group: name, actor, .. } = group;
        let because = group.error_message.as_deref().unwrap_or("another part failed");
        let reason = match forward {
            true => Some(format!("group rollback {id} of {name} failed: {because}")),
            false => group.reason.clone(),
        };
        let request = RollbackRequest {
            target_version: Some(part.target_version.clone()).filter(|_| !forward),
            ..one(&part.environment, group.forced || forward)
        };
        let asking = Asking {
            reason,
            trigger: Trigger::Manual,
            undo: forward,
            together: group.members(),
            part: Some(PartOf { group: *id, position: part.position, goes_forward: forward }),
            limits: limits.clone(),
            ..Asking::by(actor.clone())
        };
        if let Some(error) = self.otherwise(part, &request, &asking).await? {
            return self.refused(group, part, forward, error).await;
        }
        match self.rollback_as(&request, &asking).await {
            Ok(rolled) if rolled.event.status == RollbackStatus::Completed => Ok(()),
            Ok(rolled) => self.db.fail_group(*id, &of(&part.environment, failed(&rolled)).to_string()).await,
            Err(error) => self.refused(group, part, forward, error).await,
        }
    }

    /// What somebody did there since the group was planned: it is not what the part is about.
    async fn otherwise(
        &self,
        part: &GroupPart,
        request: &RollbackRequest,
        asking: &Asking,
    ) -> Result<Option<Error>> {
        let environment = &part.environment;
        let planned = match asking.undo {
            true => {
                let newest = self.db.last_standing_rollback(environment).await?;
                newest.map(|event| event.id) == part.rollback.as_ref().map(|event| event.id)
            }
            false => match self.preview_at(request, asking, Depth::Glance, true).await {
                Ok(now) => now.from_version == part.from_version,
                // It is refused for that.
                Err(_) => true,
            },
        };
        Ok((!planned).then(|| {
            Error::refused("ORC-0132", "somebody deployed or rolled back there meanwhile".to_owned())
                .hint(format!("see how it stands: orchestrate deploy status --env {environment}"))
        }))
    }

    /// It did not even begin, unless its event says otherwise.
    async fn refused(
        &self,
        group: &GroupRollback,
        part: &GroupPart,
        forward: bool,
        error: Error,
    ) -> Result<()> {
        let recorded = self.recorded(group.id).await?;
        let now = recorded.parts.into_iter().find(|now| now.position == part.position);
        let began = now.is_some_and(|now| if forward { now.undo.is_some() } else { now.rollback.is_some() });
        if began {
            return Ok(());
        }
        let error = of(&part.environment, error).to_string();
        if forward {
            let error = format!("it could not go forward again: {error}");
            self.db
                .end_group(group, GroupStatus::NeedsAttention, Some(&error), self.ports.clock.now())
                .await?;
            return Ok(());
        }
        self.db.fail_group(group.id, &error).await
    }

    async fn recorded(&self, id: GroupRollbackId) -> Result<GroupRollback> {
        let found = self.db.group_rollback(id).await?;
        found.ok_or_else(|| Error::bug(format!("group rollback {id} is not recorded")))
    }

    /// The members of a group, who needs others first.
    async fn members(&self, group: &str) -> Result<Vec<EnvironmentName>> {
        let mut members: BTreeMap<EnvironmentName, DependsOn> = BTreeMap::new();
        let mut groups = Vec::new();
        for record in self.db.list_environments().await? {
            let (name, settings) = (record.environment.name, record.environment.settings);
            groups.extend(settings.group.clone());
            if settings.group.as_deref() != Some(group) {
                continue;
            }
            let mut needs = settings.depends_on;
            if let Some(live) = record.live
                && let Some(release) = self.db.release(live.release).await?
            {
                needs.extend(release.contents.settings.depends_on);
            }
            members.insert(name, needs);
        }
        if members.is_empty() {
            groups.sort_unstable();
            groups.dedup();
            let hint = match groups.is_empty() {
                true => {
                    "no environment has a `group`; write one in orchestrate.yaml, then: orchestrate env apply"
                        .to_owned()
                }
                false => format!("there are: {}", groups.join(", ")),
            };
            return Err(
                Error::refused("ORC-0189", format!("no environment is of the group {group}")).hint(hint)
            );
        }
        in_order(&members).map_err(|circle| {
            let circle = circle.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ");
            Error::refused(
                "ORC-0189",
                format!("in the group {group} these need each other in a circle: {circle}"),
            )
            .hint("take one `depends_on` away, or roll them back one by one")
        })
    }
}

fn one(environment: &EnvironmentName, force: bool) -> RollbackRequest {
    RollbackRequest { environment: environment.clone(), target_version: None, skip_validation: false, force }
}

fn asking(request: &GroupRequest, members: &[EnvironmentName]) -> Asking {
    Asking {
        reason: request.reason.clone(),
        trigger: Trigger::Manual,
        together: members.to_vec(),
        ..Asking::by(request.actor.clone())
    }
}

/// With the member that it is about.
fn of(environment: &EnvironmentName, error: Error) -> Error {
    let named = format!("{environment}: {}", error.message());
    error.reworded(named)
}
