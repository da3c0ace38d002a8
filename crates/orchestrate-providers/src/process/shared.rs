//! What the supervisor's verbs and the keepers of its instances have in common.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId};
use orchestrate_core::ports::{Placement, PortError, PortResult};
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;
use tokio::sync::watch;

use super::book::{Book, InstanceEntry, Record};
use super::command;
use super::confine;
use super::keeper::{Held, Keeper};
use super::lines::Counted;
use super::output::log_path;
use super::supervisor::RestartPolicy;
use super::working_copy;
use crate::artifact::ArtifactStore;
use crate::spec::{RunSpec, RunSpecs};

/// Below the range that the kernel takes its own choices from, so nobody gets one by chance.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;
const USUAL_STOP_TIMEOUT: Duration = Duration::from_secs(10);

type Gate = Arc<tokio::sync::Mutex<()>>;

pub(super) struct Shared {
    pub home: PathBuf,
    /// Tells this home's instances from another's, in the names that they carry.
    pub home_mark: String,
    pub store: Arc<ArtifactStore>,
    pub book: Arc<Book>,
    pub restart: RestartPolicy,
    /// Counts what others can see of the instances.
    pub changes: watch::Sender<u64>,
    /// Counts everything that happens to them, each health check too.
    pub pulse: watch::Sender<u64>,
    specs: Arc<dyn RunSpecs>,
    known_specs: Mutex<HashMap<ReleaseId, Arc<RunSpec>>>,
    keepers: Mutex<BTreeMap<(EnvironmentName, String), Arc<Keeper>>>,
    gates: Mutex<BTreeMap<(EnvironmentName, Slot), Gate>>,
    hook_gates: Mutex<BTreeMap<PathBuf, Gate>>,
    next_port: AtomicU16,
    pub counted: Arc<Counted>,
    /// Everything is being stopped, and nothing starts any more.
    closing: AtomicBool,
}

