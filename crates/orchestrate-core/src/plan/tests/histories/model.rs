//! The history of an environment in plain words, without a database, slots or steps.

use std::collections::BTreeMap;

use super::{Deed, End};
use crate::plan::previous::Asker;
use crate::release::{Hold, Release};

pub(super) fn name(number: u8) -> String {
    format!("1.{number}")
}

#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub version: u8,
    pub content: u8,
    pub lineage: Option<i64>,
    pub proven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Stands,
    RolledBack,
    Passed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub release: usize,
    pub was_live: Option<usize>,
    pub mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub release: usize,
    pub attempt: usize,
}

/// A rollback, with what an undo of it restores.
#[derive(Clone, Debug)]
struct Step {
    at: usize,
    left: Option<Live>,
    target: usize,
    traffic: bool,
    marks: Vec<Mark>,
    undone: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub rolled_back: usize,
    pub to: usize,
    pub traffic: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub releases: Vec<Sealed>,
    attempts: Vec<Attempt>,
    pub live: Option<Live>,
    /// Who set each hold: a rollback, by its index, or a person.
    holds: BTreeMap<u8, Option<usize>>,
    steps: Vec<Step>,
    now: usize,
}

impl Life {
    /// What happens; none if it is refused. Of deployments, holds and undos, what moved is not told.
    pub fn act(&mut self, deed: Deed) -> Option<Moved> {
        self.now += 1;
        let nothing = Moved { rolled_back: 0, to: 0, traffic: false };
        match deed {
            Deed::Deploy { version, content, end } => self.deploy(version, content, end).then_some(nothing),
            Deed::Back(asker) => self.previous(asker).and_then(|target| self.go(target)),
            Deed::BackTo(version) => {
                let known = (0..self.releases.len()).filter(|index| self.releases[*index].version == version);
                let target = known.filter(|index| self.releases[*index].lineage.is_some());
                target.max_by_key(|index| self.releases[*index].lineage).and_then(|target| self.go(target))
            }
            Deed::Undo => self.undo().then_some(nothing),
            Deed::Hold(version) => {
                let free = !self.is_held(version);
                self.holds.entry(version).or_insert(None);
                free.then_some(nothing)
            }
            Deed::Unhold(version) => self.holds.remove(&version).map(|_| nothing),
        }
    }

    /// A bad deployment of what serves already is no deployment: nothing of it is started.
    pub fn is_senseless(&self, deed: Deed) -> bool {
        let Deed::Deploy { version, content, end } = deed else { return false };
        let lives = self.live.map(|live| &self.releases[live.release]);
        end != End::Good && lives.is_some_and(|live| live.version == version)
            || lives.is_some_and(|live| live.version == version && live.content != content)
    }

    pub fn is_held(&self, version: u8) -> bool {
        self.holds.contains_key(&version)
    }

    pub fn current_index(&self) -> Option<usize> {
        (0..self.attempts.len()).rev().find(|index| self.attempts[*index].mark == Mark::Stands)
    }

    pub fn current(&self) -> Option<Attempt> {
        self.current_index().map(|index| self.attempts[index])
    }

    pub fn marks(&self) -> Vec<Mark> {
        self.attempts.iter().map(|attempt| attempt.mark).collect()
    }

    /// The contract, word for word.
    pub fn previous(&self, asker: Asker) -> Option<usize> {
        let current = self.current()?;
        if let (None, Some(live)) = (current.was_live, self.live) {
            return Some(live.release);
        }
        let of = &self.releases[current.release];
        let mut best: Option<usize> = None;
        for (index, release) in self.releases.iter().enumerate() {
            let Some(lineage) = release.lineage else { continue };
            let older = of.lineage.is_none_or(|place| lineage < place);
            let equal = of.lineage.is_some() && release.content == of.content;
            let passed = asker == Asker::Automatic && !self.stands(index);
            if release.proven && older && !equal && !passed && !self.is_held(release.version) {
                let newest = best.is_none_or(|best| self.releases[best].lineage < Some(lineage));
                best = if newest { Some(index) } else { best };
            }
        }
        best
    }

