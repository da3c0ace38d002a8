//! Holds the commands of an environment against the protocol, in a slot that is used for nothing else.

mod compare;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Placement, PortErrorKind, PortResult, Processes};
use orchestrate_core::time::Span;
use tokio::time::{Instant, sleep};

use compare::{ready, same, words};

use super::answer::{self, Answer, Told};
use super::call::{Surroundings, settings};
use super::request::{Named, Request, Share, Verb, wanted};
use super::router::shares_of;
use crate::artifact::ArtifactStore;
use crate::elsewhere::turn::Turn;
use crate::spec::{RunSpec, RunSpecs};

/// One sentence of the protocol, and whether the commands keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub what: &'static str,
    /// None: it was not looked at, and `detail` says why.
    pub holds: Option<bool>,
    pub detail: String,
}

/// Looks at the commands of one release.
pub struct Conformance<'a> {
    around: Surroundings,
    spec: &'a RunSpec,
    placement: &'a Placement,
    fence: Fence,
    /// How long it may take to become ready.
    deadline: Span,
    found: Vec<Held>,
}

impl<'a> Conformance<'a> {
    /// The release is one that nobody recorded, in a slot that nobody uses.
    pub fn new(
        home: PathBuf,
        store: Arc<ArtifactStore>,
        specs: Arc<dyn RunSpecs>,
        spec: &'a RunSpec,
        placement: &'a Placement,
        fence: Fence,
    ) -> Self {
        let around = Surroundings::new(home, store, specs);
        Self { around, spec, placement, fence, deadline: spec.health_check.deadline, found: Vec::new() }
    }

    /// Runs them all. `traffic`: whether the traffic may be moved, away and back again.
    pub async fn run(mut self, traffic: bool) -> PortResult<Vec<Held>> {
        let switches = settings(self.spec)?.switches();
        let turn = self.around.turn(&self.placement.environment, self.placement.slot.as_str()).await?;
        self.before().await;
        if let Some(started) = self.starts(&turn).await {
            let ready = self.becomes_ready().await;
            self.is_told(&started).await;
            match (switches, traffic, ready) {
                (false, _, _) => self.skip(SWITCHED, "there is no `switch`: the built-in proxy routes"),
                (true, false, _) => self.skip(SWITCHED, "it moves the traffic; run it again with --yes"),
                (true, true, false) => self.skip(SWITCHED, "nothing was ready to get the traffic"),
                (true, true, true) => self.switches(&turn).await,
            }
        }
        self.stops(&turn).await;
        self.around.remove_place(self.placement).await?;
        Ok(self.found)
    }

    async fn ask(
        &self,
        verb: Verb,
        turn: Option<&Turn>,
        fill: impl FnOnce(&mut Request),
    ) -> PortResult<Answer> {
        let fence = self.fence;
        let fill = |request: &mut Request| {
            request.fence(Some(fence));
            fill(request);
        };
        self.around.ask(verb, self.spec, self.placement, turn, None, fill).await
    }

    async fn told(&self) -> PortResult<Vec<Told>> {
        Ok(self.ask(Verb::Status, None, |_| {}).await?.instances.unwrap_or_default())
    }

    fn note(&mut self, what: &'static str, result: Result<String, String>) -> bool {
        let holds = result.is_ok();
        let detail = result.unwrap_or_else(|why| why);
        self.found.push(Held { what, holds: Some(holds), detail });
        holds
    }

    fn skip(&mut self, what: &'static str, why: &str) {
        self.found.push(Held { what, holds: None, detail: why.to_owned() });
    }

    fn wanted(&self) -> Vec<Named> {
        wanted(self.spec, self.placement, Processes::All, None)
    }

    async fn before(&mut self) {
        let result = self.told().await.map_err(words).and_then(|told| match told.first() {
            None => Ok("it tells of nothing".to_owned()),
            Some(one) => Err(format!("it tells of {}, and nothing was started", one.id)),
        });
        self.note("status of what was never started is empty", result);
    }

