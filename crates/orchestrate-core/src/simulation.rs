//! Whole histories by chance: several people, two daemons on two computers and a proxy at work in one environment, while
//! programs are killed or stopped for a while, requests are lost, doubled or late, and the clock jumps. The database is a real
//! file whose disk is full or read-only for a while, is slow because somebody else has its lock, and commits without saying so.
//!
//! Everything is drawn from a seed and done on one thread, so that a seed is one history. What must hold at every call is
//! asserted by the [world](crate::fakes); what must hold in the end, by [`look`].
//!
//! Not simulated, but tested with real programs, is what lies behind the ports: processes and their ends, artifacts, sockets,
//! the proxy's own files and requests in flight; nor are PostgreSQL, a loss of power, several environments and notices.

mod daemon;
mod fate;
mod line;
mod look;
mod machines;
mod people;
mod play;
mod storage;
mod trouble;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crate::database::disk::Disk;
use crate::database::{Database, DatabaseUrl};
use crate::deployment_strategy::StrategyKind;
use crate::environment::EnvironmentSettings;
use crate::error::Error;
use crate::fakes::World;
use crate::name::EnvironmentName;
use crate::ports::Ports;
use crate::rollback_event::{RollbackEvent, RollbackStatus};
use crate::stage::{Stage, baking, canary, directory, hooked, recreate, rolling, v, with_worker};
use crate::time::Span;
use fate::Fate;
use machines::Machines;

/// So many take less than half a minute, unoptimised, on two cores.
const IN_A_TEST: u64 = 100;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// One history: where it plays, and what was claimed in it.
struct Scene {
    stage: Stage,
    fate: Arc<Fate>,
    machines: Arc<Machines>,
    /// On which all programs have their database.
    disk: Arc<Disk>,
    /// Rollbacks that a person was told are completed.
    claims: Arc<Mutex<Vec<RollbackEvent>>>,
    /// How many versions there are so far.
    versions: usize,
    programs: u32,
}

/// What a running program has in its hands.
#[derive(Clone)]
struct Program {
    pid: u32,
    db: Database,
    ports: Ports,
    environment: EnvironmentName,
    fate: Arc<Fate>,
    claims: Arc<Mutex<Vec<RollbackEvent>>>,
}

impl Program {
    fn tell(&self, what: impl AsRef<str>) {
        self.fate.tell(format!("{} {}", self.pid, what.as_ref()));
    }

    fn log(&self, what: &str, error: &Error) {
        self.tell(format!("{what}: {} {}", error.code(), error.message()));
        assert!(!people::is_bug(error), "{what}: {error:?}");
    }

    fn claim(&self, event: &RollbackEvent) {
        if event.status == RollbackStatus::Completed {
            self.claims.lock().unwrap().push(event.clone());
        }
    }
}

impl Scene {
    /// A new environment on a database of its own, in one of the ways in which environments are set up.
    async fn new(seed: u64) -> Self {
        let settings = match seed % 6 {
            0 => with_worker(),
            1 => rolling(),
            2 => EnvironmentSettings { strategy: canary().strategy, ..with_worker() },
            3 => recreate(),
            4 => hooked(),
            _ => baking(Span::from_secs(30)),
        };
        let dir = directory();
        let path = dir.path().join("state.db");
        std::fs::write(&path, template(seed % 6, &settings).await).unwrap();
        let db = open(&path).await;
        let stage = Stage {
            dir,
            world: World::new(&db),
            db,
            environment: EnvironmentName::new("production").unwrap(),
            settings,
        };
        if stage.settings.strategy.kind == StrategyKind::Recreate {
            stage.world.allow_gaps();
        }
        stage.world.be_rough();
        Self {
            stage,
            fate: Arc::new(Fate::new(seed)),
            machines: Arc::default(),
            disk: Arc::default(),
            claims: Arc::default(),
            versions: 0,
            programs: 0,
        }
    }

