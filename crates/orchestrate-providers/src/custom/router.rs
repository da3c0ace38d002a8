//! The router over `switch` and `status`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{InstanceState, Placement, PortError, PortResult};

use super::call::{Surroundings, settings, who};
use super::request::{Named, Share, Verb};
use crate::artifact::ArtifactStore;
use crate::elsewhere::book::Route;
use crate::elsewhere::router::{Elsewhere, Look, Means};
use crate::elsewhere::turn::Turn;
use crate::spec::{RunSpec, RunSpecs};

/// Traffic that commands of the user's move.
pub type CustomRouter = Elsewhere<Commands>;

pub struct Commands {
    around: Surroundings,
}

impl CustomRouter {
    /// Touches nothing until it is used. Every program of a home may have one.
    pub fn new(home: PathBuf, store: Arc<ArtifactStore>, specs: Arc<dyn RunSpecs>) -> Self {
        let around = Surroundings::new(home, store, Arc::clone(&specs));
        Self {
            book: around.book.clone(),
            directory: around.home.join("custom"),
            specs,
            means: Commands { around },
            web: Default::default(),
        }
    }
}

#[async_trait]
impl Means for Commands {
    async fn look(&self, route: &Route, spec: &RunSpec) -> PortResult<Look> {
        let placement = &route.placement;
        let fill = |request: &mut super::request::Request| request.instances = named(route);
        let answer = self.around.ask(Verb::Status, spec, placement, None, None, fill).await?;
        let Some(weight) = answer.weight else {
            let who = who(Verb::Status, Verb::Status.command(settings(spec)?), placement);
            return Err(PortError::failed(format!(
                "{who} gave no `weight`, and so does not say who has the traffic"
            )));
        };
        let mut ready = BTreeMap::new();
        for one in answer.instances.unwrap_or_default() {
            if one.state == InstanceState::Ready {
                *ready.entry(one.process).or_default() += 1;
            }
        }
        Ok(Look { weight, in_flight: answer.in_flight.unwrap_or(0), ready, shares: answer.weights })
    }

    async fn give(
        &self,
        turn: &Turn,
        asked: &Placement,
        spec: &RunSpec,
        shares: &[(&Route, u8)],
    ) -> PortResult<()> {
        let traffic = shares.iter().map(|(route, weight)| share(route, *weight)).collect();
        let fill = |request: &mut super::request::Request| request.traffic = Some(traffic);
        self.around.ask(Verb::Switch, spec, asked, Some(turn), None, fill).await.map(drop)
    }

    fn url<'a>(&self, spec: &'a RunSpec) -> Option<&'a str> {
        spec.engine.custom.as_ref()?.url.as_deref()
    }
}

/// Who has traffic now, as the commands say it.
pub async fn shares_of(around: &Surroundings, environment: &EnvironmentName) -> PortResult<Vec<Share>> {
    let mut shares = Vec::new();
    for route in around.book.entry(environment).await?.routes {
        let spec = around.spec(route.placement.release).await?;
        let fill = |request: &mut super::request::Request| request.instances = named(&route);
        let answer = around.ask(Verb::Status, &spec, &route.placement, None, None, fill).await?;
        if let Some(weight) = answer.weight.filter(|weight| *weight > 0) {
            shares.push(share(&route, weight));
        }
    }
    Ok(shares)
}

fn share(route: &Route, weight: u8) -> Share {
    Share {
        slot: route.placement.slot.as_str(),
        release: route.placement.release.0,
        version: route.placement.version.to_string(),
        weight,
        instances: named(route),
    }
}

fn named(route: &Route) -> Vec<Named> {
    let of = |backend: &orchestrate_core::ports::Backend| {
        let process = backend.process.clone();
        let named = |(id, address): (&String, &std::net::SocketAddr)| Named {
            id: id.clone(),
            process: process.clone(),
            address: Some(*address),
        };
        backend.instances.iter().map(named).collect::<Vec<_>>()
    };
    route.backends.iter().flat_map(of).collect()
}
