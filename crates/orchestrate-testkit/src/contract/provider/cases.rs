//! What goes well.

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Counts, Instance, InstanceState, Placement, Processes};
use orchestrate_core::time::Span;

use super::{Actor, Manner, ProviderStage, SOON, Sample, all_ready, in_time, until};

fn web(count: u32) -> Option<Counts> {
    Some(Counts::from([("web".to_owned(), count)]))
}

pub async fn a_started_release_gets_ready_and_answers(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let (placement, digest) = actor.seal(1, Sample::web(2)).await;
    actor.fetch(&placement, &digest).await.unwrap();
    actor.start(&placement, 1).await.unwrap();
    let ready = actor.ready(&placement, SOON).await.unwrap();
    assert_eq!(ready.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["blue-web-1", "blue-web-2"]);
    assert!(all_ready(&ready), "{ready:?}");
    assert_ne!(ready[0].address, ready[1].address);
    for one in &ready {
        assert_eq!((&one.placement, one.process.as_str(), one.restarts), (&placement, "web", 0));
        assert_eq!(actor.stage.answer(one).await.as_deref(), Some("1.1.0"));
    }
    assert_eq!(actor.stage.remains().await, 2);
    actor.end(&[&placement]).await;
}

pub async fn starting_again_changes_nothing(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(2)).await;
    let ready = actor.ready(&placement, SOON).await.unwrap();
    assert_eq!(actor.start(&placement, 1).await.unwrap(), ready);
    assert_eq!(actor.start(&placement, 7).await.unwrap(), ready, "a newer fence changes no instance");
    actor.end(&[&placement]).await;
}

pub async fn so_many_of_each_are_started_and_left(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let (placement, _) = actor.seal(2, Sample::web(3)).await;
    actor.start_some(&placement, Processes::Routed, web(1), 1).await.unwrap();
    assert_eq!(actor.names().await, ["green-web-1"]);
    let first = actor.until("the first is ready", all_ready).await;
    actor.start_some(&placement, Processes::Routed, None, 1).await.unwrap();
    assert_eq!(actor.names().await, ["green-web-1", "green-web-2", "green-web-3"]);
    let all = actor.ready(&placement, SOON).await.unwrap();
    assert_eq!(all[0], first[0], "the one that ran goes on");
    // Fewer are wanted: what runs beyond them is left alone by a start, and taken by a stop.
    actor.start_some(&placement, Processes::Routed, web(2), 1).await.unwrap();
    assert_eq!(actor.names().await.len(), 3);
    actor.stop_some(&placement, Processes::Routed, web(1), 1).await.unwrap();
    assert_eq!(actor.instances().await, first);
    actor.end(&[&placement]).await;
}

pub async fn instances_without_an_address_come_and_go_by_themselves(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let (placement, _) = actor.seal(1, Sample::web(1).with_work(2)).await;
    actor.start_some(&placement, Processes::Routed, None, 1).await.unwrap();
    assert_eq!(actor.names().await, ["blue-web-1"]);
    actor.start_some(&placement, Processes::Unrouted, None, 1).await.unwrap();
    assert_eq!(actor.names().await, ["blue-web-1", "blue-work-1", "blue-work-2"]);
    // An engine may choose the address only once it has found a place.
    let right = |all: &[Instance]| all.iter().all(|one| one.address.is_some() == (one.process == "web"));
    actor.until("what is routed has an address, and nothing else", right).await;
    actor.stop_some(&placement, Processes::Unrouted, None, 1).await.unwrap();
    assert_eq!(actor.names().await, ["blue-web-1"]);
    actor.end(&[&placement]).await;
}

pub async fn two_slots_stand_beside_each_other(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let (blue, green) = (actor.run(1, Sample::web(1)).await, actor.run(2, Sample::web(1)).await);
    let instances = actor.until("both are ready", all_ready).await;
    assert_eq!(actor.names().await, ["blue-web-1", "green-web-1"]);
    for one in &instances {
        assert_eq!(actor.stage.answer(one).await.as_deref(), Some(one.placement.version.as_str()));
    }
    actor.stop(&blue, 1).await.unwrap();
    assert_eq!(actor.names().await, ["green-web-1"]);
    actor.end(&[&green]).await;
}

pub async fn environments_do_not_see_each_other(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(1)).await;
    let longer = EnvironmentName::new(format!("{}-2", actor.stage.environment())).unwrap();
    assert_eq!(actor.stage.provider().instances(&longer).await.unwrap(), []);
    let elsewhere = Placement { environment: longer, ..placement.clone() };
    actor.stop(&elsewhere, 1).await.unwrap();
    assert_eq!(actor.names().await, ["blue-web-1"], "a stop reached into another environment");
    actor.end(&[&placement]).await;
}

pub async fn a_stop_leaves_nothing_and_may_be_repeated(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(2).with_work(1)).await;
    let ready = actor.ready(&placement, SOON).await.unwrap();
    actor.stop(&placement, 1).await.unwrap();
    assert_eq!(actor.names().await, [""; 0]);
    assert_eq!(actor.stage.answer(&ready[0]).await, None);
    assert_eq!(actor.stage.remains().await, 0);
    actor.stop(&placement, 1).await.unwrap();
    actor.start(&placement, 1).await.unwrap();
    actor.ready(&placement, SOON).await.unwrap();
    actor.end(&[&placement]).await;
}

pub async fn what_does_not_end_by_itself_is_ended(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let sample = Sample::web(1).that_is(Manner::Stubborn).stopped_within(Span::from_secs(1));
    let placement = actor.run(1, sample).await;
    actor.ready(&placement, SOON).await.unwrap();
    actor.end(&[&placement]).await;
}

pub async fn what_runs_is_adopted(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(2).with_work(1)).await;
    let ready = actor.ready(&placement, SOON).await.unwrap();
    // An engine may say that an instance is up before it says which process that is.
    let known = |all: &[Instance]| {
        all.len() == 3 && all_ready(all) && all.iter().all(|one| one.pid.is_some() == ready[0].pid.is_some())
    };
    let before = who(&actor.until("all are ready", known).await);
    actor.stage.restart().await;
    let after = actor.until("all are ready again", known).await;
    assert_eq!(who(&after), before, "something was started anew");
    assert_eq!(actor.stage.remains().await, 3);
    assert_eq!(actor.stage.answer(&ready[0]).await.as_deref(), Some("1.1.0"));
    actor.end(&[&placement]).await;
}

type Who = (String, Option<std::net::SocketAddr>, Option<u32>);

fn who(instances: &[Instance]) -> Vec<Who> {
    let mut all: Vec<Who> = instances.iter().map(|one| (one.id.clone(), one.address, one.pid)).collect();
    all.sort();
    all
}

pub async fn what_is_none_of_ours_is_never_touched(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    in_time("a stranger", actor.stage.stranger()).await;
    let placement = actor.run(1, Sample::web(1)).await;
    actor.ready(&placement, SOON).await.unwrap();
    assert_eq!(actor.names().await, ["blue-web-1"], "a stranger was taken for an instance");
    actor.stage.restart().await;
    actor.until("it is ready again", |all| all.len() == 1 && all[0].state == InstanceState::Ready).await;
    actor.stop(&placement, 2).await.unwrap();
    until("nothing is left", async || (actor.stage.remains().await == 0).then_some(())).await;
    assert!(actor.stage.stranger_lives().await, "a stranger was stopped");
}
