//! A command of ours, running or ended.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use serde_json::Value;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        let status = output.status.code().unwrap_or(-1);
        Self { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends(0)
    }

    /// Wants `text` on stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "not said: {text}\nexit {}, stderr: {}",
            self.status,
            self.stderr
        );
        self
    }

    /// Wants `text` on stdout.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "not printed: {text}\nstdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The result, which must be one line of JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "a result is one line: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error as `--format json` prints it: one line on stderr, and nothing on stdout.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_eq!(self.stdout, "", "an error leaves stdout empty");
        assert_eq!(self.stderr.lines().count(), 1, "an error is one line: {}", self.stderr);
        let line: Value = serde_json::from_str(&self.stderr).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        line["error"].clone()
    }
}

/// A command on its way; killed when it is dropped.
pub struct Running {
    pid: u32,
    output: mpsc::Receiver<std::io::Result<Output>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (pid, (sender, output)) = (child.id(), mpsc::channel());
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        Self { pid, output }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).expect("it still runs");
    }

    /// The same for one that may have ended by now.
    pub fn signal_if_it_runs(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits for its end, for a bounded time.
    #[track_caller]
    pub fn end(self) -> Ran {
        match self.output.recv_timeout(super::PATIENCE) {
            Ok(output) => Ran::new(output.expect("its output can be read")),
            Err(_) => {
                self.signal(rustix::process::Signal::KILL);
                let said = self.output.recv_timeout(super::PATIENCE).map(|output| output.map(Ran::new));
                panic!("it did not end within {:?}: {said:?}", super::PATIENCE);
            }
        }
    }
}
