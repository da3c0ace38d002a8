//! What a daemon does, each task again and again, as its program does it.

use std::time::Duration;

use super::Program;
use crate::database::OperationStatus;
use crate::deployment::DeploymentStatus;
use crate::deployment_executor::{DeploymentExecutor, Promotion, failed};
use crate::deployment_rollback::DeploymentRollback;
use crate::error::Result;
use crate::execute::Limits;
use crate::post_deploy_verification::{self, Verdict};
use crate::rollout::{self, Next, Rollout};
use crate::slot_tending::{self, Told};

/// Those that are started with it.
pub(super) fn tasks(program: &Program) -> Vec<super::Task> {
    vec![
        Box::pin(finish(program.clone())),
        Box::pin(tend(program.clone())),
        Box::pin(keep(program.clone())),
        Box::pin(bakes(program.clone())),
        Box::pin(rollouts(program.clone())),
    ]
}

/// An error is logged, and the task goes on.
async fn pass(program: &Program, task: &str, result: Result<()>, pause: Duration) {
    if let Err(error) = result {
        program.log(task, &error);
    }
    tokio::time::sleep(pause).await;
}

async fn finish(program: Program) {
    loop {
        pass(&program, "finish", finish_all(&program).await, Duration::from_secs(1)).await;
    }
}

async fn finish_all(program: &Program) -> Result<()> {
    let executor = DeploymentExecutor::new(program.db.clone(), program.ports.clone());
    for operation in program.db.list_open_operations().await? {
        let Some(lease) = program.db.lease(&operation.environment).await? else { continue };
        let abandoned = executor.is_abandoned(lease.holder.as_ref(), lease.expires_at);
        if operation.status == OperationStatus::Open && abandoned {
            program.tell("resumes");
            let resumed = executor.resume(&operation.environment, "daemon").await?;
            program.tell(format!("resumed: {}", super::brief(&resumed)));
        }
    }
    Ok(())
}

async fn tend(program: Program) {
    loop {
        let tended = slot_tending::tend(&program.db, &program.ports).await.map(drop);
        pass(&program, "tend", tended, Duration::from_secs(15)).await;
    }
}

async fn keep(program: Program) {
    let mut told = Told::default();
    loop {
        let kept =
            slot_tending::reconcile(&program.db, &program.ports, &mut told, &program.environment).await;
        let pause = if matches!(kept, Ok(true)) { 15 } else { 1 };
        pass(&program, "keep", kept.map(drop), Duration::from_secs(pause)).await;
    }
}

async fn bakes(program: Program) {
    loop {
        pass(&program, "bake", settle_bakes(&program).await, Duration::from_secs(2)).await;
    }
}

async fn settle_bakes(program: &Program) -> Result<()> {
    let (db, ports) = (&program.db, &program.ports);
    let rollback = DeploymentRollback::new(db.clone(), ports.clone());
    if let Some(live) = db.environment(&program.environment).await?.live
        && let Some(deployment) = db.deployment(live.deployment).await?
        && deployment.awaits_rollback()
        && db.rollback_of_deployment(deployment.id).await?.is_none()
    {
        rollback.rollback_by_itself(&deployment, false).await?;
    }
    for deployment in db.list_baking().await? {
        let judged = post_deploy_verification::watch(db, ports, &deployment).await?;
        let verdict = match judged.verdict {
            Verdict::Overtaken => continue,
            Verdict::Good => Ok(()),
            Verdict::Bad(because) => Err(because),
        };
        let executor = DeploymentExecutor::new(db.clone(), ports.clone());
        let ended = executor.end_bake(deployment.id, verdict, &judged.evidence).await?;
        if let Some(bad) = ended.filter(|ended| ended.status == DeploymentStatus::Failed) {
            program.tell(format!("{} is bad", bad.version));
            rollback.rollback_by_itself(&bad, judged.told).await?;
        }
    }
    Ok(())
}

async fn rollouts(program: Program) {
    loop {
        pass(&program, "rollout", settle_rollouts(&program).await, Duration::from_secs(2)).await;
    }
}

async fn settle_rollouts(program: &Program) -> Result<()> {
    let (db, ports) = (&program.db, &program.ports);
    for rollout in db.list_open_rollouts().await?.into_iter().filter(|rollout| rollout.weight > 0) {
        let bad = match rollout::watch(db, ports, &rollout).await? {
            Next::Overtaken => None,
            Next::Bad(bad) => Some(bad),
            Next::Promote => promote(program, &rollout).await?.map(Box::new),
        };
        if let Some(bad) = bad {
            DeploymentRollback::new(db.clone(), ports.clone()).rollback_by_itself(&bad, false).await?;
        }
    }
    Ok(())
}

async fn promote(program: &Program, rollout: &Rollout) -> Result<Option<crate::deployment::Deployment>> {
    let promotion = Promotion {
        environment: rollout.environment.clone(),
        all: false,
        actor: "orchestrate".into(),
        by_itself: Some(rollout.deployment),
        limits: Limits::default(),
    };
    let executor = DeploymentExecutor::new(program.db.clone(), program.ports.clone());
    let promoted = executor.promote(&promotion).await?;
    Ok(failed(&promoted, None).is_some().then_some(promoted.deployment))
}
