//! The test's end of a home's failpoints: what its programs are to do where, and where they have been.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::luck::{Scene, pause};

/// A program came to a point, so many times since it was last counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visit {
    pub program: String,
    pub point: String,
    pub number: u32,
}

pub struct Panel {
    directory: PathBuf,
    /// Makes each set of rules another one, so that visits are counted anew.
    edition: u32,
}

impl Panel {
    /// For all programs that are started in the scene from now on.
    pub fn new(scene: &mut Scene) -> Self {
        let directory = scene.path("failpoints");
        fs::create_dir(&directory).unwrap();
        scene.variable("ORCHESTRATE_FAILPOINTS", directory.to_str().unwrap());
        Self { directory, edition: 0 }
    }

    /// From now on these rules count, and no others.
    pub fn arm(&mut self, rules: &[String]) {
        for number in 0..4 {
            let _ = fs::remove_file(self.fired(number));
        }
        self.edition += 1;
        let (next, text) =
            (self.directory.join("next"), format!("# {}\n{}\n", self.edition, rules.join("\n")));
        fs::write(&next, text).unwrap();
        fs::rename(next, self.directory.join("rules")).unwrap();
    }

    pub fn disarm(&mut self) {
        fs::write(self.directory.join("rules"), format!("# disarmed after {}\n", self.edition)).unwrap();
    }

    /// Forgets where programs have been, and notes it from now on.
    pub fn trace(&mut self) {
        self.arm(&[]);
        fs::write(self.directory.join("trace"), "").unwrap();
    }

    pub fn trace_no_more(&mut self) -> BTreeSet<Visit> {
        let visits = self.visits();
        fs::remove_file(self.directory.join("trace")).unwrap();
        visits
    }

    pub fn visits(&self) -> BTreeSet<Visit> {
        let text = fs::read_to_string(self.directory.join("trace")).unwrap_or_default();
        let visit = |line: &str| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap().to_owned();
            Visit { program: word(), point: word(), number: word().parse().unwrap() }
        };
        text.lines().map(visit).collect()
    }

    /// Whether a program obeyed the rule of this number, counted from 0.
    pub fn has_fired(&self, number: usize) -> bool {
        self.fired(number).exists()
    }

    /// The same, given a little time: what the daemon does may come after what the command does.
    pub fn fires_within(&self, number: usize, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_fired(number) && Instant::now() < deadline {
            pause(Duration::from_millis(10));
        }
        self.has_fired(number)
    }

    fn fired(&self, number: usize) -> PathBuf {
        self.directory.join(format!("fired-{number}"))
    }
}