impl Shared {
    pub fn new(
        home: PathBuf,
        store: Arc<ArtifactStore>,
        book: Book,
        restart: RestartPolicy,
        specs: Arc<dyn RunSpecs>,
    ) -> Self {
        let home_mark = home_mark(&home);
        Self {
            home,
            home_mark,
            store,
            book: Arc::new(book),
            restart,
            changes: watch::Sender::new(0),
            pulse: watch::Sender::new(0),
            specs,
            known_specs: Mutex::default(),
            keepers: Mutex::default(),
            gates: Mutex::default(),
            hook_gates: Mutex::default(),
            next_port: AtomicU16::new(u16::try_from(random() % u64::from(PORTS)).unwrap_or(0)),
            counted: Arc::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// A name that no instance of any home had before; the second part says whose home, the third which release.
    pub fn new_token(&self, id: &str, release: ReleaseId) -> String {
        format!("{id}.{release}.{}{:016x}", self.home_mark, random())
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

    /// From now on nothing is started. Returns every slot that has had a gate: a start may still be on its way behind it.
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

    /// Refuses a fence older than one that was seen; a newer one is on disk when this returns.
    pub async fn accept_fence(&self, environment: &EnvironmentName, fence: Fence) -> PortResult<()> {
        self.book.accept_fence(environment, fence).await
    }

    /// Whether exactly this fence was seen before; an error if a newer one was.
    pub fn check_fence(&self, environment: &EnvironmentName, fence: Fence) -> PortResult<bool> {
        self.book.check_fence(environment, fence)
    }

    pub async fn spec(&self, release: ReleaseId) -> PortResult<Arc<RunSpec>> {
        let known = |shared: &Self| {
            shared.known_specs.lock().unwrap_or_else(PoisonError::into_inner).get(&release).cloned()
        };
        if let Some(spec) = known(self) {
            return Ok(spec);
        }
        let spec = Arc::new(self.specs.run_spec(release).await?);
        let mut specs = self.known_specs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(specs.entry(release).or_insert(spec)))
    }

    /// Whether its settings and secrets can be read, and its users are here; the secrets are not kept for that.
    pub async fn can_start(&self, release: ReleaseId) -> PortResult<()> {
        confine::check(&self.specs.run_spec(release).await?)
    }

    /// Its secrets leave the memory with it.
    pub fn forget_spec(&self, release: ReleaseId) {
        self.known_specs.lock().unwrap_or_else(PoisonError::into_inner).remove(&release);
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

    /// Whether it is still the one that keeps its instance. Only who holds the slot's gate can rely on it.
    pub fn is_current(&self, keeper: &Arc<Keeper>) -> bool {
        let key = (keeper.placement.environment.clone(), keeper.id.clone());
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.get(&key).is_some_and(|current| Arc::ptr_eq(current, keeper))
    }

    /// How long after SIGTERM its instances are killed.
    pub fn stop_timeout(&self, placement: &Placement) -> Duration {
        let recorded = |record: &Record| {
            record
                .slots
                .iter()
                .find(|slot| slot.placement == *placement)
                .map(|slot| slot.stop_timeout.duration())
        };
        self.book.read(recorded).unwrap_or(USUAL_STOP_TIMEOUT)
    }

    /// Where a release runs in its slot.
    pub fn directory(&self, placement: &Placement) -> PathBuf {
        working_copy::real(self.place(placement))
    }

    /// The usual place of its working copy, which may be a link.
    pub fn place(&self, placement: &Placement) -> PathBuf {
        let name = format!("{}-{}", placement.slot, placement.release);
        self.home.join("run").join(placement.environment.as_str()).join(name)
    }

    /// Those that its instances write to.
    pub fn logs(&self) -> Vec<PathBuf> {
        let log = |keeper: &Arc<Keeper>| self.log(&keeper.placement, &keeper.process, keeper.number);
        self.keepers().iter().map(log).collect()
    }

    pub fn log(&self, placement: &Placement, process: &str, number: u32) -> PathBuf {
        log_path(&self.home, &placement.environment, &placement.version, process, number)
    }

    /// Puts a verified copy of the artifact where the release runs, in place of whatever was there.
    pub async fn make_working_copy(&self, placement: &Placement, spec: &Arc<RunSpec>) -> PortResult<()> {
        let (store, spec, place) = (Arc::clone(&self.store), Arc::clone(spec), self.place(placement));
        let mark = self.home_mark.clone();
        blocking(move || working_copy::make(&store, &spec, &place, &mark)).await
    }

    pub async fn remove_working_copy(&self, placement: &Placement) -> PortResult<()> {
        let place = self.place(placement);
        blocking(move || {
            working_copy::remove(&place).map_err(|cause| {
                PortError::failed(format!("the working copy {} cannot be removed: {cause}", place.display()))
            })
        })
        .await
    }

    /// Spawns the instance as it stands in the book.
    pub async fn spawn(
        &self,
        spec: &Arc<RunSpec>,
        placement: &Placement,
        entry: InstanceEntry,
    ) -> PortResult<Held> {
        let (spec, placement) = (Arc::clone(spec), placement.clone());
        let directory = self.directory(&placement);
        let log = self.log(&placement, &entry.process, entry.number);
        blocking(move || command::spawn(&spec, &placement, &entry, &directory, &log)).await
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
}

pub(super) fn home_mark(home: &Path) -> String {
    Digest::of(home.as_os_str().as_encoded_bytes()).as_str()[..8].to_owned()
}

/// Whether a listener can be bound there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> PortResult<R> + Send + 'static,
) -> PortResult<R> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|cause| {
        Err(PortError::failed(format!("a task of the supervisor ended early: {cause}")))
    })
}

pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without the kernel's randomness, the time and the pid still make a name unique.
    if getrandom::fill(&mut bytes).is_err() {
        let now = orchestrate_core::time::Timestamp::system_now().as_millis();
        bytes = (now.unsigned_abs() << 22 | u64::from(std::process::id())).to_ne_bytes();
    }
    u64::from_ne_bytes(bytes)
}
