//! What befalls programs, instances, the clock, the proxy and the disk.

use std::time::Duration;

use super::Scene;
use super::play::{Running, kill};
use crate::ports::InstanceState;
use crate::stage::v;

pub(super) async fn misfortune(scene: &mut Scene, running: &mut Running, turn: u64) {
    let victim = match running.processes.len() {
        0 => return,
        all => scene.fate.below(all),
    };
    let world = scene.stage.world.clone();
    let version = v(&format!("1.{}", scene.fate.below(scene.versions.max(1))));
    match scene.fate.below(24) {
        0..7 => kill(scene, running, victim),
        7..11 => {
            let process = &mut running.processes[victim];
            process.stopped_until = turn + 20 + scene.fate.below(300) as u64;
            scene.fate.tell(format!("{} is stopped until turn {}", process.pid, process.stopped_until));
        }
        11..14 => {
            if let Some(at) = (!running.late.is_empty()).then(|| scene.fate.below(running.late.len())) {
                scene.fate.tell("a request of a dead program arrives");
                running.late.swap_remove(at).await;
            }
        }
        14 => jump(scene),
        15 | 16 => {
            scene.fate.tell(format!("{version} turns sick"));
            world.put_instances(&version, InstanceState::Unhealthy);
        }
        17 => {
            scene.fate.tell("everything is well again");
            get_well(scene);
        }
        18 => {
            if let Some(saved) = scene.fate.saved() {
                scene.fate.tell("the proxy is killed; what it had not written down is lost");
                world.put_routes(&saved);
            }
        }
        19 => {
            scene.fate.tell(format!("the instances of {version} end"));
            world.lose_instances(&version);
        }
        _ => running.storage.suffer(scene, turn).await,
    }
}

pub(super) fn get_well(scene: &Scene) {
    for number in 0..scene.versions {
        let version = v(&format!("1.{number}"));
        scene.stage.world.recover(&version);
        scene.stage.world.answers_rightly(&version);
    }
}

/// Only the time of day: what has passed stays what it was.
fn jump(scene: &Scene) {
    let clock = &scene.stage.world.clock;
    let far = Duration::from_secs(60 + 30 * scene.fate.below(240) as u64);
    let now = clock.read();
    let back = scene.fate.once_in(2);
    let millis = i64::try_from(far.as_millis()).unwrap_or(0);
    let to = if back { now.as_millis() - millis } else { now.as_millis() + millis };
    clock.set(crate::time::Timestamp::from_millis(to));
    scene.fate.tell(format!("the clock jumps {} {far:?}", if back { "back" } else { "on" }));
}
