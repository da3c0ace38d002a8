//! Watching a release that went live, until its bake is over or it shows itself bad.

mod health;
mod inspection;
pub mod judge;
mod probes;
mod so_far;
mod statistics;
mod subject;

pub use inspection::Inspection;
pub(crate) use so_far::SoFar;
pub use subject::{Marks, Subject};

use crate::database::Database;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::Result;
use crate::evidence::{Consequence, Evidence};
use crate::execute::record::tell_of_evidence;
use crate::plan::Place;
use crate::ports::Ports;
use crate::situation::known;
use crate::slot::{SlotRecord, SlotState};
use crate::time::Span;
use health::Look;

/// How a watch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad(String),
    /// It was rolled back, or another deployment took over, while it was watched.
    Overtaken,
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    pub evidence: Vec<Evidence>,
    /// Whether people were told already, while it was watched.
    pub told: bool,
}

impl Judged {
    fn overtaken() -> Self {
        Self { verdict: Verdict::Overtaken, evidence: Vec::new(), told: false }
    }

    /// Whether something was found that is to be rolled back from. Without any evidence there was another reason.
    pub fn rolls_back(evidence: &[Evidence]) -> bool {
        let leads = |one: &Evidence| one.consequence == Consequence::Rollback;
        evidence.iter().any(leads) || !evidence.iter().any(Evidence::condemns)
    }
}

impl From<Vec<Evidence>> for Judged {
    fn from(evidence: Vec<Evidence>) -> Self {
        let against: Vec<&str> =
            evidence.iter().filter(|one| one.condemns()).map(|one| one.text.as_str()).collect();
        let verdict = if against.is_empty() { Verdict::Good } else { Verdict::Bad(against.join("; ")) };
        Self { verdict, evidence, told: false }
    }
}

/// The check that every release has: whether its instances are ready.
pub(crate) const INSTANCES: &str = "instances";
/// The pause between two looks at what is live.
pub(crate) const LOOK_EVERY: Span = Span::from_millis(100);
/// The pause between two looks at the records: whether it is still what is to be watched.
pub(crate) const RECORDS_EVERY: Span = Span::from_millis(500);

/// Judges a release in its slot, whatever its share of the traffic, for so long; ends at once when it is bad. It has no
/// effects, so it may be dropped at any time.
pub async fn analyse(ports: &Ports, subject: Subject, span: Span) -> Judged {
    let until = ports.clock.running_for().plus(span);
    let mut inspection = Inspection::begin(ports, subject);
    loop {
        let against = inspection.look().await;
        if against.iter().any(|one| one.consequence == Consequence::Rollback) {
            return Judged::from(against);
        }
        if inspection.is_settled() && ports.clock.running_for() >= until {
            return inspection.end();
        }
        ports.clock.sleep(LOOK_EVERY).await;
    }
}

/// Watches the deployment's release until its bake is over.
pub async fn watch(db: &Database, ports: &Ports, deployment: &Deployment) -> Result<Judged> {
    let (now, began) = (ports.clock.now(), ports.clock.running_for());
    let subject = match standing(db, deployment).await? {
        Standing::Watched(slot) | Standing::Busy(slot) => subject(db, deployment, &slot).await?,
        Standing::Overtaken => return Ok(Judged::overtaken()),
    };
    // By the clock that does not jump, and never longer than what was asked for.
    let bake = subject.release.contents.settings.verify.bake;
    let left = deployment.bake_until.map_or(0, |until| until.millis_since(now));
    let until = began.plus(Span::from_millis(left).min(bake));
    let mut inspection = Inspection::begin(ports, subject);
    let (mut records_due, mut told) = (began, Told::of(deployment));
    let mut so_far = SoFar::of(deployment);
    loop {
        let over = inspection.is_settled() && ports.clock.running_for() >= until;
        if over || ports.clock.running_for() >= records_due {
            records_due = ports.clock.running_for().plus(RECORDS_EVERY);
            match standing(db, deployment).await? {
                Standing::Overtaken => return Ok(Judged::overtaken()),
                // Another operation may stop and start things; what it leaves is looked at afterwards.
                Standing::Busy(_) => {
                    inspection.pardon();
                    records_due = ports.clock.running_for();
                    ports.clock.sleep(LOOK_EVERY).await;
                    continue;
                }
                Standing::Watched(_) if over => return Ok(Judged { told: told.any(), ..inspection.end() }),
                Standing::Watched(_) => {}
            }
        }
        let against = inspection.look().await;
        so_far.note(db, ports, &inspection).await;
        if against.iter().any(|one| one.consequence == Consequence::Rollback) {
            match standing(db, deployment).await? {
                Standing::Overtaken => return Ok(Judged::overtaken()),
                Standing::Busy(_) => inspection.pardon(),
                Standing::Watched(_) => return Ok(Judged { told: told.any(), ..Judged::from(against) }),
            }
        } else {
            told.tell(db, ports, deployment, against).await?;
        }
        ports.clock.sleep(LOOK_EVERY).await;
    }
}

/// What is wrong with the instances at this moment, if anything is.
pub(crate) async fn unwell(ports: &Ports, subject: &Subject) -> Option<String> {
    match health::look(ports, subject).await {
        Look::Good => None,
        Look::Short(why) | Look::Bad(why) | Look::Absent(why) => Some(why),
    }
}

/// Whether a deployment is still what is to be watched.
enum Standing {
    Watched(SlotRecord),
    /// An operation is open in the environment.
    Busy(SlotRecord),
    Overtaken,
}

async fn standing(db: &Database, deployment: &Deployment) -> Result<Standing> {
    let Some(now) = db.deployment(deployment.id).await? else { return Ok(Standing::Overtaken) };
    if now.status != DeploymentStatus::InProgress || now.bake_until.is_none() {
        return Ok(Standing::Overtaken);
    }
    let slots = db.slots(&deployment.environment).await?;
    let live =
        slots.into_iter().find(|slot| slot.state == SlotState::Live && slot.release == deployment.release);
    let Some(live) = live else { return Ok(Standing::Overtaken) };
    let busy = db.lease(&deployment.environment).await?.is_some_and(|lease| lease.is_closed());
    Ok(if busy { Standing::Busy(live) } else { Standing::Watched(live) })
}

pub(crate) async fn subject(db: &Database, deployment: &Deployment, slot: &SlotRecord) -> Result<Subject> {
    let release = known(db, deployment.release).await?;
    let marks = db.marks_of_deployment(deployment.id).await?.unwrap_or_default();
    Ok(Subject {
        environment: deployment.environment.clone(),
        place: Place::of(&release, slot.slot),
        before: marks.before.clone().filter(|before| before.release != release.id),
        release,
        marks,
        since: deployment.started_at,
        known: db.checks_of_deployment(deployment.id).await?,
        share: None,
    })
}

/// What people were told while it was watched: each check that speaks against the release, once.
struct Told(Vec<Evidence>);

impl Told {
    fn of(deployment: &Deployment) -> Self {
        Self(deployment.evidence.clone())
    }

    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    async fn tell(
        &mut self,
        db: &Database,
        ports: &Ports,
        deployment: &Deployment,
        against: Vec<Evidence>,
    ) -> Result<()> {
        let known = |one: &Evidence| self.0.iter().any(|told| told.check == one.check);
        let news: Vec<Evidence> = against.into_iter().filter(|one| !known(one)).collect();
        if news.is_empty() {
            return Ok(());
        }
        self.0.extend(news);
        tell_of_evidence(db, deployment.id, &self.0, ports.clock.now()).await
    }
}

#[cfg(test)]
mod tests;
