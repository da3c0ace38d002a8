//! Which releases an environment keeps. Pure: facts in, a verdict for each release out.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::environment::Retention;
use crate::name::ReleaseId;
use crate::release::Release;
use crate::time::{Span, Timestamp};

/// A release that was sealed so shortly ago may be about to be deployed.
const BEING_SEALED: Span = Span::from_secs(60 * 60);

/// Everything that the verdicts depend on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// All that are not pruned yet.
    pub releases: Vec<Release>,
    pub live: Option<ReleaseId>,
    /// What is in a slot: warm, or on its way in or out.
    pub in_slots: BTreeSet<ReleaseId>,
    pub current: Option<ReleaseId>,
    /// What a rollback without a version would go to.
    pub previous: Option<ReleaseId>,
    /// Where `--undo` would go.
    pub undo: Option<ReleaseId>,
    /// Those with evidence of why they were bad.
    pub with_evidence: BTreeSet<ReleaseId>,
    pub now: Timestamp,
}

/// Why a release is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    Live,
    InSlot,
    Current,
    Previous,
    Undo,
    /// It is held, and what speaks against it was recorded: somebody may want to look at it.
    Evidence,
    /// Among the newest proven ones.
    Newest,
    /// Younger than `max_age`.
    Young,
    BeingSealed,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "is live",
            Self::InSlot => "still runs",
            Self::Current => "is what the current deployment is of",
            Self::Previous => "is what a rollback goes to",
            Self::Undo => "is where --undo goes to",
            Self::Evidence => "is held, with evidence",
            Self::Newest => "is among the newest proven ones",
            Self::Young => "is younger than max_age",
            Self::BeingSealed => "was sealed just now",
        })
    }
}

/// One release, and why it is kept; none: it may go.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub release: Release,
    pub kept: Option<Kept>,
}

/// The newest in lineage first; those that never were live last.
pub fn verdicts(facts: &Facts, retention: &Retention) -> Vec<Verdict> {
    let mut releases = facts.releases.clone();
    releases.sort_by_key(|release| std::cmp::Reverse((release.lineage, release.id)));
    let proven = releases.iter().filter(|release| release.lineage.is_some() && release.proven_at.is_some());
    let keep = usize::try_from(retention.keep).unwrap_or(usize::MAX);
    let newest: BTreeSet<ReleaseId> = proven.map(|release| release.id).take(keep).collect();
    let verdict = |release: Release| {
        let kept = why_kept(facts, retention, &newest, &release);
        Verdict { release, kept }
    };
    releases.into_iter().map(verdict).collect()
}

fn why_kept(
    facts: &Facts,
    retention: &Retention,
    newest: &BTreeSet<ReleaseId>,
    release: &Release,
) -> Option<Kept> {
    let id = release.id;
    let age = |since: Timestamp| facts.now.millis_since(since);
    let last = release.proven_at.map_or(release.sealed_at, |proven| proven.max(release.sealed_at));
    let never_live = release.lineage.is_none();
    let reasons = [
        (facts.live == Some(id), Kept::Live),
        (facts.in_slots.contains(&id), Kept::InSlot),
        (facts.current == Some(id), Kept::Current),
        (facts.previous == Some(id), Kept::Previous),
        (facts.undo == Some(id), Kept::Undo),
        (release.hold.is_some() && facts.with_evidence.contains(&id), Kept::Evidence),
        (newest.contains(&id), Kept::Newest),
        (never_live && age(release.sealed_at) < BEING_SEALED.as_millis(), Kept::BeingSealed),
        (retention.max_age.is_some_and(|most| age(last) < most.as_millis()), Kept::Young),
    ];
    reasons.into_iter().find_map(|(holds, kept)| holds.then_some(kept))
}
