//! What the provider's verbs and the keepers of its instances have in common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{Placement, PortError, PortResult};
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::engine::Engine;
use super::events;
use super::keeper::Keeper;
use crate::process::RestartPolicy;
use crate::process::book::{Book, Record};
use crate::process::lines::Counted;
use crate::process::output::log_path;
use crate::process::shared::{is_free, random};
use crate::spec::{RunSpec, RunSpecs};

/// Behind those of the `process` provider, and below the range that the kernel takes its own choices from.
const FIRST_PORT: u16 = 30_000;
const PORTS: u16 = 2_700;
const USUAL_STOP_TIMEOUT: Duration = Duration::from_secs(10);

type Gate = Arc<tokio::sync::Mutex<()>>;

pub(super) struct Shared {
    pub home: PathBuf,
    /// On everything of this home that the engine has.
    pub home_mark: String,
    pub engine: Engine,
    pub book: Arc<Book>,
    pub restart: RestartPolicy,
    /// Counts what others can see of the instances.
    pub changes: watch::Sender<u64>,
    /// Counts everything that happens to them, each health check too.
    pub pulse: watch::Sender<u64>,
    pub counted: Arc<Counted>,
    specs: Arc<dyn RunSpecs>,
    known_specs: Mutex<HashMap<ReleaseId, Arc<RunSpec>>>,
    keepers: Mutex<BTreeMap<(EnvironmentName, String), Arc<Keeper>>>,
    gates: Mutex<BTreeMap<(EnvironmentName, Slot), Gate>>,
    hook_gates: Mutex<BTreeMap<PathBuf, Gate>>,
    next_port: AtomicU16,
    /// The containers that are run once just now.
    one_offs: Mutex<BTreeSet<String>>,
    watcher: Mutex<Option<AbortHandle>>,
    /// Everything is being stopped, and nothing starts any more.
    closing: AtomicBool,
}

impl Shared {
    pub fn new(
        home: PathBuf,
        engine: Engine,
        book: Book,
        restart: RestartPolicy,
        specs: Arc<dyn RunSpecs>,
    ) -> Self {
        Self {
            home_mark: home_mark(&home),
            home,
            engine,
            book: Arc::new(book),
            restart,
            changes: watch::Sender::new(0),
            pulse: watch::Sender::new(0),
            counted: Arc::default(),
            specs,
            known_specs: Mutex::default(),
            keepers: Mutex::default(),
            gates: Mutex::default(),
            hook_gates: Mutex::default(),
            next_port: AtomicU16::new(u16::try_from(random() % u64::from(PORTS)).unwrap_or(0)),
            one_offs: Mutex::default(),
            watcher: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// A name that no container had before. Another one's cannot be in its way, however it is called.
    pub fn new_name(&self, environment: &EnvironmentName, id: &str) -> String {
        format!("orchestrate-{}.{environment}.{id}.{:08x}", &self.home_mark[..8], random() & 0xffff_ffff)
    }

    /// Whoever starts or stops in a slot goes through its gate, one after the other.
    pub fn gate(&self, environment: &EnvironmentName, slot: Slot) -> Gate {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry((environment.clone(), slot)).or_default())
    }

    /// A hook is run by one at a time.
    pub fn hook_gate(&self, file: &Path) -> Gate {
        let mut gates = self.hook_gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        Arc::clone(gates.entry(file.to_owned()).or_default())
    }

    /// From now on nothing is started. Returns every slot that has had a gate: a start may still be behind it.
    pub fn close(&self) -> Vec<(EnvironmentName, Slot)> {
        self.closing.store(true, Ordering::SeqCst);
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// To be asked behind the gate.
    pub fn may_start(&self) -> PortResult<()> {
        match self.closing.load(Ordering::SeqCst) {
            true => Err(PortError::failed("everything is being stopped here")),
            false => Ok(()),
        }
    }

    pub async fn spec(&self, release: ReleaseId) -> PortResult<Arc<RunSpec>> {
        let known = self.known_specs.lock().unwrap_or_else(PoisonError::into_inner).get(&release).cloned();
        if let Some(spec) = known {
            return Ok(spec);
        }
        let spec = Arc::new(self.specs.run_spec(release).await?);
        let mut specs = self.known_specs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(specs.entry(release).or_insert(spec)))
    }

    /// As it is sealed now; its secrets are not kept for that.
    pub async fn fresh_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        self.specs.run_spec(release).await
    }

    /// Its secrets leave the memory with it.
    pub fn forget_spec(&self, release: ReleaseId) {
        if !self.keepers().iter().any(|keeper| keeper.placement.release == release) {
            self.known_specs.lock().unwrap_or_else(PoisonError::into_inner).remove(&release);
        }
    }

    pub fn keepers(&self) -> Vec<Arc<Keeper>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The keepers of one slot, whichever release they keep.
    pub fn keepers_in(&self, environment: &EnvironmentName, slot: Slot) -> Vec<Arc<Keeper>> {
        let here = |keeper: &Arc<Keeper>| {
            keeper.placement.environment == *environment && keeper.placement.slot == slot
        };
        self.keepers().into_iter().filter(here).collect()
    }

    pub fn add_keeper(&self, keeper: Arc<Keeper>) {
        let key = (keeper.placement.environment.clone(), keeper.id.clone());
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, keeper);
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn remove_keeper(&self, keeper: &Keeper) {
        let key = (keeper.placement.environment.clone(), keeper.id.clone());
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// How long after SIGTERM its instances are killed.
    pub fn stop_timeout(&self, placement: &Placement) -> Duration {
        let recorded = |record: &Record| {
            let slot = record.slots.iter().find(|slot| slot.placement == *placement);
            slot.map(|slot| slot.stop_timeout.duration())
        };
        self.book.read(recorded).unwrap_or(USUAL_STOP_TIMEOUT)
    }

    /// Those that its instances write to.
    pub fn logs(&self) -> Vec<PathBuf> {
        let log = |keeper: &Arc<Keeper>| self.log(&keeper.placement, &keeper.process, keeper.number);
        self.keepers().iter().map(log).collect()
    }

    pub fn log(&self, placement: &Placement, process: &str, number: u32) -> PathBuf {
        log_path(&self.home, &placement.environment, &placement.version, process, number)
    }

    /// A loopback port that nobody listens on and that was given to nobody.
    pub fn free_port(&self, record: &Record) -> PortResult<u16> {
        let given: Vec<u16> = record.ports().collect();
        for _ in 0..PORTS {
            let port = FIRST_PORT + self.next_port.fetch_add(1, Ordering::Relaxed) % PORTS;
            if !given.contains(&port) && is_free(port) {
                return Ok(port);
            }
        }
        let last = FIRST_PORT + PORTS - 1;
        Err(PortError::failed(format!("no loopback port from {FIRST_PORT} to {last} is free")))
    }

    pub fn begin_one_off(&self, name: &str) {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    pub fn end_one_off(&self, name: &str) {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub fn one_offs(&self) -> BTreeSet<String> {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the engine's own word of what happens to containers is heard.
    pub fn hear(self: &Arc<Self>) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.get_or_insert_with(|| tokio::spawn(events::hear(Arc::clone(self))).abort_handle());
    }

    /// Lets go of everything, which keeps running.
    pub fn let_go(&self) {
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
        self.keepers().iter().for_each(|keeper| keeper.let_go());
    }
}

/// Tells what a home has on an engine from what others have there, those of other machines too.
pub fn home_mark(home: &Path) -> String {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let all = [&machine, b"\n".as_slice(), home.as_os_str().as_encoded_bytes()].concat();
    Digest::of(&all).as_str()[..16].to_owned()
}
