//! What a daemon does, each task again and again, as its program does it.

use std::time::Duration;

use super::Program;
use crate::deployment_executor::DeploymentExecutor;
use crate::error::Result;
use crate::settle::{self, Settled};
use crate::slot_tending::{self, Told, Upkeep};

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
        if executor.is_left_open(&operation).await? {
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
        let pause = if matches!(kept, Ok(Upkeep::Quiet | Upkeep::Watched)) { 15 } else { 1 };
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
    for deployment in settle::unsettled(db, ports.clock.now()).await? {
        tell(program, &settle::settle(db, ports, &deployment).await?);
    }
    Ok(())
}

async fn rollouts(program: Program) {
    loop {
        pass(&program, "rollout", settle_rollouts(&program).await, Duration::from_secs(2)).await;
    }
}

/// What is staged is watched for as long as it waits; with one task for all of them, others would wait for it.
async fn settle_rollouts(program: &Program) -> Result<()> {
    let (db, ports) = (&program.db, &program.ports);
    for rollout in db.list_open_rollouts().await?.into_iter().filter(|rollout| rollout.weight > 0) {
        tell(program, &settle::settle_rollout(db, ports, &rollout).await?);
    }
    Ok(())
}

fn tell(program: &Program, settled: &Settled) {
    if let Settled::Bad(deployment, came_of_it) = settled {
        program.tell(format!("{} is bad: {}", deployment.version, super::brief(came_of_it)));
    }
}
