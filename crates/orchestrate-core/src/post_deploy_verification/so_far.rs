//! What the checks say while a release is watched, on record for whoever looks and for the watch after a restart.

use super::Inspection;
use crate::database::Database;
use crate::deployment::Deployment;
use crate::evidence::{Evidence, Finding};
use crate::name::DeploymentId;
use crate::ports::Ports;
use crate::time::Span;

/// Numbers that move on without another finding are recorded this often.
const EVERY: Span = Span::from_secs(5);

pub(crate) struct SoFar {
    deployment: DeploymentId,
    recorded: Vec<Evidence>,
    due: Span,
}

impl SoFar {
    pub fn of(deployment: &Deployment) -> Self {
        Self { deployment: deployment.id, recorded: Vec::new(), due: Span::default() }
    }

    /// The verdict does not rest on it, so a database that cannot be written to ends no watch.
    pub async fn note(&mut self, db: &Database, ports: &Ports, inspection: &Inspection) {
        let (seen, now) = (inspection.so_far(), ports.clock.running_for());
        let is_news = !seen.iter().map(kind).eq(self.recorded.iter().map(kind));
        if seen == self.recorded || (!is_news && now < self.due) {
            return;
        }
        self.due = now.plus(EVERY);
        match db.record_checks(self.deployment, &seen).await {
            Ok(()) => self.recorded = seen,
            Err(error) => tracing::warn!("what the checks say is not on record: {}", error.full_message()),
        }
    }
}

fn kind(one: &Evidence) -> (&str, Finding) {
    (&one.check, one.finding)
}
