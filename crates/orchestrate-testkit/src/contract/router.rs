//! What a router is.

mod cases;
mod refusals;
mod traffic;

pub use cases::*;
pub use refusals::*;
pub use traffic::*;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::environment::HealthCheck;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    Backend, Close, Deregister, Drain, Drained, Placement, PortResult, Proof, Prove, Register, Router,
    RouterView, Switch,
};
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};

use super::{in_time, placement};

/// Instances of `web`, as a router is told of them.
pub type Instances = BTreeMap<String, SocketAddr>;

/// A place with a router in it.
#[async_trait(?Send)]
pub trait RouterStage: Sized {
    /// An empty place.
    async fn new() -> Self;
    fn environment(&self) -> EnvironmentName;
    fn router(&self) -> Arc<dyn Router>;
    /// The live address of `web`.
    fn listen(&self) -> SocketAddr;
    /// The router is killed, and starts again with what it wrote down.
    async fn restart(&mut self);
    /// So many instances of a release, well, which answer with its version.
    async fn run(&mut self, placement: &Placement, count: u32) -> Instances;
    /// From now on these instances answer their health check with 503, or are well again.
    async fn be_well(&mut self, placement: &Placement, well: bool);
    /// The version that answers a user at the live address; none, if nobody does.
    async fn ask(&self) -> Option<String>;
}

/// One test for each case that every router passes, also one that nobody asks.
#[macro_export]
macro_rules! router_contract {
    ($stage:ty) => {
        $crate::contract_tests! { router, RouterStage, $stage:
            what_is_registered_has_no_traffic
            a_switch_moves_all_traffic
            telling_it_again_changes_nothing
            two_slots_share_as_they_are_told
            the_view_tells_what_is_where
            a_proof_names_who_answers
            what_was_switched_outlives_the_router
            a_closed_environment_is_forgotten
            nothing_is_switched_to_that_is_not_ready_or_not_there
            an_older_fence_is_refused_and_changes_nothing
            what_has_traffic_is_neither_replaced_nor_forgotten
        }
    };
}

/// One test for each case about requests, for routers that have some.
#[macro_export]
macro_rules! traffic_contract {
    ($stage:ty) => {
        $crate::contract_tests! { router, RouterStage, $stage:
            no_request_is_lost_by_switches
            shares_are_exact
            a_drain_ends_with_the_last_request
            a_drain_cuts_at_its_deadline
            answers_are_counted_by_release
        }
    };
}

/// How many instances of each release there are in the cases.
const COUNT: u32 = 2;

/// The calls as the cases need them.
struct Actor<S> {
    stage: S,
}

impl<S: RouterStage> Actor<S> {
    fn placement(&self, number: i64) -> Placement {
        placement(&self.stage.environment(), number)
    }

    /// Runs a release and registers it.
    async fn place(&mut self, number: i64, fence: i64) -> (Placement, Instances) {
        let placement = self.placement(number);
        let instances = self.stage.run(&placement, COUNT).await;
        self.register(&placement, &instances, fence).await.unwrap();
        (placement, instances)
    }

    /// The first release has the traffic, the second one stands by.
    async fn one_serves(&mut self) -> (Placement, Placement) {
        let (first, second) = (self.place(1, 1).await.0, self.place(2, 1).await.0);
        self.switch(&first, 1).await.unwrap();
        (first, second)
    }

    async fn register(&self, placement: &Placement, instances: &Instances, fence: i64) -> PortResult<()> {
        let backend = Backend {
            process: "web".into(),
            listen: self.stage.listen(),
            instances: instances.clone(),
            health_check: HealthCheck {
                path: "/healthz".into(),
                interval: Span::from_millis(50),
                ..HealthCheck::default()
            },
        };
        let request = Register {
            placement: placement.clone(),
            backends: vec![backend],
            drain: None,
            fence: Fence(fence),
        };
        in_time("a registration", self.stage.router().register(&request)).await
    }

    async fn switch(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let request = Switch { placement: placement.clone(), needs: needs(), fence: Fence(fence) };
        in_time("a switch", self.stage.router().switch(&request)).await
    }

    async fn shift(&self, placement: &Placement, weight: u8, rest: &Placement, fence: i64) -> PortResult<()> {
        let request = Shift {
            placement: placement.clone(),
            weight,
            rest: rest.clone(),
            needs: needs(),
            rules: TrafficRules::default(),
            fence: Fence(fence),
        };
        in_time("a shift", self.stage.router().shift(&request)).await
    }

    async fn drain(&self, placement: &Placement, deadline: Span, fence: i64) -> PortResult<Drained> {
        let request = Drain { placement: placement.clone(), deadline, fence: Fence(fence) };
        in_time("a drain", self.stage.router().drain(&request)).await
    }

    async fn deregister(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let request = Deregister {
            environment: placement.environment.clone(),
            slot: placement.slot,
            release: placement.release,
            fence: Fence(fence),
        };
        in_time("a farewell", self.stage.router().deregister(&request)).await
    }

    async fn close(&self, fence: i64) -> PortResult<()> {
        let request = Close { environment: self.stage.environment(), fence: Fence(fence) };
        in_time("a close", self.stage.router().close(&request)).await
    }

    async fn prove(&self, placement: &Placement, directed: bool) -> PortResult<Proof> {
        let request = Prove {
            placement: placement.clone(),
            listen: self.stage.listen(),
            path: "/version".into(),
            expected_status: 200,
            contains: Some(placement.version.to_string()),
            timeout: Span::from_secs(5),
            directed,
        };
        in_time("a proof", self.stage.router().prove(&request)).await
    }

    async fn view(&self) -> RouterView {
        in_time("a look", self.stage.router().observe(&self.stage.environment())).await.unwrap()
    }

    /// Each release that the router knows, with its share in percent.
    async fn shares(&self) -> Vec<(i64, u8)> {
        let slots = self.view().await.slots.into_iter();
        let mut shares: Vec<(i64, u8)> = slots.map(|slot| (slot.release.0, slot.weight)).collect();
        shares.sort_unstable();
        shares
    }
}

fn needs() -> BTreeMap<String, u32> {
    BTreeMap::from([("web".to_owned(), COUNT)])
}
