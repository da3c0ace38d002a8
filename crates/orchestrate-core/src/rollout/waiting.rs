//! What is found of a release while it waits without traffic: on record as it changes, and told once for each check.

use crate::database::Database;
use crate::deployment::Deployment;
use crate::error::Result;
use crate::evidence::{Consequence, Evidence, Finding};
use crate::execute::record::record_waiting;
use crate::name::DeploymentId;
use crate::ports::Ports;

/// What is on record of it.
pub(super) struct Waiting {
    deployment: DeploymentId,
    recorded: Vec<Evidence>,
}

impl Waiting {
    pub fn of(deployment: &Deployment) -> Self {
        Self { deployment: deployment.id, recorded: deployment.evidence.clone() }
    }

    /// Takes what speaks against it at this moment; what does not any more, is well again.
    pub async fn note(&mut self, db: &Database, ports: &Ports, against: Vec<Evidence>) -> Result<()> {
        let told = |one: &Evidence| Evidence { consequence: Consequence::Notify, ..one.clone() };
        let mut now: Vec<Evidence> = against.iter().map(told).collect();
        let gone = self.recorded.iter().filter(|known| !now.iter().any(|one| one.check == known.check));
        let gone: Vec<Evidence> = gone.map(well_again).collect();
        now.extend(gone);
        now.sort_by(|one, other| one.check.cmp(&other.check));
        if now.iter().map(kind).eq(self.recorded.iter().map(kind)) {
            return Ok(());
        }
        let is_new = |one: &Evidence| !self.recorded.iter().any(|known| known.check == one.check);
        let news = now.iter().any(is_new);
        record_waiting(db, self.deployment, &now, news, ports.clock.now()).await?;
        self.recorded = now;
        Ok(())
    }
}

/// What counts as a change; the words may differ from look to look.
fn kind(one: &Evidence) -> (&str, Finding) {
    (&one.check, one.finding)
}

fn well_again(known: &Evidence) -> Evidence {
    Evidence::new(known.check.clone(), Finding::Good, Consequence::None, "it is well again")
}
