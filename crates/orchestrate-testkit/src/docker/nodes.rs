//! A swarm of three nodes, each an engine in a network of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Engine;

/// Gone with all that ran there when it is dropped.
pub struct Nodes {
    /// All of them are managers.
    pub engines: Vec<Engine>,
    /// The address at which they reach this machine.
    pub gateway: String,
    lose: String,
    script: Child,
}

impl Nodes {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/with-nodes");
        let variable = |name: &str| format!("echo \"$ORCHESTRATE_TEST_NODES{name}\"; ");
        let told = [variable(""), variable("_GATEWAY"), variable("_LOSE")].concat() + "exec cat >/dev/null";
        let mut script = Command::new(script)
            .args(["sh", "-c", &told])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut line =
            || lines.next().expect("the tests need a swarm of several nodes, and it does not start").unwrap();
        let (hosts, gateway, lose) = (line(), line(), line());
        let engine = |host: &str| Engine { host: host.to_owned(), pidfile: None, _script: None };
        Self { engines: hosts.split(' ').map(engine).collect(), gateway, lose, script }
    }

    /// Ends all of a node at once, as if it had lost its power. The first one is 1.
    pub fn lose(&self, number: usize) {
        let lost = Command::new(&self.lose).arg(number.to_string()).status();
        assert!(lost.unwrap().success(), "node {number} cannot be ended");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // It clears up once nobody holds its input any more.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
