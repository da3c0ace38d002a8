//! What is judged, and where the router's counts stood when it began.

use serde::{Deserialize, Serialize};

use super::judge::Traffic;
use crate::evidence::Evidence;
use crate::name::{EnvironmentName, ReleaseId};
use crate::plan::Place;
use crate::ports::{Placement, Ports, ReleaseCounts, Tally};
use crate::release::Release;
use crate::rollout::Rollout;
use crate::slot::Slot;
use crate::time::Timestamp;

/// A release in a slot, whatever its share of the traffic, beside the one before it.
#[derive(Clone, Debug)]
pub struct Subject {
    pub environment: EnvironmentName,
    pub release: Release,
    pub place: Place,
    /// The release before it, where there is one.
    pub before: Option<Placement>,
    /// Where the counts stood before it got its traffic.
    pub marks: Marks,
    /// When the deployment began: what was wrong before that is not its fault.
    pub since: Timestamp,
    /// What an earlier watch of the same had seen already.
    pub known: Vec<Evidence>,
    /// Its share of the traffic in percent, while it is being rolled out; none: it is live and bakes.
    pub share: Option<u8>,
}

/// Where the counts of two releases stood at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The release that had the traffic then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Placement>,
    #[serde(default)]
    pub counts: Vec<ReleaseCounts>,
}

impl Marks {
    /// Reads them now. A router that does not answer only means that there is nothing to compare with.
    pub async fn take(
        ports: &Ports,
        environment: &EnvironmentName,
        release: ReleaseId,
        before: Option<Placement>,
    ) -> Self {
        let mut counts = ports.router.counts(environment).await.unwrap_or_default();
        counts.retain(|row| {
            row.release == release || before.as_ref().is_some_and(|before| row.release == before.release)
        });
        Self { before, counts }
    }

    fn of(&self, slot: Slot, release: ReleaseId) -> Option<&Tally> {
        tally(&self.counts, slot, release)
    }
}

fn tally(counts: &[ReleaseCounts], slot: Slot, release: ReleaseId) -> Option<&Tally> {
    counts.iter().find(|row| row.slot == slot && row.release == release).map(|row| &row.tally)
}

impl Subject {
    /// What waits for traffic beside what is live.
    pub fn staged(rollout: &Rollout, release: Release) -> Self {
        Self {
            environment: rollout.environment.clone(),
            release,
            place: rollout.place(),
            before: None,
            marks: Marks::default(),
            since: rollout.since,
            known: Vec::new(),
            share: Some(rollout.weight),
        }
    }

    /// When it showed what it showed, to end a sentence with.
    pub(super) fn during(&self) -> String {
        match self.share {
            None => "within its bake".to_owned(),
            Some(0) => "while it was staged".to_owned(),
            Some(share) => format!("at {share} % of the traffic"),
        }
    }

    pub fn placement(&self) -> Placement {
        self.place.placement(&self.environment)
    }

    /// What it answered since the marks, beside the release before: over the same time, else over all its life.
    pub(super) fn traffic(&self, counts: &[ReleaseCounts]) -> Traffic {
        let since = |slot: Slot, release: ReleaseId| {
            let now = tally(counts, slot, release)?;
            Some(self.marks.of(slot, release).map_or_else(|| now.clone(), |mark| now.since(mark)))
        };
        let before = self.before.as_ref().and_then(|before| {
            let recent = since(before.slot, before.release)?;
            let enough = recent.requests >= self.release.contents.settings.verify.minimum_requests();
            if enough { Some(recent) } else { tally(counts, before.slot, before.release).cloned() }
        });
        let release = since(self.place.slot, self.release.id).unwrap_or_default();
        Traffic { release, before }
    }
}
