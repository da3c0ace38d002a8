//! The table of the sweeps: every strategy, and everything that can be done under it. A strategy that is added does not compile
//! before it has its scenes, and a scene that is not swept fails the test below.

use super::Scene;
use super::crashes::SWEPT;
use crate::deployment_strategy::StrategyKind;
use crate::environment::EnvironmentSettings;
use crate::slot_tending::tend;
use crate::stage::{Stage, canary, recreate, rolling, with_worker};
use crate::time::Span;

/// How a release takes over, and whether the one before it is still there afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Warm,
    Cold,
    Recreate,
    Rolling,
    Canary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Deploy,
    Rollback,
    /// Forward again, with `--undo`.
    Undo,
    /// The rollback that nobody asked for.
    Automatic,
    /// There and back.
    Drill,
}

impl Way {
    const fn all_of(kind: StrategyKind) -> &'static [Self] {
        match kind {
            StrategyKind::BlueGreen => &[Self::Warm, Self::Cold],
            StrategyKind::Recreate => &[Self::Recreate],
            StrategyKind::Rolling => &[Self::Rolling],
            StrategyKind::Canary => &[Self::Canary],
        }
    }

    pub fn settings(self) -> EnvironmentSettings {
        match self {
            Self::Warm => with_worker(),
            Self::Cold => {
                let mut settings = with_worker();
                settings.strategy.warm_for = Span::default();
                settings
            }
            Self::Recreate => recreate(),
            Self::Rolling => rolling(),
            Self::Canary => EnvironmentSettings { strategy: canary().strategy, ..with_worker() },
        }
    }
}

impl Act {
    const ALL: [Self; 5] = [Self::Deploy, Self::Rollback, Self::Undo, Self::Automatic, Self::Drill];

    /// What has to have happened before it.
    pub async fn prepare(self, stage: &Stage, way: Way) {
        stage.deploy("1.0").await;
        if self != Self::Deploy {
            stage.deploy("1.1").await;
            if way == Way::Canary {
                stage.executor().promote(&stage.to_promote(true)).await.unwrap();
            }
        }
        if self == Self::Undo {
            stage.rollback().rollback(&stage.forced()).await.unwrap();
        }
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        stage.world.clock.advance(Span::from_secs(60));
    }
}

/// Where that is swept: several scenes where it can go several ways.
fn scenes(way: Way, act: Act) -> Vec<Scene> {
    let plain = Scene::Plain(way, act);
    match (way, act) {
        // There is no place beside what is live, so a drill is refused.
        (Way::Recreate, Act::Drill) => vec![],
        (Way::Warm | Way::Cold | Way::Rolling | Way::Canary, Act::Drill) => vec![plain],
        (Way::Warm, Act::Deploy) => vec![Scene::FirstDeploy, Scene::Deploy, Scene::HookedDeploy],
        (Way::Warm, Act::Rollback) => {
            vec![Scene::WarmRollback, Scene::SickRollback, Scene::SickLive, Scene::HookedRollback]
        }
        (Way::Warm, Act::Undo) => vec![Scene::Undo],
        (Way::Warm, Act::Automatic) => vec![Scene::BadLive],
        (Way::Cold, Act::Rollback) => vec![plain, Scene::ColdRollback],
        (Way::Cold, Act::Deploy | Act::Undo | Act::Automatic) => vec![plain],
        (Way::Recreate, Act::Deploy) => vec![Scene::RecreateDeploy],
        (Way::Recreate, Act::Rollback) => vec![Scene::RecreateRollback],
        (Way::Recreate, Act::Undo | Act::Automatic) => vec![plain],
        (Way::Rolling, Act::Deploy) => vec![Scene::RollingDeploy],
        (Way::Rolling, Act::Rollback | Act::Undo | Act::Automatic) => vec![plain],
        (Way::Canary, Act::Deploy) => {
            vec![Scene::CanaryDeploy, Scene::StagedDeploy, Scene::Promote, Scene::PromoteAll]
        }
        (Way::Canary, Act::Rollback) => vec![Scene::CanaryRollback, plain],
        (Way::Canary, Act::Undo) => vec![plain],
        (Way::Canary, Act::Automatic) => vec![Scene::BadCanary, plain],
    }
}

#[test]
fn every_strategy_is_swept_with_everything_that_is_done_under_it() {
    // As the config file knows them, so that none is left out.
    let schema = serde_json::to_value(schemars::schema_for!(StrategyKind)).unwrap();
    let kinds = schema["oneOf"].as_array().unwrap();
    assert!(kinds.len() >= 4, "{schema}");
    let mut table = Vec::new();
    for kind in kinds {
        let kind: StrategyKind = serde_json::from_value(kind["const"].clone()).unwrap();
        for (way, act) in Way::all_of(kind).iter().flat_map(|way| Act::ALL.map(|act| (*way, act))) {
            table.extend(scenes(way, act));
        }
    }
    for scene in &table {
        assert!(SWEPT.contains(scene), "{scene:?} is not swept");
    }
    for scene in SWEPT {
        assert!(table.contains(scene), "{scene:?} is in no cell");
    }
}
