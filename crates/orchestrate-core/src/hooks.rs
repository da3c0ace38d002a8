//! Commands of the user's that belong to a release: run once in an operation, sealed with the release.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ports::{Ended, PortResult};
use crate::time::Span;

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before anything of a deployment is started or stopped, e.g. a migration.
    PreDeploy,
    /// Once the release has the traffic and answered.
    PostDeploy,
    /// Before a rollback from the release takes its traffic.
    PreRollback,
    /// Once a rollback from the release was proven.
    PostRollback,
    /// After a deployment of the release did not come about, or turned out bad at once.
    OnFailure,
}

impl Hook {
    pub const ALL: [Self; 5] =
        [Self::PreDeploy, Self::PostDeploy, Self::PreRollback, Self::PostRollback, Self::OnFailure];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
            Self::PreRollback => "pre_rollback",
            Self::PostRollback => "post_rollback",
            Self::OnFailure => "on_failure",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a failed `post_deploy` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfItFails {
    /// The release is bad.
    #[default]
    Rollback,
    /// It is told, and nothing more.
    Ignore,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookCommand {
    /// The program and its arguments, run without a shell in the directory of the release.
    pub command: Vec<String>,
    /// After this it is ended with SIGTERM, then SIGKILL, and has failed.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Only of `post_deploy`.
    #[serde(default, skip_serializing_if = "is_rollback")]
    pub on_failure: IfItFails,
}

fn default_timeout() -> Span {
    Span::from_secs(5 * 60)
}

fn is_rollback(what: &IfItFails) -> bool {
    *what == IfItFails::Rollback
}

/// How one that was run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookStatus {
    Succeeded,
    Failed,
}

/// One that was run, as it is recorded with its deployment or its rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    pub name: Hook,
    pub status: HookStatus,
    /// None: it was killed, cut off, or could not be run at all.
    pub exit_code: Option<i32>,
    /// Why it counts as failed, e.g. `exited with status 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The end of what it printed.
    pub output: String,
}

impl HookRun {
    pub fn of(name: Hook, result: &PortResult<Ended>) -> Self {
        match result {
            Ok(Ended { success: true, code, output, .. }) => {
                let output = output.clone();
                Self { name, status: HookStatus::Succeeded, exit_code: *code, error: None, output }
            }
            Ok(Ended { how, code, output, .. }) => {
                let (error, output) = (Some(how.clone()), output.clone());
                Self { name, status: HookStatus::Failed, exit_code: *code, error, output }
            }
            Err(error) => Self {
                output: error.detail.clone().unwrap_or_default(),
                ..Self::cut_off(name, &error.message)
            },
        }
    }

    /// Nobody waited for its end.
    pub fn cut_off(name: Hook, why: &str) -> Self {
        let (status, error) = (HookStatus::Failed, Some(why.to_owned()));
        Self { name, status, exit_code: None, error, output: String::new() }
    }

    /// Each is run once, so what was told again takes the place of what was told before.
    pub(crate) fn add_to(self, runs: &mut Vec<Self>) {
        match runs.iter_mut().find(|run| run.name == self.name) {
            Some(known) => *known = self,
            None => runs.push(self),
        }
    }
}

/// The commands of a release.
pub type Hooks = BTreeMap<Hook, HookCommand>;
