//! A command falls asleep right before an effect, as on a laptop that is closed, and wakes up after others went on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::deed::Deed;
use super::panel::Visit;
use super::stage::Stage;
use super::sweep::{seconds, shuffled};
use crate::luck::processes::{alive, signal};
use crate::luck::until;

pub fn fall_asleep_everywhere() {
    let mut stage = Stage::new(Deed::ColdRollback);
    // Where the daemon may take an operation over although its command is there, as far as can be seen.
    stage.scene.variable("ORCHESTRATE_LEASE_TTL", "1s");
    let (began, limit) = (Instant::now(), seconds());
    for visit in shuffled(effects(&mut stage), 7) {
        if limit > Duration::ZERO && began.elapsed() > limit {
            break;
        }
        println!("asleep before {} for the {}. time", visit.point, visit.number);
        asleep_at(&mut stage, &visit);
    }
}

/// What a command asks of the provider and of the router once its operation has begun.
fn effects(stage: &mut Stage) -> Vec<Visit> {
    let version = stage.next_version();
    stage.panel.trace();
    stage.scene.deploy(&version).ok();
    let visits = stage.panel.trace_no_more();
    assert_eq!(stage.settled(), version);
    let of_ports = |visit: &Visit| ["provider/", "router/"].iter().any(|area| visit.point.starts_with(area));
    visits.into_iter().filter(|visit| visit.program == "command" && of_ports(visit)).collect()
}

fn asleep_at(stage: &mut Stage, visit: &Visit) {
    let (version, later) = (stage.next_version(), stage.next_version());
    stage.panel.arm(&[format!("command:{}=stop@{}", visit.point, visit.number)]);
    let sleeper = stage.scene.begin_deploy(&version);
    until("it sleeps", || stage.panel.has_fired(0).then_some(()));
    stage.panel.disarm();
    let status = stage.scene.status();
    let (had_begun, had_ended) = (!status["operation"].is_null(), status["live"]["version"] == *version);
    stage.settled();
    assert!(alive(sleeper.pid()));
    // The world moves on, so that whatever the sleeper still did would be seen.
    stage.deploys(&later);
    let before = records(stage);
    stage.answers();
    signal(sleeper.pid(), Signal::CONT);
    let ran = sleeper.end();
    // At once, before the daemon could have put anything right.
    let running: BTreeSet<String> =
        stage.scene.instances().into_iter().map(|process| process.version).collect();
    if had_begun || had_ended {
        // It may have had nothing left to do but to see that it stayed so.
        assert!(ran.code == 4 || (had_ended && ran.code == 0), "{visit:?}: {ran:?}");
        assert!(had_ended || ran.stderr.contains("took over"), "{visit:?}: {ran:?}");
        assert_eq!(running, BTreeSet::from([later.clone()]), "{visit:?}: it started something");
        let answers = stage.answers();
        assert!(answers.iter().all(|version| *version == later), "{visit:?}: users got {answers:?}");
        assert_eq!(records(stage), before, "{visit:?}");
        assert_eq!(stage.settled(), later, "{visit:?}");
    } else {
        // It had only looked, and now looks again.
        ran.ok();
        assert_eq!(stage.settled(), version, "{visit:?}");
    }
}

/// What came of every deployment and rollback.
fn records(stage: &Stage) -> Value {
    stage.scene.run(&["deploy", "history", "--env", "production", "--format", "json"]).ok().json()
}
