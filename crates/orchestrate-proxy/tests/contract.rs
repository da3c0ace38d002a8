//! The built-in router passes the suite of all routers, as a real process in front of real instances.

#![allow(clippy::unwrap_used, reason = "a test")]

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{Placement, Router};
use orchestrate_proxy::BuiltinRouter;
use orchestrate_testkit::contract::router::{Instances, RouterStage, TrafficStage};
use orchestrate_testkit::{SampleInstance, User, router_contract, traffic_contract};
use rig::Rig;

struct Builtin {
    rig: Rig,
    running: BTreeMap<ReleaseId, Vec<SampleInstance>>,
}

#[async_trait(?Send)]
impl RouterStage for Builtin {
    async fn new() -> Self {
        Self { rig: Rig::start().await, running: BTreeMap::new() }
    }

    fn environment(&self) -> EnvironmentName {
        rig::shop()
    }

    fn router(&self) -> Arc<dyn Router> {
        Arc::new(BuiltinRouter::new(self.rig.socket()))
    }

    fn listen(&self) -> SocketAddr {
        self.rig.listen
    }

    async fn restart(&mut self) {
        self.rig.kill();
        self.rig.restart().await;
    }

    async fn run(&mut self, placement: &Placement, count: u32) -> Instances {
        let mut instances = Instances::new();
        for number in 1..=count {
            let sample = SampleInstance::start(placement.version.as_str()).await.unwrap();
            instances.insert(format!("{}-web-{number}", placement.slot), sample.address);
            self.running.entry(placement.release).or_default().push(sample);
        }
        instances
    }

    async fn be_well(&mut self, placement: &Placement, well: bool) {
        self.running[&placement.release].iter().for_each(|sample| sample.be_well(well));
    }

    async fn ask(&self) -> Option<String> {
        User::new(self.rig.listen).version().await
    }
}

impl TrafficStage for Builtin {
    fn waiting(&self, placement: &Placement) -> usize {
        self.running[&placement.release].iter().map(SampleInstance::waiting).sum()
    }

    fn let_go(&self, placement: &Placement) {
        self.running[&placement.release].iter().for_each(SampleInstance::let_go);
    }
}

router_contract!(Builtin);
traffic_contract!(Builtin);
