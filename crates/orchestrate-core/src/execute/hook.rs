//! Running a command of a release, once in an operation: who provides keeps what came of it, and tells it again.

use super::Operation;
use crate::database::Database;
use crate::error::Result;
use crate::hooks::{Hook, HookCommand, HookRun, IfItFails};
use crate::name::{DeploymentId, EnvironmentName, Fence};
use crate::plan::{OperationKind, Place};
use crate::ports::{Ended, ForgetHooks, HookRequest, PortError, PortErrorKind, PortResult, Ports};
use crate::release::Release;

/// The end of its output, if it said anything. A failure that means nothing is told, and is none. What became of it is left
/// in `ran`, to be recorded.
pub(super) async fn run(
    ports: &Ports,
    operation: &Operation,
    (release, place): (&Release, &Place),
    hook: Hook,
    ran: &mut Option<HookRun>,
) -> PortResult<Option<String>> {
    let Some(command) = release.contents.hooks.get(&hook) else { return Ok(None) };
    let result = ports.provider.hook(&request(operation, place, hook, command)).await;
    let no_answer =
        |error: &PortError| matches!(error.kind, PortErrorKind::Fenced | PortErrorKind::Unreachable);
    if !result.as_ref().is_err_and(no_answer) {
        *ran = Some(HookRun::of(hook, &result));
    }
    let failed = match result {
        Ok(Ended { success: true, output, .. }) => return Ok(said(output)),
        Ok(Ended { how, output, .. }) => {
            let error = PortError::failed(format!("{hook} of {} {how}", release.version));
            said(output).into_iter().fold(error, PortError::detail)
        }
        Err(error) if no_answer(&error) => return Err(error),
        Err(error) => error,
    };
    if counts(hook, command) {
        return Err(failed);
    }
    ports.progress.remark(&format!("{failed}; it goes on all the same"));
    Ok(Some(failed.detail.map_or(failed.message.clone(), |said| format!("{}\n{said}", failed.message))))
}

/// Whether its failure is the operation's. A rollback that serves is not taken back.
fn counts(hook: Hook, command: &HookCommand) -> bool {
    match hook {
        Hook::PreDeploy | Hook::PreRollback => true,
        Hook::PostDeploy => command.on_failure == IfItFails::Rollback,
        Hook::PostRollback | Hook::OnFailure => false,
    }
}

/// After a deployment that did not come about, or was bad at once. What comes of it changes nothing any more. A promotion
/// that was put back leaves its deployment where it was, which has not failed by that.
pub(super) async fn on_failure(ports: &Ports, operation: &mut Operation, undone: bool) {
    match operation.record.kind {
        OperationKind::Deploy => {}
        OperationKind::Promote if !undone => {}
        OperationKind::Promote | OperationKind::Rollback | OperationKind::Drill | OperationKind::Stop => {
            return;
        }
    }
    let (release, place, mut ran) = (&operation.target, operation.record.plan.target(), None);
    match run(ports, operation, (release, place), Hook::OnFailure, &mut ran).await {
        Ok(Some(said)) => ports.progress.remark(&said),
        Ok(None) => {}
        Err(error) => ports.progress.remark(&format!("on_failure of {}: {error}", release.version)),
    }
    if let Some(ran) = ran {
        operation.note_hook(ran);
    }
}

fn request(operation: &Operation, place: &Place, hook: Hook, command: &HookCommand) -> HookRequest {
    HookRequest {
        placement: place.placement(operation.environment()),
        of: match operation.record.rollback {
            Some(rollback) => format!("r{rollback}"),
            None => of_deployment(operation.record.deployment),
        },
        hook,
        command: command.command.clone(),
        timeout: command.timeout,
        fence: operation.record.fence,
    }
}

fn of_deployment(deployment: DeploymentId) -> String {
    format!("d{deployment}")
}

fn said(output: String) -> Option<String> {
    Some(output).filter(|output| !output.is_empty())
}

/// Has what is kept of the hooks of an environment forgotten, but for a deployment that goes on. `None`: an operation is
/// open, which may ask again. Whoever was given up asks with an older fence, and is refused.
pub async fn forget_hooks(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
) -> Result<Option<Fence>> {
    // First the lease: what begins after that has a newer fence.
    let Some(lease) = db.lease(environment).await?.filter(|lease| lease.operation.is_none()) else {
        return Ok(None);
    };
    let but = db.open_rollout(environment).await?.map(|rollout| of_deployment(rollout.deployment));
    let request = ForgetHooks { environment: environment.clone(), but, fence: lease.fence };
    match ports.provider.forget_hooks(&request).await {
        Ok(()) => Ok(Some(lease.fence)),
        Err(error) if error.kind == PortErrorKind::Fenced => Ok(None),
        Err(error) => {
            ports.progress.remark(&format!("what is kept of hooks in {environment} is left: {error}"));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
