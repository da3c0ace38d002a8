//! What people type, one command after another, knowing nothing of one another.

use super::{Program, Scene};
use crate::deployment_drill::{DeploymentDrill, DrillRequest};
use crate::deployment_executor::{DeployRequest, DeploymentExecutor};
use crate::deployment_rollback::{Asking, DeploymentRollback, RollbackRequest};
use crate::drill::DrillTrigger;
use crate::error::{Error, ErrorKind};
use crate::execute::Limits;
use crate::name::Version;
use crate::stage::v;

/// One command with its arguments.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Deploy(Version),
    Stage(Version),
    Back { force: bool },
    BackTo(Version),
    Undo,
    Drill,
    Promote { all: bool },
    Pause,
    Resume,
    Hold(Version),
    Unhold(Version),
}

impl Command {
    /// Something that a person might type now.
    pub fn draw(scene: &mut Scene) -> Self {
        let known = |scene: &Scene| v(&format!("1.{}", scene.fate.below(scene.versions.max(1))));
        match scene.fate.below(23) {
            0..7 => Self::Deploy(scene.next_version()),
            7 => Self::Deploy(known(scene)),
            8 => Self::Stage(scene.next_version()),
            9..12 => Self::Back { force: true },
            12 => Self::Back { force: false },
            13 => Self::BackTo(known(scene)),
            14 => Self::Undo,
            15 => Self::Promote { all: scene.fate.once_in(2) },
            16 => Self::Pause,
            17 => Self::Resume,
            18 => Self::Hold(known(scene)),
            19 => Self::Unhold(known(scene)),
            _ => Self::Drill,
        }
    }

    /// Types it, and looks only whether the answer makes sense; what it claims is compared with the records later.
    pub async fn carry_out(self, program: Program, to_deploy: DeployRequest) {
        let what = format!("{self:?}");
        program.tell(format!("types {what}"));
        let answer = self.ask(&program, to_deploy).await;
        match &answer {
            Ok(said) => program.tell(format!("{what}: {said}")),
            Err(error) => program.log(&what, error),
        }
    }

    async fn ask(self, program: &Program, to_deploy: DeployRequest) -> Result<String, Error> {
        let (db, ports, environment) = (&program.db, &program.ports, program.environment.clone());
        let executor = DeploymentExecutor::new(db.clone(), ports.clone());
        let rollback = DeploymentRollback::new(db.clone(), ports.clone());
        let back = |force, target_version| RollbackRequest {
            environment: environment.clone(),
            target_version,
            skip_validation: false,
            force,
        };
        let rolled = match self {
            Self::Deploy(_) | Self::Stage(_) => {
                let deployed = executor.deploy(&to_deploy).await?;
                return Ok(super::brief(&deployed.outcome));
            }
            Self::Drill => {
                let (actor, reason, limits) = ("ada".to_owned(), None, Limits::default());
                let request =
                    DrillRequest { environment, actor, reason, trigger: DrillTrigger::Manual, limits };
                let drilled = DeploymentDrill::new(db.clone(), ports.clone()).drill(&request).await?;
                return Ok(super::brief(&drilled.drill));
            }
            Self::Promote { all } => {
                let promotion = crate::deployment_executor::Promotion {
                    environment,
                    all,
                    actor: "ada".into(),
                    by_itself: None,
                    break_glass: false,
                    reason: None,
                    limits: Limits::default(),
                };
                return executor.promote(&promotion).await.map(|promoted| super::brief(&promoted.outcome));
            }
            Self::Pause => {
                return executor.pause(&environment, "ada", "lunch").await.map(|_| "paused".into());
            }
            Self::Resume => {
                return executor.resume(&environment, "ada").await.map(|resumed| super::brief(&resumed));
            }
            Self::Hold(version) => {
                let now = ports.clock.now();
                return db.hold(&environment, &version, "ada", "bad", now).await.map(|()| "held".into());
            }
            Self::Unhold(version) => {
                let now = ports.clock.now();
                return db.unhold(&environment, &version, "ada", None, now).await.map(|()| "lifted".into());
            }
            Self::Back { force } => rollback.rollback_as(&back(force, None), &Asking::by("ada")).await?,
            Self::BackTo(version) => {
                rollback.rollback_as(&back(true, Some(version)), &Asking::by("ada")).await?
            }
            Self::Undo => {
                let asking = Asking { undo: true, ..Asking::by("ada") };
                rollback.rollback_as(&back(false, None), &asking).await?
            }
        };
        program.claim(&rolled.event);
        Ok(format!("{:?} at {}", rolled.event.status, rolled.event.target_version))
    }
}

/// Only what orchestrate itself got wrong.
pub(super) fn is_bug(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Bug => true,
        ErrorKind::Refused | ErrorKind::Usage | ErrorKind::Failed | ErrorKind::NeedsAttention => false,
    }
}
