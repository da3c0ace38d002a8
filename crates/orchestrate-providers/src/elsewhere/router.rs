//! A router over something that is not ours: what it was told of is kept in the book, who has the traffic is always asked
//! of what moves it.

mod proof;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    BackendView, Close, Deregister, Drain, Drained, Placement, PortError, PortErrorKind, PortResult, Proof,
    Prove, Register, ReleaseCounts, Router, RouterView, SlotView, Switch,
};
use orchestrate_core::traffic::Shift;
use tokio::time::{Instant, sleep};

use super::book::{Book, Entry, Route};
use super::turn::Turn;
use super::web::Web;
use crate::spec::{RunSpec, RunSpecs};

/// How often it is asked whether the last request has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What moves the traffic.
#[async_trait]
pub trait Means: Send + Sync {
    /// What it says of a release that was registered.
    async fn look(&self, route: &Route, spec: &RunSpec) -> PortResult<Look>;
    /// Gives these their shares in percent, and nobody else anything; `asked` is whose settings say how.
    async fn give(
        &self,
        turn: &Turn,
        asked: &Placement,
        spec: &RunSpec,
        shares: &[(&Route, u8)],
    ) -> PortResult<()>;
    /// Where users reach the service.
    fn url<'a>(&self, spec: &'a RunSpec) -> Option<&'a str>;
}

/// One release as the means sees it.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub weight: u8,
    pub in_flight: u64,
    /// How many instances of each process type are ready.
    pub ready: BTreeMap<String, u32>,
    /// Whether the traffic can be shared.
    pub shares: bool,
}

pub struct Elsewhere<M> {
    pub(crate) book: Book,
    /// Where the locks are.
    pub(crate) directory: PathBuf,
    pub(crate) specs: Arc<dyn RunSpecs>,
    pub(crate) means: M,
    pub(crate) web: Web,
}

impl<M: Means> Elsewhere<M> {
    /// Our turn, and the book under a fence that is not older than the newest one.
    async fn enter(&self, environment: &EnvironmentName, fence: Fence) -> PortResult<(Turn, Entry)> {
        let turn = Turn::take(self.directory.join(environment.as_str()).join("switch.lock")).await?;
        Ok((turn, self.entry(environment, fence).await?))
    }

    async fn entry(&self, environment: &EnvironmentName, fence: Fence) -> PortResult<Entry> {
        self.book.update(environment, fence, |entry| Ok(entry.clone())).await
    }

    async fn look(&self, route: &Route) -> PortResult<(Look, RunSpec)> {
        let spec = self.specs.run_spec(route.placement.release).await?;
        Ok((self.means.look(route, &spec).await?, spec))
    }

    async fn refuse_with_traffic(&self, route: &Route, what: &str) -> PortResult<()> {
        match self.look(route).await?.0.weight {
            0 => Ok(()),
            weight => Err(PortError::failed(format!(
                "{} has {weight} % of the traffic of {}, and is not {what}",
                route.placement.version, route.placement.environment
            ))),
        }
    }