    /// What is listed once everything was started twice.
    async fn starts(&mut self, turn: &Turn) -> Option<Vec<Told>> {
        if !self.spec.engine.custom.as_ref().is_some_and(|custom| custom.deploy.is_empty()) {
            for what in ["deploy does its work", "deploy may be repeated"] {
                let result = self.ask(Verb::Deploy, Some(turn), |_| {}).await;
                if !self.note(what, result.map(|_| String::new()).map_err(words)) {
                    return None;
                }
            }
        }
        let first = match self.start(turn).await {
            Ok(told) => told,
            Err(error) => {
                self.note("start does its work", Err(words(error)));
                return None;
            }
        };
        self.note("start does its work", Ok(format!("it tells of {} instances", first.len())));
        let again = self.start(turn).await.map_err(words).and_then(|again| same(&first, &again));
        self.note("start may be repeated and changes nothing", again);
        Some(first)
    }

    async fn start(&self, turn: &Turn) -> PortResult<Vec<Told>> {
        let everybody = self.wanted();
        let answer = self.ask(Verb::Start, Some(turn), |request| request.instances = everybody).await?;
        match answer.instances {
            Some(told) => Ok(told),
            None => self.told().await,
        }
    }

    async fn becomes_ready(&mut self) -> bool {
        let verb = if self.spec.engine.custom.as_ref().is_some_and(|custom| custom.health.is_empty()) {
            Verb::Status
        } else {
            Verb::Health
        };
        let (begun, until) = (Instant::now(), Instant::now() + self.deadline.duration());
        let result = loop {
            let everybody = self.wanted();
            let seen = self.ask(verb, None, |request| request.instances = everybody).await;
            let seen = match seen.map(|answer| answer.instances) {
                Ok(Some(told)) => ready(&told, &self.wanted()),
                Ok(None) => self.told().await.map_err(words).and_then(|told| ready(&told, &self.wanted())),
                Err(error) => Err(words(error)),
            };
            if seen.is_ok() || Instant::now() >= until {
                break seen;
            }
            sleep(self.spec.health_check.interval.duration()).await;
        };
        let took = Span::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        let result = result.map(|()| format!("after {took}"));
        self.note(
            "all instances become ready within the deadline",
            result.map_err(|why| format!("{why}, after {took}")),
        )
    }

    async fn is_told(&mut self, started: &[Told]) {
        let told = self.told().await;
        let names = told.as_ref().map_err(|error| words(error.clone())).and_then(|told| {
            let (wanted, here): (BTreeSet<String>, BTreeSet<String>) = (
                self.wanted().into_iter().map(|one| one.id).collect(),
                told.iter().map(|one| one.id.clone()).collect(),
            );
            (wanted == here)
                .then(|| here.iter().cloned().collect::<Vec<_>>().join(", "))
                .ok_or_else(|| format!("it tells of {here:?}, and {wanted:?} were to be started"))
        });
        self.note("status tells of exactly what was started", names);
        let told = told.unwrap_or_default();
        let facts = answer::instances(
            told.clone(),
            self.spec,
            self.placement,
            orchestrate_core::time::Timestamp::system_now(),
            "status",
        );
        let other = answer::of_another_version(&told, self.placement);
        let facts = facts
            .map_err(words)
            .and_then(|_| other.first().map_or(Ok(String::new()), |other| Err(other.clone())));
        self.note("instances are of this release", facts);
        self.has_addresses(&told);
        self.other_slot(started).await;
    }

    fn has_addresses(&mut self, told: &[Told]) {
        let what = "instances that get traffic say where they listen";
        if self.spec.engine.custom.as_ref().is_some_and(orchestrate_core::environment::Custom::switches) {
            return self.skip(what, "`switch` moves the traffic, so nobody asks them here");
        }
        let routed =
            |one: &&Told| self.spec.processes.get(&one.process).is_some_and(|kind| kind.listen.is_some());
        let silent = told.iter().filter(routed).find(|one| one.address.is_none());
        let result = silent.map_or(Ok(String::new()), |one| Err(format!("{} has no `address`", one.id)));
        self.note(what, result);
    }

