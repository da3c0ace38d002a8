//! The fakes of core's tests pass the suites that real providers and routers pass.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::environment::{EnvironmentSettings, ProcessType};
use orchestrate_core::fakes::World;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    Instance, InstanceState, Placement, Processes, Provider, Router, StartRequest,
};
use orchestrate_core::release::{Artifact, Contents, Digest, Release};
use orchestrate_core::time::Timestamp;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage, Sample};
use orchestrate_testkit::contract::router::{Instances, RouterStage};
use orchestrate_testkit::{provider_contract, router_contract};

struct Fakes(World);

fn environment() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

impl Fakes {
    fn know(&self, placement: &Placement, web: u32, work: u32) -> Digest {
        let process = |instances, listen| ProcessType {
            command: vec!["./serve".into()],
            instances,
            listen,
            confinement: Default::default(),
        };
        let types = [("web", process(web, Some(listen()))), ("work", process(work, None))];
        let digest = Digest::of(placement.version.as_str().as_bytes());
        let contents = Contents {
            artifact: Artifact {
                digest: digest.clone(),
                origin: "a test".into(),
                size: 1,
                commit: None,
                committed_at: None,
                signed_by: None,
                image: None,
            },
            processes: types.into_iter().map(|(name, process)| (name.to_owned(), process)).collect(),
            settings: EnvironmentSettings::default().sealed(),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            data: Default::default(),
            hooks: Default::default(),
        };
        self.0.know(Release {
            id: placement.release,
            environment: placement.environment.clone(),
            version: placement.version.clone(),
            content_digest: contents.digest(),
            contents,
            sealed_at: Timestamp::from_millis(0),
            lineage: None,
            proven_at: None,
            hold: None,
            stands: true,
            pruned_at: None,
        });
        digest
    }
}

#[async_trait(?Send)]
impl ProviderStage for Fakes {
    async fn new() -> Self {
        Self(World::alone())
    }

    fn environment(&self) -> EnvironmentName {
        environment()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.0.clone())
    }

    async fn restart(&mut self) {}

    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest {
        if matches!(sample.manner, Manner::Sick | Manner::Crashing) {
            self.0.never_healthy(&placement.version);
        }
        self.know(placement, sample.web, sample.work)
    }

    async fn lose(&mut self, artifact: &Digest) {
        self.0.lose_artifact(artifact);
    }

    async fn kill(&self, instance: &Instance) {
        self.0.crash_once(&instance.placement.version, "killed by SIGKILL");
    }

    async fn answer(&self, instance: &Instance) -> Option<String> {
        let there = self.0.instances(&environment()).await.unwrap();
        let one = there.iter().find(|one| one.id == instance.id && one.state == InstanceState::Ready)?;
        Some(one.placement.version.to_string())
    }

    async fn remains(&self) -> usize {
        self.0.running(&environment()).len()
    }

    async fn stranger(&mut self) {}

    async fn stranger_lives(&self) -> bool {
        true
    }
}

#[async_trait(?Send)]
impl RouterStage for Fakes {
    async fn new() -> Self {
        Self(World::alone())
    }

    fn environment(&self) -> EnvironmentName {
        environment()
    }

    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.0.clone())
    }

    fn listen(&self) -> SocketAddr {
        listen()
    }

    async fn restart(&mut self) {
        self.0.put_routes(&self.0.routes());
    }

    async fn run(&mut self, placement: &Placement, count: u32) -> Instances {
        self.know(placement, count, 0);
        let request = StartRequest {
            placement: placement.clone(),
            processes: Processes::Routed,
            counts: None,
            fence: Fence(1),
        };
        let started = self.0.start(&request).await.unwrap();
        started.into_iter().map(|one| (one.id, one.address.unwrap())).collect()
    }

    async fn be_well(&mut self, placement: &Placement, well: bool) {
        let state = if well { InstanceState::Ready } else { InstanceState::Unhealthy };
        self.0.put_instances(&placement.version, state);
    }

    async fn ask(&self) -> Option<String> {
        self.0.live(&environment()).map(|(_, _, version)| version.to_string())
    }
}

mod as_a_provider {
    use super::*;
    provider_contract!(Fakes);
}

mod as_a_router {
    use super::*;
    router_contract!(Fakes);
}