    async fn change(
        &self,
        environment: &EnvironmentName,
        fence: Fence,
        change: impl FnOnce(&mut Entry) + Send + 'static,
    ) -> PortResult<()> {
        self.book
            .update(environment, fence, |entry| {
                change(entry);
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl<M: Means> Router for Elsewhere<M> {
    async fn register(&self, request: &Register) -> PortResult<()> {
        let placement = request.placement.clone();
        let (_turn, entry) = self.enter(&placement.environment, request.fence).await?;
        for other in entry.routes.iter().filter(|route| route.placement.slot == placement.slot) {
            if other.placement != placement {
                self.refuse_with_traffic(other, "replaced in its slot").await?;
            }
        }
        let route = Route { placement: placement.clone(), backends: request.backends.clone() };
        self.change(&placement.environment, request.fence, move |entry| {
            entry.routes.retain(|old| old.placement.slot != route.placement.slot);
            entry.routes.push(route);
        })
        .await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        let placement = &request.placement;
        let (turn, entry) = self.enter(&placement.environment, request.fence).await?;
        let route = known(&entry, placement)?;
        let (look, spec) = self.look(route).await?;
        refuse_too_few(placement, &look, &request.needs)?;
        self.means.give(&turn, placement, &spec, &[(route, 100)]).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        let placement = &request.placement;
        let (turn, entry) = self.enter(&placement.environment, request.fence).await?;
        let (route, rest) = (known(&entry, placement)?, known(&entry, &request.rest)?);
        let (look, spec) = self.look(route).await?;
        if request.weight > 0 {
            refuse_too_few(placement, &look, &request.needs)?;
        }
        let shares = match request.weight {
            0 => {
                let spec = self.specs.run_spec(rest.placement.release).await?;
                return self.means.give(&turn, &rest.placement, &spec, &[(rest, 100)]).await;
            }
            100.. => vec![(route, 100)],
            weight if look.shares => vec![(route, weight), (rest, 100 - weight)],
            weight => {
                return Err(PortError::failed(format!(
                    "what routes in {} cannot give {weight} % of the traffic to {}: it moves all of it or none",
                    placement.environment, placement.version
                ))
                .detail("use the strategy blue_green or recreate"));
            }
        };
        self.means.give(&turn, placement, &spec, &shares).await
    }

    /// Whatever moves the traffic has said that it did.
    async fn persisted(&self) -> PortResult<()> {
        Ok(())
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        let entry = self.book.entry(environment).await?;
        let mut slots = Vec::new();
        for route in &entry.routes {
            slots.push(seen(route, self.look(route).await?.0));
        }
        slots.sort_by_key(|slot| slot.slot.as_str());
        Ok(RouterView { fence: entry.fence, slots })
    }

    /// Answers do not pass by us.
    async fn counts(&self, _: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        Ok(Vec::new())
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        proof::prove(self, request).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        let placement = &request.placement;
        let deadline = Instant::now() + request.deadline.duration();
        let entry = self.entry(&placement.environment, request.fence).await?;
        let Ok(route) = known(&entry, placement) else { return Ok(Drained { cut: 0 }) };
        self.refuse_with_traffic(route, "drained").await?;
        loop {
            let cut = self.look(route).await?.0.in_flight;
            if cut == 0 || Instant::now() >= deadline {
                return Ok(Drained { cut });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        let (_turn, entry) = self.enter(&request.environment, request.fence).await?;
        let (slot, release) = (request.slot, request.release);
        let meant = move |route: &Route| route.placement.slot == slot && route.placement.release == release;
        let Some(route) = entry.routes.iter().find(|route| meant(route)) else { return Ok(()) };
        self.refuse_with_traffic(route, "forgotten").await?;
        let forget = move |entry: &mut Entry| entry.routes.retain(|route| !meant(route));
        self.change(&request.environment, request.fence, forget).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        let (turn, entry) = self.enter(&request.environment, request.fence).await?;
        if let Some(route) = entry.routes.first() {
            let spec = self.specs.run_spec(route.placement.release).await?;
            self.means.give(&turn, &route.placement, &spec, &[]).await?;
        }
        self.change(&request.environment, request.fence, |entry| entry.routes.clear()).await
    }
}

fn known<'a>(entry: &'a Entry, placement: &Placement) -> PortResult<&'a Route> {
    entry.routes.iter().find(|route| route.placement == *placement).ok_or_else(|| {
        PortError::new(
            PortErrorKind::Missing,
            format!(
                "{} is not registered in {} of {}",
                placement.version, placement.slot, placement.environment
            ),
        )
    })
}

fn refuse_too_few(placement: &Placement, look: &Look, needs: &BTreeMap<String, u32>) -> PortResult<()> {
    for (process, needed) in needs {
        let ready = look.ready.get(process).copied().unwrap_or(0);
        if ready < *needed {
            return Err(PortError::new(
                PortErrorKind::NotReady,
                format!("only {ready} of {needed} instances of {process} of {} are ready", placement.version),
            ));
        }
    }
    Ok(())
}

fn seen(route: &Route, look: Look) -> SlotView {
    let backend = |backend: &orchestrate_core::ports::Backend| BackendView {
        process: backend.process.clone(),
        listen: backend.listen,
        instances: u32::try_from(backend.instances.len()).unwrap_or(u32::MAX),
        healthy: look.ready.get(&backend.process).copied().unwrap_or(0),
        addresses: Vec::new(),
    };
    SlotView {
        slot: route.placement.slot,
        release: route.placement.release,
        version: route.placement.version.clone(),
        weight: look.weight,
        in_flight: look.in_flight,
        backends: route.backends.iter().map(backend).collect(),
    }
}
