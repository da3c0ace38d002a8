//! The processes of one scene, found by the mark that all of them carry in their environment.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

pub const MARK: &str = "LUCK_SCENE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Daemon,
    Proxy,
    Command,
    Instance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub kind: Kind,
    /// Of an instance: the version, and which one it is, such as `blue-web-1`.
    pub version: String,
    pub instance: String,
}

/// Everything that lives with this mark.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
        let environ = String::from_utf8_lossy(&environ).into_owned();
        let variable = |name: &str| {
            let named = environ.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            named.unwrap_or_default().to_owned()
        };
        if !environ.split('\0').any(|pair| pair == wanted) || !alive(pid) {
            continue;
        }
        let (version, instance) = (variable("ORCHESTRATE_VERSION"), variable("ORCHESTRATE_INSTANCE"));
        let instance = instance.split('.').next().unwrap_or_default().to_owned();
        found.push(Process { pid, kind: kind(pid, !instance.is_empty()), version, instance });
    }
    found.sort_by_key(|process| process.pid);
    found
}

fn kind(pid: u32, is_instance: bool) -> Kind {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let says = |word: &[u8]| words.contains(&word);
    match is_instance {
        true => Kind::Instance,
        false if says(b"proxy") => Kind::Proxy,
        false if says(b"daemon") && says(b"run") => Kind::Daemon,
        false => Kind::Command,
    }
}

/// Whether it runs; what only waits to be reaped does not.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

pub fn signal(pid: u32, signal: Signal) {
    // It may have ended by itself meanwhile.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

pub fn kill_and_wait(pids: &[u32]) {
    pids.iter().for_each(|pid| kill(*pid));
    super::until("killed processes are gone", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}
