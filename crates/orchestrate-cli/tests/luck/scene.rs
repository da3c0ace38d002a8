//! A home of its own with a config file, the real binary, and an end to everything that was started.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::machine::{self, Machine};
use super::processes::{self, Kind, MARK, Process};

pub struct Scene {
    directory: TempDir,
    pub home: PathBuf,
    pub address: SocketAddr,
    pub mark: String,
    /// The environment called `production`, as the config file has it.
    pub settings: Value,
    pub notifications: Value,
    pub variables: Vec<(String, String)>,
    /// The program that is tested; `LUCK_PROGRAM` names another build of it.
    pub program: PathBuf,
    /// The machine that all of it is on, if that is not this one.
    pub machine: Option<Machine>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends(0)
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "not said: {text}\nexit {}: {}", self.code, self.stderr);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::at("home")
    }

    /// With the home at this path inside the scene's directory.
    pub fn at(home: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join(home);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&home).unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = free_address();
        let program = std::env::current_exe().unwrap();
        let settings = json!({
            "type": "production",
            "url": format!("http://{address}"),
            "processes": { "web": {
                "command": [program, "--exact", "luck::service::serve", "--ignored", "--nocapture"],
                "instances": 2,
                "listen": address,
            } },
            "strategy": { "type": "blue_green", "warm_for": "15m" },
            "health_check": { "path": "/healthz", "interval": "20ms", "deadline": "10s" },
            "drain": "5s",
            "stop_timeout": "3s",
            "variables": { MARK: mark },
            "verify": { "version": { "path": "/version", "contains": "{version}" }, "bake": "0s" },
        });
        let notifications = json!([]);
        let variables = Vec::new();
        let program =
            std::env::var_os("LUCK_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_orchestrate").into()).into();
        let machine = None;
        let scene =
            Self { directory, home, address, mark, settings, notifications, variables, program, machine };
        scene.write_config();
        scene
    }

    /// 1.1.0 is live and 1.0.0 is warm.
    pub fn with_two_releases() -> Self {
        let scene = Self::new();
        scene.deploy("1.0.0").ok();
        scene.deploy("1.1.0").ok();
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the config file.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.settings);
        self.write_config();
    }

    /// A variable of the instances, from the next deployment on.
    pub fn service(&mut self, name: &str, value: &str) {
        self.configure(|settings| settings["variables"][name] = json!(value));
    }

    /// A variable of the commands, and of the daemon that they start.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn write_config(&self) {
        let config = json!({
            "service": "sample",
            "release": { "artifact": self.path("dist/{version}") },
            "environments": { "production": self.settings },
            "notifications": self.notifications,
        });
        std::fs::write(self.path("orchestrate.yaml"), config.to_string()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(&self.home).arg("--config").arg(self.path("orchestrate.yaml"));
        command.args(args).env(MARK, &self.mark).stdin(Stdio::null()).current_dir("/");
        for name in
            ["ORCHESTRATE_DATABASE_URL", "ORCHESTRATE_HOME", "ORCHESTRATE_KEY_FILE", "ORCHESTRATE_ACTOR"]
        {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// The same on the machine of the scene.
    fn typed(&self, args: &[&str]) -> Command {
        let command = self.command(args);
        self.machine.as_ref().map_or_else(|| self.command(args), |machine| machine.has(&command))
    }

    /// Does what is asked of the network from the scene's machine.
    pub fn there<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> T {
        match &self.machine {
            Some(machine) => machine.inside(ask),
            None => ask(),
        }
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        // Also a test that the daemon does not hold the pipes of the command that started it.
        let output = self.typed(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// A command that is not waited for.
    pub fn begin(&self, args: &[&str]) -> Running {
        Self::begun(self.typed(args))
    }

    /// The same on a machine of another name, where its processes cannot be seen. Needs root.
    pub fn begin_elsewhere(&self, host: &str, args: &[&str]) -> Running {
        let mut there = Command::new("unshare");
        let rename = format!("echo {host} >/proc/sys/kernel/hostname && exec \"$0\" \"$@\"");
        there.args(["--uts", "sh", "-c", &rename]);
        machine::append(&mut there, &self.command(args));
        Self::begun(there)
    }

    fn begun(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Running { child, lines, said: String::new() }
    }

    fn release(&self, version: &str) {
        let place = self.path("dist").join(version);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("about.txt"), version).unwrap();
    }

    pub fn deploy_args<'a>(&self, version: &'a str) -> Vec<&'a str> {
        self.release(version);
        vec!["deploy", "--env", "production", "--version", version]
    }

    pub fn deploy(&self, version: &str) -> Ran {
        self.run(&self.deploy_args(version))
    }

    pub fn begin_deploy(&self, version: &str) -> Running {
        self.begin(&self.deploy_args(version))
    }

    pub fn rollback(&self) -> Ran {
        self.run(&ROLLBACK)
    }

    pub fn status(&self) -> Value {
        self.run(&["deploy", "status", "--env", "production", "--format", "json"]).ok().json()
    }

    pub fn processes(&self) -> Vec<Process> {
        processes::marked(&self.mark)
    }

    pub fn instances(&self) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.kind == Kind::Instance).collect()
    }

    /// The pid of the daemon or of the proxy.
    pub fn pid(&self, kind: Kind) -> Option<u32> {
        self.processes().into_iter().find(|process| process.kind == kind).map(|process| process.pid)
    }

    pub fn stop_all(&self) {
        self.run(&["daemon", "stop", "--all"]).ok();
        // They have said goodbye, and may still be on their last instructions.
        let left = || self.processes();
        super::within(Duration::from_secs(2), "nothing is left", || left().is_empty().then_some(()));
    }
}

pub const ROLLBACK: [&str; 8] =
    ["deploy", "rollback", "--env", "production", "--force", "--format", "json", "--reason=bad"];

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.typed(&["daemon", "stop", "--all"]).output();
        for process in self.processes() {
            processes::kill(process.pid);
        }
        if std::thread::panicking() {
            for log in ["daemon.log", "proxy.log"] {
                eprintln!("--- {log}\n{}", std::fs::read_to_string(self.home.join(log)).unwrap_or_default());
            }
        }
        unlock(self.directory.path());
    }
}

/// Sealed artifacts are read-only, directories too; who is not root could not remove them.
fn unlock(directory: &Path) {
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}

/// A command on its way.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns once it said something with this text.
    #[track_caller]
    pub fn await_line(&mut self, text: &str) {
        loop {
            match self.lines.recv_timeout(super::PATIENCE) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return;
                    }
                }
                Err(error) => panic!("it never said `{text}` ({error}): {}", self.said),
            }
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let status = super::until("the command ends", || self.child.try_wait().unwrap());
        let mut stdout = String::new();
        let _ = self.child.stdout.take().unwrap().read_to_string(&mut stdout);
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Ran { code: status.code().unwrap_or(-1), stdout, stderr: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on, below the range from which the kernel gives ports to clients.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = std::process::id() * 37;
    for _ in 0..10_000 {
        let offset = base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 12_000 + u16::try_from(offset).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
