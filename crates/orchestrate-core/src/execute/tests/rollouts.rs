//! What is true after operations that begin, take on or leave a rollout.

use crate::deployment::DeploymentStatus;
use crate::slot::SlotState;
use crate::slot_tending::tend;
use crate::stage::Stage;
use crate::time::Span;

use super::{End, Scene, check_instances};

impl Scene {
    pub(super) const fn is_rollout(self) -> bool {
        matches!(
            self,
            Self::CanaryDeploy
                | Self::StagedDeploy
                | Self::Promote
                | Self::PromoteAll
                | Self::CanaryRollback
                | Self::BadCanary
        )
    }

    /// The share of what is rolled out afterwards, and the one before; none: nothing is rolled out.
    const fn weights(self) -> (Option<u8>, Option<u8>) {
        match self {
            Self::CanaryDeploy => (Some(10), None),
            Self::StagedDeploy => (Some(0), None),
            Self::Promote => (Some(25), Some(10)),
            Self::PromoteAll | Self::CanaryRollback | Self::BadCanary => (None, Some(10)),
            _ => (None, None),
        }
    }

    pub(super) async fn look_at_rollout(self, stage: &Stage, what: &str) -> End {
        let what = format!("{self:?}, {what}");
        let end = self.look_once(stage, &what).await;
        stage.world.clock.advance(Span::from_secs(3600));
        for _ in 0..2 {
            tend(&stage.db, &stage.world.ports()).await.unwrap();
        }
        assert_eq!(self.look_once(stage, &what).await, end, "{what}: after tending");
        let states: Vec<_> = stage.slots().await.iter().map(|slot| slot.state).collect();
        let at_rest = |state: &SlotState| matches!(state, SlotState::Live | SlotState::Staged);
        assert!(states.iter().all(at_rest), "{what}: {states:?}");
        end
    }

    async fn look_once(self, stage: &Stage, what: &str) -> End {
        let environment = &stage.environment;
        assert!(stage.db.open_operation(environment).await.unwrap().is_none(), "{what}: still open");
        let lease = stage.db.lease(environment).await.unwrap().unwrap();
        assert_eq!((lease.operation, lease.holder), (None, None), "{what}: the lease");
        let live = stage.live().await;
        check_instances(stage, what).await;
        let weight = stage.rollout().await.map(|rollout| rollout.weight);
        let (after, before) = self.weights();
        assert!([after, before].contains(&weight), "{what}: at {weight:?}");
        let end = if weight == after { End::Done } else { End::Before };
        if self == Self::Promote {
            let paused = stage.rollout().await.and_then(|rollout| rollout.paused);
            let expected = (end == End::Before).then_some("lunch");
            assert_eq!(paused.as_deref(), expected, "{what}: {end:?}, the pause");
        }
        let expected = if self == Self::PromoteAll && end == End::Done { "1.1" } else { "1.0" };
        assert_eq!(live.as_deref(), Some(expected), "{what}: {end:?}");
        let status = stage.db.list_deployments(environment, 1).await.unwrap()[0].status;
        let recorded = match weight {
            Some(_) => DeploymentStatus::InProgress,
            None => match (self, end) {
                (Self::PromoteAll, _) => DeploymentStatus::Completed,
                (Self::CanaryRollback | Self::BadCanary, _) => DeploymentStatus::RolledBack,
                _ => DeploymentStatus::Failed,
            },
        };
        // A first step that never began leaves no deployment of its own.
        let unbegun = before.is_none() && end == End::Before && status == DeploymentStatus::Completed;
        assert!(status == recorded || unbegun, "{what}: {status}");
        end
    }
}
