//! Homes that share a database, and a home whose services an older program made.

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    AwaitHealthy, Fetch, Instance, Placement, PortErrorKind, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};
use tempfile::TempDir;

use crate::world::World;

fn start(placement: &Placement, fence: u64) -> StartRequest {
    let fence = Fence(i64::try_from(fence).unwrap());
    StartRequest { placement: placement.clone(), processes: Processes::All, counts: None, fence }
}

fn stop(placement: &Placement, fence: u64) -> StopRequest {
    let fence = Fence(i64::try_from(fence).unwrap());
    StopRequest { placement: placement.clone(), processes: Processes::All, counts: None, fence }
}

async fn ready(provider: &dyn Provider, placement: &Placement) -> Vec<Instance> {
    let (placement, deadline) = (placement.clone(), Span::from_secs(60));
    let request = AwaitHealthy { placement, processes: Processes::All, counts: None, deadline };
    provider.await_healthy(&request).await.unwrap()
}

fn pids(instances: &[Instance]) -> Vec<Option<u32>> {
    instances.iter().map(|one| one.pid).collect()
}

#[tokio::test]
async fn homes_of_one_database_go_on_with_the_same_services_and_share_one_fence() {
    let mut world = World::new().await;
    let (placement, other) = (world.placement(1), TempDir::new().unwrap());
    let digest = world.seal(&placement, Sample::web(2)).await;
    let mark = format!("database{}", world.owner());
    world.also(&mark);
    let alpha = world.provider_of(world.home(), &mark, None, true).await;
    let beta = world.provider_of(other.path(), &mark, None, false).await;
    alpha.fetch(&Fetch { release: placement.release, artifact: digest, size: 0 }).await.unwrap();
    alpha.start(&start(&placement, 1)).await.unwrap();
    let before = ready(&*alpha, &placement).await;

    // What is there already is not made a second time, however the other home comes to it.
    let again = start(&placement, 2);
    let (first, second) = tokio::join!(alpha.start(&again), beta.start(&again));
    assert_eq!((first.unwrap().len(), second.unwrap().len()), (2, 2));
    assert_eq!(world.services_of(&mark).len(), 2);
    let seen = ready(&*beta, &placement).await;
    assert_eq!(pids(&seen), pids(&before), "nothing was started again");
    assert_eq!(beta.drift(&placement, Processes::All).await.unwrap(), [""; 0]);

    // Whoever takes over has the newer fence, and all that belongs elsewhere outlives the home.
    beta.start(&start(&placement, 3)).await.unwrap();
    let refused = alpha.stop(&stop(&placement, 2)).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Fenced, "{refused}");
    beta.stop_everything().await.unwrap();
    assert_eq!(pids(&ready(&*alpha, &placement).await), pids(&before));
    beta.stop(&stop(&placement, 3)).await.unwrap();
    assert_eq!(alpha.instances(&placement.environment).await.unwrap(), []);

    // Another database has services of its own.
    let stranger = format!("another{}", world.owner());
    world.also(&stranger);
    let gamma = world.provider_of(other.path(), &stranger, None, true).await;
    beta.start(&start(&placement, 4)).await.unwrap();
    gamma.start(&start(&placement, 1)).await.unwrap();
    assert_eq!((world.services_of(&mark).len(), world.services_of(&stranger).len()), (2, 2));
    gamma.stop_everything().await.unwrap();
    assert_eq!(ready(&*alpha, &placement).await.len(), 2);
    alpha.stop_everything().await.unwrap();
}

#[tokio::test]
async fn services_with_the_mark_of_their_home_get_that_of_the_database_and_run_on() {
    let mut world = World::new().await;
    let (placement, foreign) = (world.placement(1), world.placement(2));
    for placement in [&placement, &foreign] {
        let digest = world.seal(placement, Sample::web(1)).await;
        let fetch = Fetch { release: placement.release, artifact: digest, size: 0 };
        world.provider().fetch(&fetch).await.unwrap();
    }
    let green = Placement { slot: orchestrate_core::slot::Slot::Green, ..foreign.clone() };
    world.provider().start(&start(&placement, 5)).await.unwrap();
    world.provider().start(&start(&green, 5)).await.unwrap();
    let before = ready(&*world.provider(), &placement).await;
    let old = world.services();

    // This database knows another release by the second one's number: that is none of its services.
    world.reseal(green.release, "9.9.9");
    let mark = format!("database{}", world.owner());
    world.also(&mark);
    let now = world.provider_of(world.home(), &mark, Some(world.owner()), true).await;
    let seen = now.instances(&placement.environment).await.unwrap();
    assert_eq!((seen.len(), pids(&seen)), (1, pids(&before)), "what runs goes on");
    let taken_in = world.services_of(&mark);
    assert!(taken_in.len() == 1 && old.contains(&taken_in[0]), "{taken_in:?} of {old:?}");
    assert_eq!(world.services().len(), 1, "the foreign one is left as it is");

    // Another home of the database finds it, and the fence is the one that was kept under the old mark.
    let home = TempDir::new().unwrap();
    let other = world.provider_of(home.path(), &mark, None, true).await;
    assert_eq!(pids(&other.instances(&placement.environment).await.unwrap()), pids(&before));
    let older = now.start(&start(&placement, 4)).await.unwrap_err();
    assert_eq!(older.kind, PortErrorKind::Fenced, "{older}");
    now.start(&start(&placement, 6)).await.unwrap();
    assert_eq!(pids(&ready(&*now, &placement).await), pids(&before));
    assert_eq!(now.drift(&placement, Processes::All).await.unwrap(), [""; 0]);
    assert_eq!(other.start(&start(&placement, 5)).await.unwrap_err().kind, PortErrorKind::Fenced);

    // Who takes back the change of its label by hand changes nothing for us.
    world.engine.docker(&["service", "rollback", "--detach", &taken_in[0]]);
    assert_eq!(world.services().len(), 2);
    assert_eq!(now.instances(&placement.environment).await.unwrap().len(), 1);
    assert_eq!(world.services_of(&mark), taken_in);
    now.stop(&stop(&placement, 6)).await.unwrap();
    assert_eq!(world.services_of(&mark), [""; 0]);
}
