//! The directory through which a test reaches all programs of a home, also those that run already:
//!
//! - `rules`: read at every visit. Whenever it changes, each program counts its visits from 1 again.
//! - `trace`: if it is there, every visit is added, as `PROGRAM POINT VISIT`.
//! - `fired-N`: made by the program that obeys rule N. A rule is obeyed once, whoever is started again meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

use super::injected::{Injected, MadeToFail};
use super::rule::{Action, read};

/// Names the directory; without it no failpoint does anything.
const DIRECTORY: &str = "ORCHESTRATE_FAILPOINTS";

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// Says which program this is, to be called before its first visit. Otherwise it is the `command`.
pub fn this_is(program: &'static str) {
    let _ = PROGRAM.set(program);
}

/// On the way through a failpoint.
#[must_use]
pub struct Passing {
    point: &'static str,
    action: Option<Action>,
}

impl Passing {
    /// What came of the effect, as it is told.
    pub fn on<T, E: MadeToFail>(self, done: Result<T, E>) -> Result<T, E> {
        match self.action {
            None | Some(Action::Kill | Action::Stop | Action::Error | Action::Full) => done,
            Some(Action::KillAfter) => die(),
            Some(Action::Lose) => Injected { point: self.point, full: false }.told(),
        }
    }
}

/// Comes to a failpoint, before its effect.
pub fn reach(point: &'static str) -> Result<Passing, Injected> {
    let action = panel().and_then(|panel| panel.visit(point));
    match action {
        Some(Action::Kill) => die(),
        Some(Action::Stop) => stop(),
        Some(Action::Error) => return Err(Injected { point, full: false }),
        Some(Action::Full) => return Err(Injected { point, full: true }),
        None | Some(Action::KillAfter | Action::Lose) => {}
    }
    Ok(Passing { point, action })
}

struct Panel {
    directory: PathBuf,
    visits: Mutex<Visits>,
}

/// How often each point was visited under these rules.
#[derive(Default)]
struct Visits {
    rules: String,
    counts: BTreeMap<&'static str, u32>,
}

fn panel() -> Option<&'static Panel> {
    static PANEL: OnceLock<Option<Panel>> = OnceLock::new();
    let open = || {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY)?);
        Some(Panel { directory, visits: Mutex::default() })
    };
    PANEL.get_or_init(open).as_ref()
}

impl Panel {
    fn visit(&self, point: &'static str) -> Option<Action> {
        let program = *PROGRAM.get_or_init(|| "command");
        let mut visits = self.visits();
        let rules = fs::read_to_string(self.directory.join("rules")).unwrap_or_default();
        if visits.rules != rules {
            *visits = Visits { rules, counts: BTreeMap::new() };
        }
        let count = visits.counts.entry(point).or_default();
        *count += 1;
        let visit = *count;
        let rules = read(&visits.rules).unwrap_or_else(|line| panic!("`{line}` is no rule of a failpoint"));
        self.trace(&format!("{program} {point} {visit}\n"));
        let mut meant = rules.iter().enumerate().filter(|(_, rule)| rule.is_for(program, point, visit));
        meant.find(|(number, _)| self.claim(*number)).map(|(_, rule)| rule.action)
    }

    /// Whether nobody has obeyed it before.
    fn claim(&self, number: usize) -> bool {
        let fired = self.directory.join(format!("fired-{number}"));
        OpenOptions::new().write(true).create_new(true).open(fired).is_ok()
    }

    fn trace(&self, line: &str) {
        let file = OpenOptions::new().append(true).open(self.directory.join("trace"));
        // Nobody wants to know, or the directory is gone with its test.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }

    fn visits(&self) -> MutexGuard<'_, Visits> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[expect(clippy::disallowed_methods, reason = "the kernel may stop another thread of ours first")]
fn stop() {
    let _ = kill_process(getpid(), Signal::STOP);
    std::thread::sleep(std::time::Duration::from_millis(20));
}
