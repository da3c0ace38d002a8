//! One attempt to go back, as it is recorded and told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::hooks::HookRun;
use crate::name::{DeploymentId, EnvironmentName, ReleaseId, RollbackId, Version};
use crate::time::Timestamp;

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use text_enum;

text_enum! {
    /// What kind of going back it is.
    RollbackType {
        /// To the newest good release before the current one.
        Previous = "previous",
        /// To a version that was named.
        Specific = "specific",
        /// To the previous one, which still runs warm: only traffic is switched.
        BlueGreenSwitch = "blue_green_switch",
        /// By orchestrate itself, because a release turned out bad.
        Automatic = "automatic",
    }
}

text_enum! {
    RollbackStatus {
        Pending = "pending",
        InProgress = "in_progress",
        Completed = "completed",
        /// It did not come about; users are served as before.
        Failed = "failed",
        /// It could be neither finished nor put back.
        NeedsAttention = "needs_attention",
    }
}

text_enum! {
    /// Who or what asked for it.
    Trigger { Manual = "manual", Verification = "verification", Watch = "watch", Api = "api" }
}

text_enum! {
    /// How the target came to serve.
    RollbackPath {
        /// It was still running.
        Warm = "warm",
        /// It was started again from its sealed artifact.
        Cold = "cold",
        /// It served already.
        None = "none",
    }
}

/// How long one part of it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    pub name: String,
    pub ms: u64,
}

/// A rollback as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackEvent {
    pub id: RollbackId,
    /// The deployment that is rolled back.
    pub deployment_id: DeploymentId,
    pub environment: EnvironmentName,
    pub from_version: Version,
    pub target_version: Version,
    pub rollback_type: RollbackType,
    pub status: RollbackStatus,
    pub error_message: Option<String>,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub duration_ms: Option<u64>,
    /// True once every channel that wants it accepted the notice.
    pub notification_sent: bool,
    pub actor: String,
    pub reason: Option<String>,
    pub trigger: Trigger,
    pub path: RollbackPath,
    pub phases: Vec<Phase>,
    #[serde(skip)]
    pub from_release: Option<ReleaseId>,
    #[serde(skip)]
    pub target_release: Option<ReleaseId>,
    /// What was live before it, where it moved traffic.
    #[serde(skip)]
    pub left: Option<Left>,
    /// What showed the release to be bad that was left, where it was left by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// The commands of the release that was left, with what became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// The rollback that this one takes back (`--undo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<RollbackId>,
    /// The change of data that a person let it cross (`--force` with `--reason`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crossed: Option<String>,
    /// What somebody overrode for it (`--break-glass`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// What was live until a rollback took its traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub release: ReleaseId,
    pub deployment: DeploymentId,
}

impl RollbackEvent {
    /// The release that `--undo` returns to. Events of older programs only know what was rolled back.
    pub fn left_release(&self) -> Option<ReleaseId> {
        self.left.map(|left| left.release).or(self.from_release)
    }
}

/// What a rollback is recorded with before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRollbackEvent {
    pub deployment_id: DeploymentId,
    pub environment: EnvironmentName,
    pub from_version: Version,
    pub from_release: ReleaseId,
    pub target_version: Version,
    pub target_release: ReleaseId,
    pub rollback_type: RollbackType,
    pub path: RollbackPath,
    pub started_at: Timestamp,
    pub actor: String,
    pub reason: Option<String>,
    pub trigger: Trigger,
    pub evidence: Vec<Evidence>,
    pub undoes: Option<RollbackId>,
}
