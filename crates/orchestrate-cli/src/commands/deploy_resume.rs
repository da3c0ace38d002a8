//! `orchestrate deploy resume`: finishes or undoes an interrupted operation.

use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::deployment_drill::{self, Drilled};
use orchestrate_core::deployment_executor::{Resumed, failed};
use orchestrate_core::deployment_rollback::{self, RolledBack};
use orchestrate_core::drill::DrillStatus;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::rollback_event::RollbackStatus;

use super::deploy_promote::standing;
use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::progress::StepProgress;
use crate::wiring::Wiring;

pub async fn run(global: &Global, environment: &EnvironmentName, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    wiring.db.environment(environment).await?;
    let actor = wiring.actor(Right::Deploy, environment, "resume").await?;
    let asked = Asked { environment, actor: &actor, what: "resume", version: None, reason: None };
    wiring.only_here(asked).await?;
    let progress = Arc::new(StepProgress::new(printer));
    let resumed = wiring.executor(Arc::clone(&progress) as _).resume(environment, &actor).await;
    progress.finished();
    let resumed = resumed?;
    wiring.hand_over().await?;
    match resumed {
        Resumed::Deployment(deployed) => {
            if let Some(error) = failed(&deployed, None) {
                return Err(error.into());
            }
            let deployment = deployed.deployment;
            let rollout = wiring.db.open_rollout(environment).await?;
            printer.result(&deployment, || match &rollout {
                Some(rollout) => format!("{} {}", printer.good("finished:"), standing(rollout)),
                None => format!(
                    "{} the deployment of {} to {environment}",
                    printer.good("finished"),
                    deployment.version
                ),
            });
        }
        Resumed::Rollback(event) => {
            if event.status != RollbackStatus::Completed {
                let rolled = RolledBack { event: *event, remarks: Vec::new(), detail: None };
                return Err(deployment_rollback::failed(&rolled).into());
            }
            printer.result(&event, || {
                format!(
                    "{} the rollback of {environment} to {}",
                    printer.good("finished"),
                    event.target_version
                )
            });
        }
        Resumed::Drill(drill) => {
            if drill.status == DrillStatus::NeedsAttention {
                let drilled = Drilled { drill: *drill, remarks: Vec::new(), detail: None };
                return Err(deployment_drill::failed(&drilled).into());
            }
            // To put it back is what was asked for.
            printer.result(&drill, || {
                format!(
                    "{} the drill of {environment}: {} is live, as before",
                    printer.good("put back:"),
                    drill.live_version
                )
            });
        }
        Resumed::Stopped => {
            let value = serde_json::json!({ "environment": environment, "stopped": true });
            printer.result(&value, || format!("{} stopping {environment}", printer.good("finished")));
        }
    }
    Ok(Exit::DONE)
}