    fn stands(&self, release: usize) -> bool {
        let standing = |attempt: &&Attempt| attempt.was_live.is_some() && attempt.mark == Mark::Stands;
        self.attempts.iter().filter(standing).any(|attempt| attempt.release == release)
    }

    fn deploy(&mut self, version: u8, content: u8, end: End) -> bool {
        if self.is_held(version) {
            return false;
        }
        let same = |sealed: &Sealed| sealed.version == version && sealed.content == content;
        let release = self.releases.iter().position(same).unwrap_or_else(|| {
            self.releases.push(Sealed { version, content, lineage: None, proven: false });
            self.releases.len() - 1
        });
        let was_live = (end != End::NeverLive).then_some(self.now);
        self.attempts.push(Attempt { release, was_live, mark: Mark::Stands });
        if was_live.is_some() {
            let next = self.releases.iter().filter_map(|sealed| sealed.lineage).max().unwrap_or(0) + 1;
            let sealed = &mut self.releases[release];
            sealed.lineage.get_or_insert(next);
            sealed.proven |= end == End::Good;
            self.live = Some(Live { release, attempt: self.attempts.len() - 1 });
        }
        true
    }

    fn go(&mut self, target: usize) -> Option<Moved> {
        let index = self.current_index()?;
        let (left, marks) = (self.live, self.marks());
        let serves = left.filter(|live| live.release == target);
        let reached = match serves {
            Some(live) => live.attempt,
            None => (0..self.attempts.len())
                .rev()
                .find(|at| self.attempts[*at].release == target && self.attempts[*at].was_live.is_some())?,
        };
        if index != reached {
            self.attempts[index].mark = Mark::RolledBack;
        }
        self.attempts[reached].mark = Mark::Stands;
        self.pass_after(reached);
        self.live = Some(Live { release: target, attempt: reached });
        let (rolled_back, traffic) = (self.attempts[index].release, serves.is_none());
        let (from, to) = (self.releases[rolled_back].version, self.releases[target].version);
        if from != to {
            self.holds.entry(from).or_insert(Some(self.steps.len()));
        }
        self.steps.push(Step { at: self.now, left, target, traffic, marks, undone: false });
        Some(Moved { rolled_back, to: target, traffic })
    }

    fn pass_after(&mut self, index: usize) {
        for attempt in &mut self.attempts[index + 1..] {
            if attempt.mark == Mark::Stands {
                attempt.mark = Mark::Passed;
            }
        }
    }

    fn undo(&mut self) -> bool {
        let Some(newest) = (0..self.steps.len()).rev().find(|index| !self.steps[*index].undone) else {
            return false;
        };
        let step = self.steps[newest].clone();
        let stays = self.live.is_some_and(|live| live.release == step.target);
        let deployed = self.current().and_then(|current| current.was_live).is_some_and(|at| at > step.at);
        let Some(left) = step.left.filter(|_| step.traffic && stays && !deployed) else { return false };
        self.steps[newest].undone = true;
        self.live = Some(left);
        for (index, attempt) in self.attempts.iter_mut().enumerate() {
            attempt.mark = match (step.marks.get(index), attempt.mark) {
                (Some(mark), _) => *mark,
                (None, Mark::Stands) => Mark::Passed,
                (None, mark) => mark,
            };
        }
        self.holds.retain(|_, by| *by != Some(newest));
        true
    }

    /// As the rest of the program knows releases.
    pub fn as_releases(&self) -> Vec<Release> {
        let known = self.releases.iter().enumerate();
        known
            .map(|(index, sealed)| {
                let drawn = super::super::Drawn {
                    was_live: true,
                    proven: sealed.proven,
                    held: false,
                    content: sealed.content,
                };
                let release = super::super::release(index as i64 + 1, sealed.lineage, drawn);
                let since = release.sealed_at;
                let held = Hold { reason: "no".into(), since, actor: "ada".into() };
                let hold = self.is_held(sealed.version).then_some(held);
                Release { hold, stands: self.stands(index), ..release }
            })
            .collect()
    }
}
