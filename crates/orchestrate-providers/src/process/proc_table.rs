//! What the kernel knows of processes, read from `/proc`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

/// One process for certain: a pid is used again, a pid with its start time is not (until the next boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub pid: u32,
    /// Clock ticks from the boot to its start.
    pub started: u64,
}

/// The part of `/proc/PID/stat` that matters here.
pub(super) struct Stat {
    pub state: char,
    pub group: u32,
    pub started: u64,
}

impl Stat {
    /// It ended, and nobody has taken note yet.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// A process that carries the name of an instance in its environment.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    pub mark: Mark,
    /// As whom it runs.
    pub uid: u32,
    pub variables: Vec<(String, String)>,
}

impl Bearer {
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name comes second, in parentheses, and may itself hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The living processes of a process group, its leader included.
pub(super) fn members(group: u32) -> Vec<Mark> {
    let member = |pid| {
        let stat = stat(pid)?;
        (stat.group == group && !stat.is_zombie()).then_some(Mark { pid, started: stat.started })
    };
    pids().filter_map(member).collect()
}

/// The group leaders of this user whose environment names an instance; root's may run as anybody.
pub(super) fn bearers(variable: &str) -> Vec<Bearer> {
    let own = rustix::process::geteuid().as_raw();
    pids().filter_map(|pid| bearer(pid, own, variable)).collect()
}

fn bearer(pid: u32, own: u32, variable: &str) -> Option<Bearer> {
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    if uid != own && own != 0 {
        return None;
    }
    let stat = stat(pid).filter(|stat| stat.group == pid && !stat.is_zombie())?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables: Vec<(String, String)> = environment
        .split(|byte| *byte == 0)
        .filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='))
        .filter(|(key, _)| key.starts_with("ORCHESTRATE_") || *key == "PORT")
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let bearer = Bearer { mark: Mark { pid, started: stat.started }, uid, variables };
    bearer.variable(variable).is_some().then_some(bearer)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_confuse() {
        let text = "42 (a) R 1 (b)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.group, stat.started), ('S', 42, 777));
        assert!(parse_stat("42 (a").is_none());
        assert!(parse_stat("").is_none());
    }
}
