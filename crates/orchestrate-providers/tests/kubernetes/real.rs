//! The same suites on a real cluster, where `ORCHESTRATE_TEST_KUBECONFIG` names one. Not everybody has one, so that is the one
//! thing here that is left out where it cannot be had; it says so. What it was run on is in docs/kubernetes.md.
//!
//! `ORCHESTRATE_TEST_IMAGE` is an image that every node has. It listens on `PORT`, answers any path with its
//! `ORCHESTRATE_VERSION`; with `HEALTH=sick` it answers 503, with `CRASH=1` it prints `address in use` and ends with status 3,
//! with `IGNORE_TERM=1` it does not end by SIGTERM. Without `PORT` it does nothing but run.

use async_trait::async_trait;

use crate::contract::Ground;
use crate::stage::Scene;

struct Real {
    kubeconfig: String,
    image: String,
}

#[async_trait(?Send)]
impl Ground for Real {
    async fn new() -> Self {
        Self::named().unwrap()
    }

    fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    fn image(&self) -> String {
        self.image.clone()
    }
}

impl Real {
    fn named() -> Option<Self> {
        let path = std::env::var("ORCHESTRATE_TEST_KUBECONFIG").ok()?;
        let kubeconfig = std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{path}: {cause}"));
        let image = std::env::var("ORCHESTRATE_TEST_IMAGE")
            .unwrap_or_else(|_| panic!("ORCHESTRATE_TEST_IMAGE is not set"));
        Some(Self { kubeconfig, image })
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests must know what was not tested")]
fn not_run(case: &str) {
    eprintln!(
        "NOT RUN on a real cluster: {case}; name one with ORCHESTRATE_TEST_KUBECONFIG and ORCHESTRATE_TEST_IMAGE"
    );
}

/// Everything of the environment is deleted, whatever became of the test.
struct CleanUp {
    kubeconfig: String,
    environment: String,
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let (kubeconfig, environment) = (self.kubeconfig.clone(), self.environment.clone());
        // A runtime of its own: that of the test may be ending.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let scene = Scene::new(&kubeconfig, "none").await;
                let selector = format!("labelSelector=orchestrate.dev%2Fenvironment%3D{environment}");
                for path in [
                    "/apis/apps/v1/NS/deployments",
                    "/apis/batch/v1/NS/jobs",
                    "/api/v1/NS/pods",
                    "/api/v1/NS/configmaps",
                    "/api/v1/NS/secrets",
                    "/apis/gateway.networking.k8s.io/v1/NS/httproutes",
                ] {
                    let _ = scene.api("DELETE", &format!("{path}?{selector}"), None).await;
                }
                for service in scene
                    .list("/api/v1/NS/services", &format!("orchestrate.dev/environment={environment}"))
                    .await
                {
                    let name = service["metadata"]["name"].as_str().unwrap();
                    let _ = scene.api("DELETE", &format!("/api/v1/NS/services/{name}"), None).await;
                }
            });
        });
        let _ = cleaned.join();
    }
}

impl CleanUp {
    fn of(real: &Real, scene: &Scene) -> Self {
        Self { kubeconfig: real.kubeconfig.clone(), environment: scene.environment.to_string() }
    }
}

macro_rules! on_a_real_cluster {
    ($suite:ident: $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                match super::there().await {
                    Some((stage, _clean_up)) => orchestrate_testkit::contract::$suite::$case(stage).await,
                    None => super::super::not_run(stringify!($case)),
                }
            }
        )*
    };
}

mod providers {
    use super::{CleanUp, Real};
    use crate::contract::Stage;

    async fn there() -> Option<(Stage<Real>, CleanUp)> {
        let real = Real::named()?;
        let stage = Stage::of(Real::named()?).await;
        let clean_up = CleanUp::of(&real, &stage.scene);
        Some((stage, clean_up))
    }

    mod suite {
        on_a_real_cluster! { provider:
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
    }
}

/// They need the Gateway API's resources, and no gateway.
mod routers {
    use super::{CleanUp, Real};
    use crate::contract::{Routed, Stage};

    async fn there() -> Option<(Routed<Real>, CleanUp)> {
        let real = Real::named()?;
        let stage = Stage::of(Real::named()?).await;
        let clean_up = CleanUp::of(&real, &stage.scene);
        Some((Routed::of(stage).await, clean_up))
    }

    mod suite {
        on_a_real_cluster! { router:
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
    }
}

/// Beside the suites: a rolling release, forth and back.
mod rolling {
    use super::{CleanUp, Real, not_run};
    use crate::contract::Stage;
    use crate::rolling;

    async fn there() -> Option<(Stage<Real>, CleanUp)> {
        let real = Real::named()?;
        let stage = Stage::of(Real::named()?).await;
        let clean_up = CleanUp::of(&real, &stage.scene);
        Some((stage, clean_up))
    }

    #[tokio::test]
    async fn a_rolling_release_takes_the_place_of_the_one_before() {
        match there().await {
            Some((stage, _clean_up)) => rolling::takes_the_place(&stage.scene).await,
            None => not_run("a_rolling_release_takes_the_place_of_the_one_before"),
        }
    }

    #[tokio::test]
    async fn a_rolling_release_that_is_stopped_gives_the_place_back() {
        match there().await {
            Some((stage, _clean_up)) => rolling::gives_the_place_back(&stage.scene).await,
            None => not_run("a_rolling_release_that_is_stopped_gives_the_place_back"),
        }
    }
}
