//! Ending the bake of a live deployment, and what is told about it meanwhile and afterwards.

use super::deploy::{end, stored};
use super::tell;
use crate::database::audit::{self, Entry as Audit};
use crate::database::{Database, Tx, commit, deployments, query};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::Result;
use crate::evidence::{Consequence, Evidence};
use crate::name::DeploymentId;
use crate::notification::{NoticeKind, Told};
use crate::time::Timestamp;

/// Ends a bake with its verdict; `None` if someone else did, or if it was rolled back meanwhile.
pub(crate) async fn end_bake(
    db: &Database,
    id: DeploymentId,
    verdict: std::result::Result<(), String>,
    evidence: &[Evidence],
    now: Timestamp,
) -> Result<Option<Deployment>> {
    let before = stored(db, id).await?;
    let environment = db.environment(&before.environment).await?;
    let mut tx = db.begin().await?;
    if !is_baking(&mut tx, id, now).await? {
        return Ok(None);
    }
    let mut deployment = before;
    deployment.evidence = evidence.to_vec();
    (deployment.status, deployment.error_message) = match verdict {
        Ok(()) => (DeploymentStatus::Completed, None),
        Err(because) => (DeploymentStatus::Failed, Some(because)),
    };
    deployments::set_evidence(&mut tx, id, evidence, now).await?;
    end(&mut tx, &environment, &mut deployment, now).await?;
    let unjudged = evidence.iter().any(|one| one.consequence == Consequence::Notify);
    if deployment.status == DeploymentStatus::Completed && unjudged {
        let told = Told::Deployment(Box::new(deployment.clone()));
        tell(&mut tx, &environment, NoticeKind::NeedsAttention, told, None, now).await?;
    }
    commit(tx).await?;
    Ok(Some(deployment))
}

/// Takes the row's lock, too: nobody ends the same bake between this and the commit.
async fn is_baking(tx: &mut Tx, id: DeploymentId, now: Timestamp) -> Result<bool> {
    let still = query(
        "UPDATE deployments SET updated_at = $2 WHERE id = $1 AND status = 'in_progress' AND bake_until IS NOT NULL",
    )
    .bind(id.0)
    .bind(now.to_string())
    .execute(tx)
    .await?;
    Ok(still > 0)
}

/// Tells of what speaks against a release that is watched on, and records it so that it is told once.
pub(crate) async fn tell_of_evidence(
    db: &Database,
    id: DeploymentId,
    evidence: &[Evidence],
    now: Timestamp,
) -> Result<()> {
    let mut deployment = stored(db, id).await?;
    let environment = db.environment(&deployment.environment).await?;
    let mut tx = db.begin().await?;
    if !is_baking(&mut tx, id, now).await? {
        return Ok(());
    }
    deployments::set_evidence(&mut tx, id, evidence, now).await?;
    deployment.evidence = evidence.to_vec();
    let detail = serde_json::json!({ "deployment": id, "version": deployment.version, "evidence": evidence });
    let (environment_name, action) = (&deployment.environment, "evidence_recorded");
    let actor = "orchestrate";
    let entry = Audit { at: now, environment: environment_name, actor, action, reason: None, detail };
    audit::record(&mut tx, entry);
    let told = Told::Deployment(Box::new(deployment));
    tell(&mut tx, &environment, NoticeKind::NeedsAttention, told, None, now).await?;
    commit(tx).await
}

/// Records that a bad deployment stays live until a person decides, and tells, once. `quietly`: people know already.
pub(crate) async fn hold_automatic(
    db: &Database,
    deployment: &Deployment,
    why: &str,
    quietly: bool,
    now: Timestamp,
) -> Result<()> {
    let environment = db.environment(&deployment.environment).await?;
    let mut tx = db.begin().await?;
    if !deployments::hold_automatic(&mut tx, deployment.id, why, now).await? {
        return Ok(());
    }
    let held = Deployment { automatic_hold: Some(why.to_owned()), ..deployment.clone() };
    let detail =
        serde_json::json!({ "deployment": held.id, "version": held.version, "evidence": held.evidence });
    let entry = Audit {
        at: now,
        environment: &held.environment,
        actor: "orchestrate",
        action: "automatic_rollback_held",
        reason: Some(why),
        detail,
    };
    audit::record(&mut tx, entry);
    if !quietly {
        let told = Told::Deployment(Box::new(held));
        tell(&mut tx, &environment, NoticeKind::NeedsAttention, told, None, now).await?;
    }
    commit(tx).await
}
