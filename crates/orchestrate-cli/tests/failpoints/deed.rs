//! What is disturbed: deployments and rollbacks of every kind, and what is live before and after each.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::luck::Ran;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    BlueGreen,
    Rolling,
    Canary,
    WarmRollback,
    ColdRollback,
    Undo,
    WarmDrill,
    ColdDrill,
}

/// The versions that are live before a deed, and after it.
#[derive(Clone, Debug)]
pub struct Way {
    pub from: String,
    pub to: String,
}

const BACK: [&str; 5] = ["deploy", "rollback", "--env", "production", "--force"];
const THERE_AND_BACK: [&str; 4] = ["deploy", "drill", "--env", "production"];
const FORTH: [&str; 5] = ["deploy", "rollback", "--env", "production", "--undo"];

impl Deed {
    pub fn strategy(self) -> Value {
        match self {
            Self::BlueGreen | Self::WarmRollback | Self::Undo | Self::WarmDrill => {
                json!({ "type": "blue_green", "warm_for": "15m" })
            }
            Self::ColdRollback | Self::ColdDrill => json!({ "type": "blue_green", "warm_for": "0s" }),
            Self::Rolling => json!({ "type": "rolling", "batch": 1 }),
            Self::Canary => {
                json!({ "type": "canary", "steps": [50], "wait": "50ms", "warm_for": "15m" })
            }
        }
    }

    /// Brings the scene to where the deed begins.
    pub fn prepare(self, stage: &mut Stage) -> Way {
        let live = stage.live();
        match self {
            Self::BlueGreen | Self::Rolling | Self::Canary => Way { from: live, to: stage.next_version() },
            Self::WarmRollback | Self::ColdRollback => {
                let newest = stage.next_version();
                stage.deploys(&newest);
                Way { from: newest, to: live }
            }
            Self::WarmDrill | Self::ColdDrill => {
                if live == "1.0.0" {
                    let newest = stage.next_version();
                    stage.deploys(&newest);
                }
                let slots = if self == Self::WarmDrill { 2 } else { 1 };
                stage.awaits_slots(slots);
                Way { from: stage.live(), to: stage.live() }
            }
            Self::Undo => {
                let newest = stage.next_version();
                stage.deploys(&newest);
                stage.scene.run(&BACK).ok();
                assert_eq!(stage.settled(), live);
                Way { from: live, to: newest }
            }
        }
    }

    pub fn command(self, stage: &Stage, way: &Way) -> Vec<String> {
        let words = match self {
            Self::BlueGreen | Self::Rolling | Self::Canary => stage.scene.deploy_args(&way.to),
            Self::WarmRollback | Self::ColdRollback => BACK.to_vec(),
            Self::Undo => FORTH.to_vec(),
            Self::WarmDrill | Self::ColdDrill => THERE_AND_BACK.to_vec(),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    pub fn act(self, stage: &Stage, way: &Way) -> Ran {
        let words = self.command(stage, way);
        stage.scene.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
