use std::collections::BTreeMap;
use std::future::Future;

use orchestrate_core::name::{ReleaseId, Version};
use orchestrate_core::slot::Slot;

use super::*;

fn placed(slot: Slot, weight: u8) -> Arc<Placed> {
    let placement = Placement {
        environment: EnvironmentName::new("shop").unwrap(),
        slot,
        release: ReleaseId(if slot == Slot::Blue { 1 } else { 2 }),
        version: Version::new("1").unwrap(),
    };
    let load = Arc::new(Load::new(Arc::new(Counters::new(1))));
    Arc::new(Placed { placement, weight, lanes: Arc::new([]), load })
}

fn environment(blue: u8, green: u8) -> Environment {
    let environment = Environment::new(EnvironmentName::new("shop").unwrap());
    environment
        .swap(Table { placed: vec![placed(Slot::Blue, blue), placed(Slot::Green, green)], rules: None });
    environment
}

#[test]
fn weights_are_exact_over_every_hundred_requests() {
    for blue in [0, 1, 5, 10, 33, 50, 99, 100] {
        let environment = environment(blue, 100 - blue);
        for _ in 0..3 {
            let mut seen = BTreeMap::from([(Slot::Blue, 0), (Slot::Green, 0)]);
            for _ in 0..100 {
                *seen
                    .get_mut(&environment.enter(&HeaderMap::new(), "token").unwrap().placed.placement.slot)
                    .unwrap() += 1;
            }
            assert_eq!(seen[&Slot::Blue], i32::from(blue));
        }
    }
}

#[test]
fn without_weight_there_is_no_traffic() {
    assert!(environment(0, 0).enter(&HeaderMap::new(), "token").is_err());
    assert!(
        Environment::new(EnvironmentName::new("shop").unwrap()).enter(&HeaderMap::new(), "token").is_err()
    );
}

fn lane(count: u64) -> Lane {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let instances = (1..=count).map(|key| Arc::new(Instance::new(key, key.to_string(), address))).collect();
    Lane::new(Arc::from("web"), address, instances, HealthCheck::default())
}

#[test]
fn the_healthy_instance_with_the_least_in_flight_is_chosen() {
    let lane = lane(3);
    let _seats = [Seat::take(&lane.instances[0]), Seat::take(&lane.instances[2])];
    assert_eq!(lane.choose(&[]).unwrap().key, 2);
    lane.instances[1].healthy.store(false, Ordering::Relaxed);
    assert_ne!(lane.choose(&[]).unwrap().key, 2);
    assert_eq!(lane.choose(&[1, 3]).unwrap().key, 2);
    assert!(lane.choose(&[1, 2, 3]).is_none());
}

#[test]
fn equal_instances_take_turns() {
    let lane = lane(4);
    let keys: std::collections::BTreeSet<u64> = (0..4).map(|_| lane.choose(&[]).unwrap().key).collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn failed_connects_never_take_the_last_healthy_instance_out() {
    let lane = lane(2);
    for instance in &lane.instances {
        (0..STRIKES + 1).for_each(|_| lane.connect_failed(instance));
    }
    assert_eq!(lane.healthy(), 1);
}

#[tokio::test]
async fn a_release_is_empty_once_its_last_request_has_left() {
    let environment = environment(100, 0);
    let ticket = environment.enter(&HeaderMap::new(), "token").unwrap();
    let load = Arc::clone(&ticket.placed.load);
    let mut emptied = std::pin::pin!(load.emptied());
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(emptied.as_mut().poll(&mut nobody).is_pending());
    drop(ticket);
    emptied.await;
}
