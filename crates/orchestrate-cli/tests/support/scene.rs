//! A home, a directory with a config file, and a service: everything that a person would have, and nothing of anyone else's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, Running};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_orchestrate");

pub struct Scene {
    directory: TempDir,
    pub home: PathBuf,
    /// Where the config file and the artifacts are, and where commands are typed.
    pub work: PathBuf,
    /// The live address of `production`.
    pub address: SocketAddr,
    /// The config file, as a value.
    pub config: Value,
    variables: Vec<(String, String)>,
}

impl Scene {
    /// The sample service, two instances of it, blue and green.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (home, work) = (directory.path().join("home"), directory.path().join("work"));
        fs::create_dir(&work).unwrap();
        let address = free_address();
        let config = json!({
            "service": "sample",
            "release": { "artifact": "dist/{version}" },
            "environments": { "production": {
                "type": "production",
                "url": format!("http://{address}"),
                "processes": { "web": { "command": ["./serve"], "instances": 2, "listen": address } },
                "strategy": { "type": "blue_green", "warm_for": "15m" },
                "health_check": { "path": "/healthz", "interval": "20ms", "deadline": "20s" },
                "drain": "5s",
                "stop_timeout": "3s",
                "variables": { "LOG_LEVEL": "info" },
                "verify": { "version": { "path": "/version", "contains": "{version}" } },
            } },
        });
        let scene = Self { directory, home, work, address, config, variables: Vec::new() };
        scene.write_config();
        scene
    }

    /// A scene in which nobody wrote a config file.
    pub fn empty() -> Self {
        let scene = Self::new();
        fs::remove_file(scene.work.join("orchestrate.yaml")).unwrap();
        scene
    }

    /// Changes the environment `production` of the config file.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(&mut self.config["environments"]["production"]);
        self.write_config();
        self
    }

    pub fn write_config(&self) {
        // Every JSON text is YAML.
        self.write("orchestrate.yaml", &serde_json::to_string_pretty(&self.config).unwrap());
    }

    /// How the sample service behaves from the next deployment on.
    pub fn behaviour(&mut self, behaviour: &str) -> &mut Self {
        self.configure(|production| production["variables"]["BEHAVIOUR"] = json!(behaviour))
    }

    /// A variable of the commands.
    pub fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// An executable script.
    pub fn script(&self, path: &str, body: &str) -> PathBuf {
        let path = self.write(path, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The sample service as `dist/{version}`, different in every version.
    pub fn artifact(&self, version: &str) -> PathBuf {
        let body = format!("# {version}\necho \"this is {version}\"\nexec '{PROGRAM}' sample-service");
        self.script(&format!("dist/{version}/serve"), &body).parent().unwrap().to_owned()
    }

    /// `orchestrate`, as a person would type it in the directory of the config file.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let of_others = ["ORCHESTRATE_", "OTEL_", "TRACEPARENT"];
        let others = |name: &str| of_others.iter().any(|begin| name.starts_with(begin));
        for (name, _) in std::env::vars().filter(|(name, _)| others(name)) {
            command.env_remove(name);
        }
        command
            .args(args)
            .current_dir(&self.work)
            .env_remove("NO_COLOR")
            .env("HOME", &self.work)
            .env("ORCHESTRATE_HOME", &self.home)
            .env("ORCHESTRATE_ACTOR", "alice@desk")
            .envs(self.variables.iter().cloned());
        command
    }

    pub fn begin(&self, args: &[&str]) -> Running {
        Running::start(&mut self.command(args))
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.begin(args).end()
    }

    /// A command line without quotes, split at its spaces.
    #[track_caller]
    pub fn typed(&self, line: &str) -> Ran {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with `--format json`.
    #[track_caller]
    pub fn json(&self, line: &str) -> Ran {
        self.typed(&format!("{line} --format json"))
    }

    /// Writes the sample service as this version and deploys it.
    #[track_caller]
    pub fn deploy(&self, version: &str) -> Ran {
        self.artifact(version);
        self.typed(&format!("deploy --env production --version {version}"))
    }

    #[track_caller]
    pub fn rollback(&self) -> Ran {
        self.json("deploy rollback --env production --force")
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.json("deploy status --env production").ok().json()
    }

    /// What the live address answers.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        get(self.address, path)
    }

    /// The version that users get.
    #[track_caller]
    pub fn answers(&self) -> String {
        let (status, body) = self.get("/version").expect("the live address answers");
        assert_eq!(status, 200, "{body}");
        body.trim().to_owned()
    }

    /// Every process that works in this scene, or was started with its home.
    pub fn processes(&self) -> Vec<u32> {
        let here = self.directory.path().to_str().unwrap();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let about = Path::new("/proc").join(pid.to_string());
            let works_here = fs::read_link(about.join("cwd")).is_ok_and(|cwd| cwd.starts_with(here));
            let line = fs::read(about.join("cmdline")).unwrap_or_default();
            works_here || String::from_utf8_lossy(&line).contains(here)
        })
        .collect()
    }

    /// What goes on after everything was told to end, and had the time to.
    fn left(&self) -> Vec<u32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            super::pause(Duration::from_millis(5));
        }
    }

    /// The log of the daemon or of the proxy.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.home.join(name)).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let stopped = self.home.exists().then(|| self.command(&["daemon", "stop", "--all"]).output());
        let left = self.left();
        for pid in &left {
            let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        unlock(self.directory.path());
        if std::thread::panicking() {
            eprintln!("--- daemon.log\n{}\n--- proxy.log\n{}", self.log("daemon.log"), self.log("proxy.log"));
        } else {
            assert!(left.is_empty(), "{left:?} left after `daemon stop --all`: {stopped:?}");
        }
    }
}

/// Sealed artifacts are read-only, directories too; who is not root could not remove them.
fn unlock(directory: &Path) {
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}

/// One answer, on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(super::PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// An address that nobody listens on, outside the ranges from which instances and clients get their ports.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = std::process::id().wrapping_mul(37);
    for _ in 0..3_000 {
        let offset = base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 3_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000 + u16::try_from(offset).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
