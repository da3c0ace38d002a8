//! The daemon's task with a clock that moves when it is told to, on a real database.

use std::time::Duration;

use orchestrate_core::DeploymentExecutor;
use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::drill::{Drill, DrillStatus};
use orchestrate_core::environment::{DrillPolicy, EnvironmentSettings, ProcessType};
use orchestrate_core::fakes::{self, World};
use orchestrate_core::name::Version;
use orchestrate_core::time::Span;
use tempfile::TempDir;

use super::*;
use crate::outbox::tests::daemon;

/// A deadline, not a duration.
const WITHIN: Duration = Duration::from_secs(60);

/// Two releases, the older one warm, and a drill at 02:30 in Berlin.
struct Night {
    db: Database,
    world: World,
    environment: EnvironmentName,
    _directory: TempDir,
}

fn settings() -> EnvironmentSettings {
    let web = ProcessType {
        command: vec!["./serve".into()],
        instances: 1,
        listen: Some(([127, 0, 0, 1], 8080).into()),
        confinement: Default::default(),
    };
    let drill = DrillPolicy {
        production: false,
        schedule: Some("30 2 * * *".into()),
        time_zone: Some("Europe/Berlin".into()),
    };
    let mut settings = EnvironmentSettings::default();
    settings.processes.insert("web".into(), web);
    settings.strategy.warm_for = Span::from_secs(7 * 86_400);
    settings.drill = Box::new(drill);
    settings
}

impl Night {
    async fn at(evening: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(&DatabaseUrl::Sqlite(directory.path().join("state.db"))).await.unwrap();
        let (world, environment) = (World::new(&db), EnvironmentName::new("staging").unwrap());
        world.clock.set(evening.parse().unwrap());
        let (settings, now) = (settings(), world.clock.read());
        db.apply_environment(&environment, "shop", &settings, &[], "ada", now).await.unwrap();
        let night = Self { db, world, environment, _directory: directory };
        for version in ["1.0", "1.1"] {
            night.deploy(&settings, version).await;
        }
        night
    }

    async fn deploy(&self, settings: &EnvironmentSettings, version: &str) {
        let contents = fakes::contents(settings, version);
        let request = fakes::to_deploy(&self.environment, Version::new(version).unwrap(), contents);
        let executor = DeploymentExecutor::new(self.db.clone(), self.world.ports());
        executor.deploy(&request).await.unwrap();
    }

    async fn drills(&self) -> Vec<Drill> {
        self.db.list_drills(&self.environment, 10).await.unwrap()
    }

    /// Minute by minute, as many daemons as there are look at the clock.
    async fn passes(&self, hours: u64, daemons: &[Arc<Daemon>]) {
        let mut looked = self.world.clock.read();
        for _ in 0..hours * 60 {
            self.world.clock.advance(Span::from_secs(60));
            let now = self.world.clock.read();
            for daemon in daemons {
                for (name, at) in due(daemon, looked, now).await.unwrap().drills {
                    drill(Arc::clone(daemon), name, at).await;
                }
            }
            looked = now;
        }
    }
}

#[tokio::test]
async fn on_the_night_of_a_change_of_the_clocks_one_drill_is_made_by_one_of_two_daemons() {
    for (evening, at) in
        [("2026-03-28T22:00:00Z", "2026-03-29T01:00:00"), ("2026-10-24T22:00:00Z", "2026-10-25T00:30:00")]
    {
        let night = Night::at(evening).await;
        let daemons = [
            daemon(night.db.clone(), &night.world, crate::Traces::Off),
            daemon(night.db.clone(), &night.world, crate::Traces::Off),
        ];
        night.passes(12, &daemons).await;
        let drills = night.drills().await;
        let [made] = &drills[..] else { panic!("{drills:?}") };
        assert_eq!((made.status, made.trigger), (DrillStatus::Completed, DrillTrigger::Scheduled));
        assert_eq!(&made.started_at.to_string()[..19], at);
    }
}

#[tokio::test]
async fn the_task_drills_when_its_time_comes_and_not_for_times_that_it_missed() {
    let night = Night::at("2026-11-27T22:00:00Z").await;
    let daemon = daemon(night.db.clone(), &night.world, crate::Traces::Off);
    let task = tokio::spawn(keep(Arc::clone(&daemon)));
    // The machine sleeps over it.
    for moment in ["2026-11-28T07:00:00Z", "2026-11-29T01:29:59Z", "2026-11-29T01:30:01Z"] {
        tokio::task::yield_now().await;
        night.world.clock.set(moment.parse().unwrap());
        daemon.bell.drills.notify_one();
    }
    let made = tokio::time::timeout(WITHIN, async {
        loop {
            match night.drills().await.first() {
                Some(drill) if drill.status != DrillStatus::InProgress => break drill.clone(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let made = made.await.unwrap();
    task.abort();
    assert_eq!((made.id.0, made.status), (1, DrillStatus::Completed));
    assert_eq!(made.actor, "orchestrate");
}

#[tokio::test]
async fn what_is_refused_waits_for_its_next_time() {
    let night = Night::at("2026-11-27T22:00:00Z").await;
    let daemon = daemon(night.db.clone(), &night.world, crate::Traces::Off);
    // What is live is not well, so nothing is tried.
    let version = Version::new("1.1").unwrap();
    night.world.put_instances(&version, orchestrate_core::ports::InstanceState::Unhealthy);
    night.passes(6, std::slice::from_ref(&daemon)).await;
    assert_eq!(night.drills().await, []);
    let audit = night.db.list_audit(Some(&night.environment), 1).await.unwrap().remove(0);
    assert_eq!((audit.action.as_str(), audit.actor.as_str()), ("refused", "orchestrate"));
    night.world.recover(&version);
    night.passes(24, &[daemon]).await;
    assert_eq!(night.drills().await.len(), 1, "the next night");
}
