//! Running a command of a release, once in an operation: who provides keeps what came of it, and tells it again.

use super::Operation;
use crate::hooks::{Hook, HookCommand, IfItFails};
use crate::plan::{OperationKind, Place};
use crate::ports::{Ended, HookRequest, PortError, PortErrorKind, PortResult, Ports};
use crate::release::Release;

/// The end of its output, if it said anything. A failure that means nothing is told, and is none.
pub(super) async fn run(
    ports: &Ports,
    operation: &Operation,
    release: &Release,
    place: &Place,
    hook: Hook,
) -> PortResult<Option<String>> {
    let Some(command) = release.contents.hooks.get(&hook) else { return Ok(None) };
    let result = ports.provider.hook(&request(operation, place, hook, command)).await;
    let failed = match result {
        Ok(Ended { success: true, output, .. }) => return Ok(said(output)),
        Ok(Ended { how, output, .. }) => {
            let error = PortError::failed(format!("{hook} of {} {how}", release.version));
            said(output).into_iter().fold(error, PortError::detail)
        }
        Err(error) if matches!(error.kind, PortErrorKind::Fenced | PortErrorKind::Unreachable) => {
            return Err(error);
        }
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

/// After a deployment that did not come about, or was bad at once. What comes of it changes nothing any more.
pub(super) async fn on_failure(ports: &Ports, operation: &Operation) {
    match operation.record.kind {
        OperationKind::Deploy | OperationKind::Promote => {}
        OperationKind::Rollback | OperationKind::Stop => return,
    }
    let (release, place) = (&operation.target, operation.record.plan.target());
    match run(ports, operation, release, place, Hook::OnFailure).await {
        Ok(Some(said)) => ports.progress.remark(&said),
        Ok(None) => {}
        Err(error) => ports.progress.remark(&format!("on_failure of {}: {error}", release.version)),
    }
}

fn request(operation: &Operation, place: &Place, hook: Hook, command: &HookCommand) -> HookRequest {
    HookRequest {
        placement: place.placement(operation.environment()),
        of: match operation.record.rollback {
            Some(rollback) => format!("r{rollback}"),
            None => format!("d{}", operation.record.deployment),
        },
        hook,
        command: command.command.clone(),
        timeout: command.timeout,
        fence: operation.record.fence,
    }
}

fn said(output: String) -> Option<String> {
    Some(output).filter(|output| !output.is_empty())
}

#[cfg(test)]
mod tests;
