//! The checks before a deployment. Core knows those that the database answers; the rest come from outside.

use async_trait::async_trait;
use serde::Serialize;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::execute::record::busy;
use crate::name::{EnvironmentName, Version};
use crate::policy::DeployWindow;
use crate::ports::Ports;

/// One check that looks at the world outside the database: an artifact, a port, the disk, a command of the user's.
#[async_trait]
pub trait PreDeployCheck: Send + Sync {
    fn name(&self) -> String;
    /// What was found, or why a deployment would fail.
    async fn run(&self) -> std::result::Result<String, CheckFailure>;
}

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailure {
    pub message: String,
    pub hint: Option<String>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    pub name: String,
    pub passed: bool,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Runs the checks before a deployment.
pub struct PreDeployValidator {
    db: Database,
    ports: Ports,
    checks: Vec<Box<dyn PreDeployCheck>>,
}

impl PreDeployValidator {
    pub fn new(db: Database, ports: Ports, checks: Vec<Box<dyn PreDeployCheck>>) -> Self {
        Self { db, ports, checks }
    }

    /// Runs every check, also after one failed, so that everything to be mended is seen at once.
    pub async fn validate(
        &self,
        environment: &EnvironmentName,
        version: Option<&Version>,
        windows: &[DeployWindow],
    ) -> Result<Vec<CheckResult>> {
        let mut results = vec![self.no_other_operation(environment).await?, self.window(windows)];
        if let Some(version) = version {
            results.push(self.not_held(environment, version).await?);
        }
        for check in &self.checks {
            self.ports.progress.remark(&format!("checking: {}", check.name()));
            results.push(match check.run().await {
                Ok(message) => CheckResult { name: check.name(), passed: true, message, hint: None },
                Err(CheckFailure { message, hint }) => {
                    CheckResult { name: check.name(), passed: false, message, hint }
                }
            });
        }
        Ok(results)
    }

    async fn no_other_operation(&self, environment: &EnvironmentName) -> Result<CheckResult> {
        let name = "no other operation".to_owned();
        Ok(match self.db.open_operation(environment).await? {
            None => {
                CheckResult { name, passed: true, message: "nothing else is going on".into(), hint: None }
            }
            Some(_) => failed(name, &busy(&self.db, &self.ports, environment).await?),
        })
    }

    fn window(&self, windows: &[DeployWindow]) -> CheckResult {
        let name = "deployment window".to_owned();
        let now = self.ports.clock.now();
        let passed = windows.is_empty() || windows.iter().any(|window| window.contains(now));
        let message = match (windows.is_empty(), passed) {
            (true, _) => "none is configured".to_owned(),
            (false, true) => "open".to_owned(),
            (false, false) => format!("no deployment window is open at {now}"),
        };
        let hint = (!passed).then(|| "wait for a window, or deploy with --skip-validation".to_owned());
        CheckResult { name, passed, message, hint }
    }

    async fn not_held(&self, environment: &EnvironmentName, version: &Version) -> Result<CheckResult> {
        let name = "not held".to_owned();
        Ok(match held(&self.db, environment, version).await? {
            None => CheckResult { name, passed: true, message: format!("{version} is not held"), hint: None },
            Some(error) => failed(name, &error),
        })
    }
}

fn failed(name: String, error: &Error) -> CheckResult {
    CheckResult {
        name,
        passed: false,
        message: error.to_string(),
        hint: error.hint_text().map(str::to_owned),
    }
}

/// The refusal of a held version; not a check that may be skipped.
pub(crate) async fn held(
    db: &Database,
    environment: &EnvironmentName,
    version: &Version,
) -> Result<Option<Error>> {
    Ok(db.find_hold(environment, version).await?.map(|hold| {
        Error::refused(
            "ORC-0114",
            format!("{version} is held in {environment} since {}: {}", hold.since, hold.reason),
        )
        .hint(format!(
            "lift the hold first: orchestrate deploy unhold {version} --env {environment} --reason TEXT"
        ))
    }))
}