    /// Some never start well, some answer wrongly once they are live; not the first, which may have been deployed as a known one.
    fn next_version(&mut self) -> crate::name::Version {
        let version = v(&format!("1.{}", self.versions));
        self.versions += 1;
        let never_starts = self.fate.once_in(8);
        if self.versions == 1 {
            return version;
        }
        if never_starts {
            self.fate.tell(format!("{version} never gets healthy"));
            self.stage.world.never_healthy(&version);
        } else if self.fate.once_in(10) {
            self.fate.tell(format!("{version} answers wrongly"));
            self.stage.world.answers_wrongly(&version);
        }
        version
    }

    async fn program(&mut self, host: &'static str) -> Program {
        self.programs += 1;
        let pid = 100 + self.programs;
        let line =
            Arc::new(line::Line { world: self.stage.world.clone(), fate: Arc::clone(&self.fate), pid });
        let ports = Ports {
            provider: Arc::clone(&line) as _,
            router: Arc::clone(&line) as _,
            witness: line,
            clock: Arc::new(machines::SharedClock(Arc::clone(&self.stage.world.clock))),
            host: Arc::new(machines::Seat { host, pid, machines: Arc::clone(&self.machines) }),
            progress: Arc::clone(&self.stage.world.remarks) as _,
            lease_ttl: Span::from_secs(15),
        };
        let db = open(&self.stage.dir.path().join("state.db")).await;
        db.put_on(&self.disk);
        Program {
            pid,
            db,
            ports,
            environment: self.stage.environment.clone(),
            fate: Arc::clone(&self.fate),
            claims: Arc::clone(&self.claims),
        }
    }
}

/// A database with that environment and nothing else, made once.
async fn template(kind: u64, settings: &EnvironmentSettings) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<u64, Vec<u8>>> = Mutex::new(BTreeMap::new());
    if let Some(made) = MADE.lock().unwrap().get(&kind) {
        return made.clone();
    }
    let stage = Stage::with(settings.clone(), &[]).await;
    stage.db.close().await;
    let bytes = std::fs::read(stage.dir.path().join("state.db")).unwrap();
    MADE.lock().unwrap().insert(kind, bytes.clone());
    bytes
}

/// With one connection, SQLite works on the caller's thread: a history does not depend on how threads are scheduled.
async fn open(path: &Path) -> Database {
    Database::open_with(&DatabaseUrl::Sqlite(path.to_owned()), 1).await.unwrap()
}

fn brief(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(160).collect()
}

/// Plays one seed; its story, with what went wrong if something did.
fn history(seed: u64) -> (Vec<String>, Result<(), String>) {
    let told: Arc<Mutex<Option<Arc<Fate>>>> = Arc::default();
    let kept = Arc::clone(&told);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut scene = Scene::new(seed).await;
            *kept.lock().unwrap() = Some(Arc::clone(&scene.fate));
            play::play(&mut scene).await;
        });
    }));
    let fate = told.lock().unwrap().clone();
    let story = fate.map_or_else(Vec::new, |fate| fate.story());
    let result = played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    });
    (story, result)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn whatever_happens_everything_ends_well() {
    if let Some(seed) = number("SIM_SEED") {
        let (story, result) = history(seed);
        println!("{}", story.join("\n"));
        return result.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let seeds = number("SIM_SEEDS").unwrap_or(IN_A_TEST);
    let next = std::sync::atomic::AtomicU64::new(first);
    let wrong: Mutex<Vec<(u64, String)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + seeds || wrong.lock().unwrap().len() >= 5 {
                        return;
                    }
                    if let (_, Err(why)) = history(seed) {
                        wrong.lock().unwrap().push((seed, why));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let list: Vec<String> = wrong.iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    assert!(wrong.is_empty(), "{}\nsee its story: make sim SEED={}", list.join("\n"), wrong[0].0);
}

#[test]
fn a_seed_is_one_history() {
    for seed in 0..6 {
        assert_eq!(history(seed).0, history(seed).0, "seed {seed}");
    }
}
