//! The HAProxy router passes the suite of all routers, in front of Debian's HAProxy; and what only HAProxy does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![allow(clippy::print_stderr, reason = "a test that failed shows the log of HAProxy")]

mod luck;
mod refusals;
mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{Placement, Router};
use orchestrate_testkit::contract::router::{Instances, RouterStage, TrafficStage};
use orchestrate_testkit::{SampleInstance, User, router_contract, traffic_contract};
use rig::Rig;

struct Haproxy {
    rig: Rig,
    running: BTreeMap<ReleaseId, Vec<SampleInstance>>,
}

#[async_trait(?Send)]
impl RouterStage for Haproxy {
    async fn new() -> Self {
        Self { rig: Rig::start().await, running: BTreeMap::new() }
    }

    fn environment(&self) -> EnvironmentName {
        rig::shop()
    }

    fn router(&self) -> Arc<dyn Router> {
        self.rig.router()
    }

    fn listen(&self) -> SocketAddr {
        self.rig.listen
    }

    async fn restart(&mut self) {
        self.rig.kill();
        self.rig.run().await;
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

impl TrafficStage for Haproxy {
    fn waiting(&self, placement: &Placement) -> usize {
        self.running[&placement.release].iter().map(SampleInstance::waiting).sum()
    }

    fn let_go(&self, placement: &Placement) {
        self.running[&placement.release].iter().for_each(SampleInstance::let_go);
    }
}

router_contract!(Haproxy);
traffic_contract!(Haproxy);