    async fn other_slot(&mut self, started: &[Told]) {
        let other = Placement { slot: self.placement.slot.other(), ..self.placement.clone() };
        let fence = self.fence;
        let told = self
            .around
            .ask(Verb::Status, self.spec, &other, None, None, |request| request.fence(Some(fence)))
            .await;
        let result = told.map_err(words).and_then(|answer| {
            let told = answer.instances.unwrap_or_default();
            let ours = told.iter().find(|one| started.iter().any(|started| started.id == one.id));
            ours.map_or(Ok(String::new()), |one| Err(format!("{} is told of there as well", one.id)))
        });
        self.note("status of the other slot does not tell of it", result);
        let _ = self.around.remove_place(&other).await;
    }

    async fn switches(&mut self, turn: &Turn) {
        let before = self.weight().await;
        let zero =
            before.and_then(|weight| (weight == 0).then(String::new).ok_or_else(|| format!("{weight} %")));
        if !self.note("what was never switched to has no traffic", zero) {
            return;
        }
        let back = match shares_of(&self.around, &self.placement.environment).await {
            Ok(back) => back,
            Err(error) => {
                self.note(
                    SWITCHED,
                    Err(format!("who has the traffic now is not known, so it stays: {error}")),
                );
                return;
            }
        };
        let ours = Share {
            slot: self.placement.slot.as_str(),
            release: self.placement.release.0,
            version: self.placement.version.to_string(),
            weight: 100,
            instances: self.wanted(),
        };
        let there = self.give(turn, vec![ours], 100).await;
        self.note(SWITCHED, there);
        let names: Vec<String> =
            back.iter().map(|share| format!("{} % to {}", share.weight, share.version)).collect();
        let names = if names.is_empty() { "to nobody, as before".to_owned() } else { names.join(", ") };
        let gone = self.give(turn, back, 0).await.map(|()| names);
        self.note("switch back takes all traffic from it", gone);
    }

    async fn give<T: Default>(&self, turn: &Turn, shares: Vec<Share>, weight: u8) -> Result<T, String> {
        self.ask(Verb::Switch, Some(turn), |request| request.traffic = Some(shares)).await.map_err(words)?;
        let seen = self.weight().await?;
        (seen == weight).then(T::default).ok_or_else(|| format!("status says {seen} % then, not {weight} %"))
    }

    async fn weight(&self) -> Result<u8, String> {
        let answer = self.ask(Verb::Status, None, |_| {}).await.map_err(words)?;
        answer
            .weight
            .ok_or_else(|| "status gives no `weight`, and so does not say who has the traffic".to_owned())
    }

    async fn stops(&mut self, turn: &Turn) {
        for what in ["stop does its work", "stop may be repeated"] {
            let result = self.stop(turn, self.fence).await;
            self.note(what, result.map(|_| String::new()).map_err(words));
        }
        let left = self.told().await.map_err(words).and_then(|told| match told.first() {
            None => Ok(String::new()),
            Some(one) => Err(format!("{} is still told of", one.id)),
        });
        self.note("nothing is left after a stop", left);
        let older = self.stop(turn, Fence(self.fence.0 - 1)).await;
        let older = match older {
            Ok(_) => {
                Ok("it leaves that to orchestrate, which refuses older fences before it asks".to_owned())
            }
            Err(error) if error.kind == PortErrorKind::Fenced => Ok("it refuses it too".to_owned()),
            Err(error) => Err(words(error)),
        };
        self.note("an older fence is let pass, or refused as `fenced`", older);
    }

    async fn stop(&self, turn: &Turn, fence: Fence) -> PortResult<Answer> {
        let everybody = self.wanted();
        let fill = |request: &mut Request| {
            request.fence(Some(fence));
            request.instances = everybody;
            request.all = true;
        };
        self.ask(Verb::Stop, Some(turn), fill).await
    }
}

const SWITCHED: &str = "switch gives it all traffic";
