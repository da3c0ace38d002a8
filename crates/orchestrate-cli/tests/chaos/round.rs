//! One round: something is asked for, something is killed in the middle of it, and then everything must be in order.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge;
use super::strike::{self, Blow, Strike, Victim};
use crate::luck::cluster::Cluster;
use crate::luck::dice::Dice;
use crate::luck::scene::{ROLLBACK, Ran};
use crate::luck::{Load, Running, Scene, pause, within};

const USERS: u32 = 4;
/// Many arenas share two cores.
const PACE: Duration = Duration::from_millis(30);
/// From the start of a command to the blow: a warm rollback is quick, a deployment takes its time.
const LONGEST_WAITS: [Duration; 3] =
    [Duration::from_millis(25), Duration::from_millis(250), Duration::from_millis(1_200)];
/// For everything to be in order again, without anybody's help.
const SETTLES: Duration = Duration::from_secs(30);
const UNDO: [&str; 7] = ["deploy", "rollback", "--env", "production", "--undo", "--format", "json"];

pub struct Arena {
    pub name: &'static str,
    scene: Scene,
    // Ends after the scene, which needs it to stop.
    postgres: Option<Cluster>,
    load: Load,
    live: String,
    pub tally: Tally,
    /// What happened in this round, shown if it fails.
    story: Story,
}

/// What many rounds came to.
#[derive(Default)]
pub struct Tally {
    pub rounds: u64,
    kills: u64,
    sleeps: u64,
    requests: usize,
    lost: usize,
    slept: u64,
    taken_over: u64,
    tried_again: u64,
}

#[derive(Default)]
struct Story(Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Deploy,
    Rollback,
    Undo,
}

impl Arena {
    pub fn new(name: &'static str, strategy: Value) -> Self {
        Self::of(name, strategy, None)
    }

    pub fn with_postgres(name: &'static str, strategy: Value) -> Self {
        Self::of(name, strategy, Some(Cluster::start()))
    }

