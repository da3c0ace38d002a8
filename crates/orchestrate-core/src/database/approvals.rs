//! Requests for approval, and what was said to them.

use super::audit::{self, Entry};
use super::row::Row;
use super::session::Session;
use super::sql::query;
use super::{Database, EnvironmentRecord, Tx, commit, outbox};
use crate::approval::{ApprovalRequest, ApprovalStatus, Vote};
use crate::error::{Error, Result};
use crate::name::{ApprovalId, DeploymentId, EnvironmentName, ReleaseId, Version};
use crate::notification::{NoticeKind, Told};
use crate::policy::{is_same_person, person};
use crate::release::Release;
use crate::time::Timestamp;

/// How many of the newest requests somebody may mean.
const LOOKED_THROUGH: i64 = 100;

/// What somebody says to a request.
#[derive(Clone, Copy, Debug)]
pub struct Say<'a> {
    pub approves: bool,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub now: Timestamp,
}

impl Database {
    /// The newest first.
    pub async fn list_approvals(
        &self,
        environment: &EnvironmentName,
        limit: i64,
    ) -> Result<Vec<ApprovalRequest>> {
        newest(&mut *self.connection().await?, environment, limit).await
    }

    /// The request that stands for this release, made and told of if there is none. A rejection stands until its request would
    /// have expired.
    pub(crate) async fn ask_approval(
        &self,
        environment: &EnvironmentRecord,
        release: &Release,
        actor: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<ApprovalRequest> {
        let policy = &environment.environment.settings.policy.approval;
        let mut tx = self.begin().await?;
        lock(&mut tx, &release.environment).await?;
        if let Some(mut found) = standing(&mut tx, release, now).await? {
            found.needed = found.needed.max(policy.count);
            return Ok(found);
        }
        let row = query(
            "INSERT INTO approval_requests (environment, release_id, version, actor, reason, needed, requested_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *",
        )
        .bind(release.environment.to_string())
        .bind(release.id.0)
        .bind(release.version.to_string())
        .bind(actor.to_owned())
        .bind(reason.map(str::to_owned))
        .bind(i64::from(policy.count))
        .bind(now.to_string())
        .bind(now.plus(policy.valid_for.duration()).to_string())
        .fetch_one(&mut tx)
        .await?;
        let request = read(&row)?;
        record(&mut tx, &request, "approval_requested", actor, reason, now);
        let told = Told::Approval(Box::new(request.clone()));
        outbox::tell(&mut tx, environment, NoticeKind::ApprovalWanted, told, None, now).await?;
        commit(tx).await?;
        Ok(request)
    }

    /// Adds what somebody says to the newest request that waits, of a version if one is named.
    pub async fn say_to_request(
        &self,
        environment: &EnvironmentName,
        version: Option<&Version>,
        say: Say<'_>,
    ) -> Result<ApprovalRequest> {
        let record_of = self.environment(environment).await?;
        let mut tx = self.begin().await?;
        lock(&mut tx, environment).await?;
        let request = meant(&mut tx, environment, version, say.now).await?;
        may_say(&record_of, &request, &say)?;
        let said = query(
            "INSERT INTO approval_votes (request_id, person, actor, approves, reason, at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (request_id, person) DO UPDATE SET \
             actor = $3, approves = $4, reason = $5, at = $6 WHERE approval_votes.approves <> $4",
        )
        .bind(request.id.0)
        .bind(person(say.actor).to_owned())
        .bind(say.actor.to_owned())
        .bind(i64::from(say.approves))
        .bind(say.reason.map(str::to_owned))
        .bind(say.now.to_string())
        .execute(&mut tx)
        .await?;
        if said == 0 && say.approves {
            let message = format!("{} approved request {} already", say.actor, request.id);
            return Err(Error::refused("ORC-0176", message).hint("somebody else has to approve it as well"));
        }
        if !say.approves {
            query("UPDATE approval_requests SET rejected_at = $2 WHERE id = $1")
                .bind(request.id.0)
                .bind(say.now.to_string())
                .execute(&mut tx)
                .await?;
        }
        let request = same(&mut tx, request.id).await?;
        let action = if say.approves { "approval_given" } else { "approval_rejected" };
        record(&mut tx, &request, action, say.actor, say.reason, say.now);
        commit(tx).await?;
        Ok(request)
    }
}

/// Who may not: the author, and whoever is not named where some are.
fn may_say(environment: &EnvironmentRecord, request: &ApprovalRequest, say: &Say<'_>) -> Result<()> {
    if say.approves && is_same_person(say.actor, &request.actor) {
        let message =
            format!("{} asked for request {}, so somebody else has to approve it", say.actor, request.id);
        return Err(Error::refused("ORC-0176", message).hint(format!(
            "ask somebody else to type: orchestrate deploy approve --env {} --version {}",
            request.environment, request.version
        )));
    }
    let by = &environment.environment.settings.policy.approval.by;
    if by.is_empty() || by.iter().any(|name| is_same_person(name, say.actor)) {
        return Ok(());
    }
    let message =
        format!("{} is not among those who approve deployments to {}", say.actor, request.environment);
    Err(Error::refused("ORC-0176", message).hint(format!("those are: {}", by.join(", "))))
}

/// The one that waits and is meant; the refusal says how the newest one stands.
async fn meant(
    tx: &mut Tx,
    environment: &EnvironmentName,
    version: Option<&Version>,
    now: Timestamp,
) -> Result<ApprovalRequest> {
    let mut requests = newest(tx, environment, LOOKED_THROUGH).await?;
    requests.retain(|request| version.is_none_or(|version| *version == request.version));
    let newest = requests.first().cloned();
    // What is approved already may still be rejected, or approved by more.
    let waits = |request: &ApprovalRequest| {
        matches!(request.status(now), ApprovalStatus::Waiting | ApprovalStatus::Approved)
    };
    let waiting: Vec<ApprovalRequest> = requests.into_iter().filter(waits).collect();
    let see = format!("see the requests: orchestrate deploy approvals --env {environment}");
    let mut versions: Vec<&str> = waiting.iter().map(|request| request.version.as_str()).collect();
    versions.dedup();
    if versions.len() > 1 {
        let message =
            format!("several deployments to {environment} wait for approval: {}", versions.join(", "));
        return Err(Error::refused("ORC-0177", message).hint("say which: --version V"));
    }
    if let Some(request) = waiting.into_iter().next() {
        return Ok(request);
    }
    let message = match newest {
        Some(newest) => {
            let (id, version) = (newest.id, &newest.version);
            let stands = match newest.status(now) {
                ApprovalStatus::Expired => format!("expired at {}", newest.expires_at),
                ApprovalStatus::Rejected => "was rejected".to_owned(),
                ApprovalStatus::Used => "was used".to_owned(),
                ApprovalStatus::Waiting | ApprovalStatus::Approved => "waits".to_owned(),
            };
            format!("no deployment to {environment} waits for approval: request {id} of {version} {stands}")
        }
        None => format!("no deployment to {environment} waits for approval"),
    };
    Err(Error::refused("ORC-0177", message).hint(see))
}

/// The newest request for a release that was neither used nor is over.
async fn standing(tx: &mut Tx, release: &Release, now: Timestamp) -> Result<Option<ApprovalRequest>> {
    let row = query(
        "SELECT * FROM approval_requests WHERE environment = $1 AND release_id = $2 AND used_by_id IS NULL \
         AND expires_at > $3 ORDER BY id DESC LIMIT 1",
    )
    .bind(release.environment.to_string())
    .bind(release.id.0)
    .bind(now.to_string())
    .fetch_optional(tx)
    .await?;
    Ok(with_votes(tx, row.as_slice()).await?.pop())
}

/// The newest of an environment, the newest first.
async fn newest(
    session: &mut Session,
    environment: &EnvironmentName,
    limit: i64,
) -> Result<Vec<ApprovalRequest>> {
    let rows = query("SELECT * FROM approval_requests WHERE environment = $1 ORDER BY id DESC LIMIT $2")
        .bind(environment.to_string())
        .bind(limit)
        .fetch_all(session)
        .await?;
    with_votes(session, &rows).await
}

/// The same one, as it is now.
async fn same(tx: &mut Tx, id: ApprovalId) -> Result<ApprovalRequest> {
    let row = query("SELECT * FROM approval_requests WHERE id = $1").bind(id.0).fetch_one(tx).await?;
    let request = with_votes(tx, &[row]).await?.pop();
    request.ok_or_else(|| Error::bug(format!("approval request {id} vanished")))
}

/// Makes the approval the deployment's own; false if another took it, or it was rejected meanwhile.
pub(crate) async fn take(
    tx: &mut Tx,
    id: ApprovalId,
    deployment: DeploymentId,
    now: Timestamp,
) -> Result<bool> {
    let changed = query(
        "UPDATE approval_requests SET used_by_id = $2 WHERE id = $1 AND used_by_id IS NULL \
         AND rejected_at IS NULL AND expires_at > $3",
    )
    .bind(id.0)
    .bind(deployment.0)
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// One at a time for each environment, also on PostgreSQL.
async fn lock(tx: &mut Tx, environment: &EnvironmentName) -> Result<()> {
    query("UPDATE environments SET updated_at = updated_at WHERE name = $1")
        .bind(environment.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

fn record(
    tx: &mut Tx,
    request: &ApprovalRequest,
    action: &'static str,
    actor: &str,
    reason: Option<&str>,
    now: Timestamp,
) {
    let detail = serde_json::json!({
        "request": request.id, "version": request.version, "release": request.release,
        "approvals": request.approvals(), "needed": request.needed, "expires_at": request.expires_at,
    });
    audit::record(tx, Entry { at: now, environment: &request.environment, actor, action, reason, detail });
}

/// The requests of one environment, with what was said to them, in one question however many they are.
async fn with_votes(session: &mut Session, rows: &[Row]) -> Result<Vec<ApprovalRequest>> {
    let mut requests = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let Some(oldest) = requests.iter().map(|request| request.id).min() else { return Ok(requests) };
    let said = query(
        "SELECT v.* FROM approval_votes v JOIN approval_requests r ON r.id = v.request_id \
         WHERE r.environment = $1 AND r.id >= $2 ORDER BY v.at, v.person",
    )
    .bind(requests[0].environment.to_string())
    .bind(oldest.0)
    .fetch_all(session)
    .await?;
    for row in &said {
        let id = ApprovalId(row.int("request_id")?);
        if let Some(request) = requests.iter_mut().find(|request| request.id == id) {
            request.votes.push(vote(row)?);
        }
    }
    Ok(requests)
}

fn vote(row: &Row) -> Result<Vote> {
    Ok(Vote {
        actor: row.text("actor")?,
        approves: row.int("approves")? == 1,
        reason: row.opt_text("reason")?,
        at: row.time("at")?,
    })
}

fn read(row: &Row) -> Result<ApprovalRequest> {
    Ok(ApprovalRequest {
        id: ApprovalId(row.int("id")?),
        environment: row.environment("environment")?,
        release: ReleaseId(row.int("release_id")?),
        version: row.version("version")?,
        actor: row.text("actor")?,
        reason: row.opt_text("reason")?,
        needed: u32::try_from(row.int("needed")?).unwrap_or(u32::MAX),
        requested_at: row.time("requested_at")?,
        expires_at: row.time("expires_at")?,
        rejected_at: row.opt_time("rejected_at")?,
        used_by: row.opt_int("used_by_id")?.map(DeploymentId),
        votes: Vec::new(),
    })
}
