//! This machine and its programs, as leases tell them: a pid alone may belong to another program by now.

use std::io;
use std::net::{SocketAddr, TcpListener};

use orchestrate_core::database::{Holder, Site};
use orchestrate_core::ports::Host;
use orchestrate_core::trace::Traceparent;

pub struct ThisHost {
    /// This home, where others share its database.
    pub site: Option<Site>,
    /// The span that a command works for; the daemon works for nobody's.
    pub traceparent: Option<Traceparent>,
}

/// What is in the way of listening at an address; tried for an instant.
pub fn cannot_listen(address: SocketAddr) -> Option<io::Error> {
    TcpListener::bind(address).err()
}

impl Host for ThisHost {
    fn holder(&self, actor: &str) -> Holder {
        let pid = std::process::id();
        Holder {
            actor: actor.to_owned(),
            host: name(),
            pid,
            start_time: start_time(pid).unwrap_or(0),
            boot_id: boot_id(),
        }
    }

    fn taken(&self, address: SocketAddr) -> Option<String> {
        cannot_listen(address).map(|error| error.to_string())
    }

    fn runs(&self, holder: &Holder) -> Option<bool> {
        if holder.host != name() {
            return None;
        }
        Some(holder.boot_id == boot_id() && start_time(holder.pid) == Some(holder.start_time))
    }

    fn site(&self) -> Option<Site> {
        self.site.clone()
    }

    fn traceparent(&self) -> Option<Traceparent> {
        self.traceparent
    }
}

/// Neither a core file nor another program of the same user gets to see what is in memory: there are secrets in it.
pub fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
    // Only the soft limit: a service that wants core files of its own can still ask for them.
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, rustix::process::Rlimit { current: Some(0), ..limit });
    // The limit alone does not count where the system pipes core files into a program.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The name of this machine.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who types, for the records: `ORCHESTRATE_ACTOR`, or the user and the machine.
pub fn actor() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    if let Some(actor) = named("ORCHESTRATE_ACTOR") {
        return clean(&actor);
    }
    let user = named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"));
    let user =
        user.or_else(user_name).unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    clean(&format!("{user}@{}", name()))
}

/// The name that the system knows this user by; cron and CI set no `USER`.
fn user_name() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id == uid).then(|| name.to_owned())
    })
}

/// Records are read on terminals, so nothing in them may steer one.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// When a process started, in ticks since boot; none if it is gone, or only waits to be reaped.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