    fn of(name: &'static str, strategy: Value, postgres: Option<Cluster>) -> Self {
        let mut scene = Scene::new();
        scene.configure(|settings| settings["strategy"] = strategy);
        scene.variable("ORCHESTRATE_LEASE_TTL", &format!("{}s", strike::LEASE.as_secs()));
        if let Some(cluster) = &postgres {
            scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url());
        }
        scene.deploy("0.0.1").ok();
        scene.deploy("0.0.2").ok();
        let load = Load::at_pace(scene.address, USERS, PACE);
        let live = "0.0.2".to_owned();
        Self { name, scene, postgres, load, live, tally: Tally::default(), story: Story::default() }
    }

    pub fn play(&mut self, round: u64, dice: &mut Dice) {
        self.story = Story(vec![format!("{}, round {round}, {} is live", self.name, self.live)]);
        let ask = dice.one_of(&[Ask::Deploy, Ask::Deploy, Ask::Rollback, Ask::Rollback, Ask::Undo]);
        let version = format!("1.0.{round}");
        let ready = dice.one_of(&["0", "0", "100", "400"]);
        self.scene.service("HEALTHY_AFTER", ready);
        let command = match ask {
            Ask::Deploy => self.scene.begin_deploy(&version),
            Ask::Rollback => self.scene.begin(&ROLLBACK),
            Ask::Undo => self.scene.begin(&UNDO),
        };
        self.story.add(format!("asked to {ask:?} {version}, ready after {ready} ms"));
        let mut strikes = Vec::new();
        for blow in strike::choose(dice, self.postgres.is_some()) {
            let longest = dice.one_of(&LONGEST_WAITS);
            pause(dice.up_to(longest));
            let carried_out = strike::carry_out(blow, &self.scene, &command, self.postgres.as_ref(), dice);
            self.story
                .add(format!("{blow:?}: {}", if carried_out.is_some() { "done" } else { "nobody there" }));
            strikes.extend(carried_out);
        }
        let killed = |strike: &Strike| strike.victim == Victim::Command && strike.blow == Blow::Kill;
        let ran = match strikes.iter().any(killed) {
            true => {
                command.kill();
                None
            }
            false => Some(self.await_end(command)),
        };
        self.settle(dice);
        let live = self.scene.records_are_true();
        judge::history_is_whole(&self.scene, &live);
        self.is_possible(ask, &version, ran.as_ref(), &live);
        self.load.await_version(&live);
        self.count(&strikes);
        self.live = live;
    }

    fn await_end(&mut self, command: Running) -> Ran {
        let ran = command.end();
        let last = ran.stderr.lines().last().unwrap_or_default();
        self.story.add(format!("the command ended with {}: {last}", ran.code));
        self.tally.taken_over += u64::from(ran.stderr.contains("ORC-0107"));
        ran
    }

    /// The next daemon, as an init system starts it, makes an end of what was left open, and of what needs attention.
    fn settle(&mut self, dice: &mut Dice) {
        within(SETTLES, "a daemon runs", || (self.scene.run(&["daemon", "start"]).code == 0).then_some(()));
        if dice.once_in(4) {
            let resumed = self.scene.run(&["deploy", "resume", "--env", "production"]);
            self.story.add(format!("resume ended with {}", resumed.code));
        }
        let mut attention = false;
        within(SETTLES, "no operation is open", || {
            let ran = self.scene.run(&["deploy", "status", "--env", "production", "--format", "json"]);
            let operation = if ran.code == 0 { ran.json()["operation"].clone() } else { json!("not known") };
            if operation["status"] == "needs_attention" && !attention {
                attention = true;
                self.tally.tried_again += 1;
                self.story.add(format!("needs attention: {operation}"));
            }
            operation.is_null().then_some(())
        });
    }

    /// What is live came from somewhere, and is what the command said, if it lived to say anything.
    fn is_possible(&self, ask: Ask, version: &str, ran: Option<&Ran>, live: &str) {
        match (ran.map(|ran| (ran.code, ran)), ask) {
            (Some((0, _)), Ask::Deploy) => assert_eq!(live, version, "it was said to be deployed"),
            (Some((0, ran)), Ask::Rollback | Ask::Undo) => assert_eq!(ran.json()["target_version"], live),
            // Refused: nothing was changed. But an operation that was taken over is ended by who took it.
            (Some((1, ran)), _) if !ran.stderr.contains("ORC-0107") => assert_eq!(live, self.live, "{ran:?}"),
            (_, Ask::Deploy) => assert!(live == version || live == self.live, "{live} came from nowhere"),
            (_, Ask::Rollback | Ask::Undo) => {}
        }
    }

    fn count(&mut self, strikes: &[Strike]) {
        let seen = self.load.take();
        let lost = judge::lost_with_reason(&seen, strikes, USERS as usize);
        self.tally.rounds += 1;
        let kills = strikes.iter().filter(|strike| strike.blow == Blow::Kill).count();
        self.tally.kills += kills as u64;
        self.tally.sleeps += (strikes.len() - kills) as u64;
        let slept = |strike: &&Strike| strike.victim == Victim::Command && strike.blow != Blow::Kill;
        self.tally.slept += strikes.iter().filter(slept).count() as u64;
        self.tally.requests += seen.len();
        self.tally.lost += lost;
    }

    pub fn end(self) -> Tally {
        let Self { scene, postgres, load, tally, .. } = self;
        drop(load);
        scene.stop_all();
        drop((scene, postgres));
        tally
    }
}

impl Story {
    fn add(&mut self, what: String) {
        self.0.push(what);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::env::var_os("ORCHESTRATE_CHAOS_TALK").is_some() {
            eprintln!("  {}", self.0.join("\n  "));
        }
        if std::thread::panicking() {
            eprintln!("chaos: it failed here\n  {}", self.0.join("\n  "));
        }
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.sleeps += other.sleeps;
        self.requests += other.requests;
        self.lost += other.lost;
        self.slept += other.slept;
        self.taken_over += other.taken_over;
        self.tried_again += other.tried_again;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} kills, {} sleeps, {} requests, {} of them lost in the hands of what was killed, \
             {} of {} commands that overslept found their operation taken over, {} needed attention and were ended by the daemon",
            self.rounds,
            self.kills,
            self.sleeps,
            self.requests,
            self.lost,
            self.taken_over,
            self.slept,
            self.tried_again
        )
    }
}
