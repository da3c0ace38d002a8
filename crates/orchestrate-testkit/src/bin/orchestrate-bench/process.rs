//! Programs that the benchmark starts, waits for, and stops; and what `/proc` says about them.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// For one command, and for a program to come up or to end.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that cannot be awaited.
pub const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A program in the background; it is told to end when this is dropped.
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts it with its output in `NAME.log` of `directory`.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", shown(&command)))?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// SIGTERM, then SIGKILL.
    pub async fn stop(mut self) -> Result<()> {
        self.terminate();
        if timeout(Duration::from_secs(10), self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("cannot stop {}", self.name))?;
        }
        Ok(())
    }

    fn terminate(&self) {
        // It has a pid as long as it was not waited for, so the pid cannot be another's.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// `kill -9` of a process that this program did not start itself.
pub fn kill(pid: u32) -> Result<()> {
    let known = Pid::from_raw(pid.cast_signed()).with_context(|| format!("{pid} is no pid"))?;
    kill_process(known, Signal::KILL).with_context(|| format!("cannot kill {pid}"))
}

/// What only waits to be reaped does not.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// A command that ended well.
pub struct Finished {
    pub started: Instant,
    pub ended: Instant,
    pub stdout: Vec<u8>,
}

/// Runs a command to its end; an error has the command and what it wrote to stderr.
pub async fn run(command: &mut Command) -> Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let Ok(output) = timeout(LIMIT, child.wait_with_output()).await else {
        bail!("`{}` did not end within {LIMIT:?}", shown(command));
    };
    let ended = Instant::now();
    let Output { status, stdout, stderr } = output?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("`{}` ended with {status}: {}", shown(command), said.trim());
    }
    Ok(Finished { started, ended, stdout })
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A port of loopback that nothing uses now.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// So many, no two of them the same.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let listeners = (0..count).map(bind).collect::<Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

/// CPU time of a process so far, its own only.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name, in brackets, may have spaces.
    let fields =
        stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let (Some(user), Some(system)) = (field(14), field(15)) else { bail!("/proc/{pid}/stat cannot be read") };
    Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// A value in KiB of `/proc/PID/status` or `/proc/PID/smaps_rollup`.
pub fn memory_kib(pid: u32, file: &str, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|number| number.parse().ok()).with_context(|| format!("{path} has no {key}"))
}

/// Threads of a process.
pub fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}
