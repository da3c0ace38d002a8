//! What a provider is.

mod cases;
mod faults;

pub use cases::*;
pub use faults::*;

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    AwaitHealthy, Counts, Fetch, Instance, InstanceState, Placement, PortResult, Processes, Provider,
    StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Span;

use super::{in_time, placement, until};

/// Long enough for anything that is going to be ready at all.
const SOON: Span = Span::from_secs(30);

/// A place with a provider in it, and what a test does there behind the provider's back.
#[async_trait(?Send)]
pub trait ProviderStage: Sized {
    /// An empty place. What other tests have going on is not seen there.
    async fn new() -> Self;
    fn environment(&self) -> EnvironmentName;
    fn provider(&self) -> Arc<dyn Provider>;
    /// The provider lets go, and another one takes over what is there, as when the daemon is started again.
    async fn restart(&mut self);
    /// Seals a release for the slot, and says what it is restored from.
    async fn seal(&mut self, placement: &Placement, sample: Sample) -> Digest;
    /// Takes away what a sealed release is restored from.
    async fn lose(&mut self, artifact: &Digest);
    /// Ends an instance as a person would, by hand and at once.
    async fn kill(&self, instance: &Instance);
    /// The version that answers where the instance listens; none, if nobody does.
    async fn answer(&self, instance: &Instance) -> Option<String>;
    /// How many instances there really are, alive or dead, whatever the provider says.
    async fn remains(&self) -> usize;
    /// Starts something of the same sort that is none of ours, under the most confusing name.
    async fn stranger(&mut self);
    async fn stranger_lives(&self) -> bool;
}

/// A release to be sealed: it answers every request with its version.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Instances of `web`, which is routed.
    pub web: u32,
    /// Instances of `work`, which is not.
    pub work: u32,
    pub manner: Manner,
    pub stop_timeout: Span,
}

/// How a sample behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Well,
    /// Answers the health check with status 503 for ever.
    Sick,
    /// Ends with status 3 as soon as it is started, after the line `address in use`.
    Crashing,
    /// Does not end by SIGTERM.
    Stubborn,
}

impl Sample {
    pub const fn web(web: u32) -> Self {
        Self { web, work: 0, manner: Manner::Well, stop_timeout: Span::from_secs(5) }
    }

    pub const fn that_is(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    pub const fn with_work(self, work: u32) -> Self {
        Self { work, ..self }
    }

    pub const fn stopped_within(self, stop_timeout: Span) -> Self {
        Self { stop_timeout, ..self }
    }
}

/// One test for each case of the suite.
#[macro_export]
macro_rules! provider_contract {
    ($stage:ty) => {
        $crate::contract_tests! { provider, ProviderStage, $stage:
            a_started_release_gets_ready_and_answers
            starting_again_changes_nothing
            so_many_of_each_are_started_and_left
            instances_without_an_address_come_and_go_by_themselves
            two_slots_stand_beside_each_other
            environments_do_not_see_each_other
            a_stop_leaves_nothing_and_may_be_repeated
            what_does_not_end_by_itself_is_ended
            what_is_sick_is_not_called_ready
            a_crash_loop_is_told_before_the_deadline
            an_older_fence_is_refused_also_after_a_restart
            what_runs_is_adopted
            what_died_while_nobody_looked_is_started_again
            what_is_killed_by_hand_comes_back
            what_cannot_be_restored_is_refused_before_anything_is_touched
            what_is_none_of_ours_is_never_touched
        }
    };
}

/// The calls as the cases need them.
struct Actor<S> {
    stage: S,
}

impl<S: ProviderStage> Actor<S> {
    /// Seals release `number` and starts all of it.
    async fn run(&mut self, number: i64, sample: Sample) -> Placement {
        let (placement, _) = self.seal(number, sample).await;
        self.start(&placement, 1).await.unwrap();
        placement
    }

    async fn seal(&mut self, number: i64, sample: Sample) -> (Placement, Digest) {
        let placement = placement(&self.stage.environment(), number);
        let digest = self.stage.seal(&placement, sample).await;
        (placement, digest)
    }

    async fn start(&self, placement: &Placement, fence: i64) -> PortResult<Vec<Instance>> {
        self.start_some(placement, Processes::All, None, fence).await
    }

    async fn start_some(
        &self,
        placement: &Placement,
        processes: Processes,
        counts: Option<Counts>,
        fence: i64,
    ) -> PortResult<Vec<Instance>> {
        let request = StartRequest { placement: placement.clone(), processes, counts, fence: Fence(fence) };
        in_time("a start", self.stage.provider().start(&request)).await
    }

    async fn ready(&self, placement: &Placement, deadline: Span) -> PortResult<Vec<Instance>> {
        let request = AwaitHealthy {
            placement: placement.clone(),
            processes: Processes::Routed,
            counts: None,
            deadline,
        };
        in_time("readiness", self.stage.provider().await_healthy(&request)).await
    }

    async fn stop(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        self.stop_some(placement, Processes::All, None, fence).await
    }

    async fn stop_some(
        &self,
        placement: &Placement,
        processes: Processes,
        counts: Option<Counts>,
        fence: i64,
    ) -> PortResult<()> {
        let request = StopRequest { placement: placement.clone(), processes, counts, fence: Fence(fence) };
        in_time("a stop", self.stage.provider().stop(&request)).await
    }

    async fn fetch(&self, placement: &Placement, artifact: &Digest) -> PortResult<()> {
        let request = Fetch { release: placement.release, artifact: artifact.clone(), size: 0 };
        in_time("a fetch", self.stage.provider().fetch(&request)).await
    }

    async fn instances(&self) -> Vec<Instance> {
        let environment = self.stage.environment();
        let listed = self.stage.provider().instances(&environment).await;
        listed.unwrap()
    }

    /// The instances by name, sorted.
    async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.instances().await.into_iter().map(|one| one.id).collect();
        names.sort_unstable();
        names
    }

    /// Waits until the instances are as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
        until(what, async || Some(self.instances().await).filter(|instances| wanted(instances))).await
    }

    /// All is over: nothing of ours is left in the world.
    async fn end(self, placements: &[&Placement]) {
        for placement in placements {
            self.stop(placement, i64::MAX).await.unwrap();
        }
        assert_eq!(self.names().await, [""; 0]);
        assert_eq!(self.stage.remains().await, 0, "something was left behind");
    }
}

fn all_ready(instances: &[Instance]) -> bool {
    !instances.is_empty() && instances.iter().all(|one| one.state == InstanceState::Ready)
}
