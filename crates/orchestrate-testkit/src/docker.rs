//! A Docker engine for tests, and a small static service for its containers.

mod nodes;
mod registry;

pub use nodes::Nodes;
pub use registry::Registry;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

const BASE_NAME: &str = "orchestrate-test-service:base";
const SOURCE: &str = include_str!("docker/service.c");

/// An engine, asked through the `docker` command.
pub struct Engine {
    pub host: String,
    pidfile: Option<PathBuf>,
    /// Ends with this program, and takes the engine with it.
    _script: Option<Child>,
}

impl Engine {
    /// The variable in which `scripts/with-docker` says where its engine is.
    pub const NAMED: &str = "ORCHESTRATE_TEST_DOCKER";

    /// The one that was started for this run of the tests; without one, one for this program.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(Self::find)
    }

    /// The one that is named; without one, one that ends when this is dropped.
    pub fn find() -> Self {
        match std::env::var(Self::NAMED) {
            Ok(host) => Self { host, pidfile: None, _script: None },
            Err(_) => Self::own(),
        }
    }

    /// One that nobody else uses: for tests that end it.
    pub fn own() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/with-docker");
        let named = Self::NAMED;
        let told = format!("echo \"${named}\"; echo \"${named}_PIDFILE\"; exec cat >/dev/null");
        let mut child = Command::new(script)
            .args(["sh", "-c", &told])
            .env_remove(named)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line =
            || lines.next().expect("the tests need a Docker engine, and it does not start").unwrap();
        let (host, pidfile) = (line(), line());
        assert!(host.starts_with("unix://"), "the tests need a Docker engine: {host}");
        Self { host, pidfile: Some(pidfile.into()), _script: Some(child) }
    }

    /// The shared one, as a swarm of its own.
    pub fn swarm() -> &'static Self {
        let engine = Self::shared();
        let words = "swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:0 --task-history-limit 20";
        if let Err(error) = engine.try_docker(&words.split(' ').collect::<Vec<_>>()) {
            // Whoever comes second finds one.
            assert!(error.contains("already part of a swarm"), "the tests need a swarm: {error}");
        }
        engine
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.pidfile.as_ref().expect("an engine of its own")).unwrap().trim().to_owned()
    }

    /// Ends the engine and starts it again, the same way.
    pub fn restart(&self) {
        self.end()();
    }

    /// Ends it, and says how to start it again.
    pub fn end(&self) -> impl FnOnce() {
        let pid = self.pid();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert!(Command::new("tail").args(["--pid", &pid, "-f", "/dev/null"]).status().unwrap().success());
        let host = self.host.clone();
        move || {
            let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
            let log = fs::File::options().append(true).open(log_of(&host)).unwrap();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
            let mut child = command.spawn().unwrap();
            // Somebody has to take note of its end.
            std::thread::spawn(move || child.wait());
            let asked = || Command::new("docker").args(["-H", &host, "version"]).output().unwrap();
            while !asked().status.success() {
                look_again_soon();
            }
        }
    }

    /// What the command prints; the test fails if it does.
    pub fn docker(&self, words: &[&str]) -> String {
        let output = self.try_docker(words);
        output.unwrap_or_else(|error| panic!("docker {}: {error}", words.join(" ")))
    }

    /// The same with the logins in this directory.
    pub fn docker_as(&self, config: &str, words: &[&str]) -> String {
        self.docker(&[&["--config", config], words].concat())
    }

    pub fn try_docker(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new("docker").args(["-H", &self.host]).args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Builds the service as an image of its own, with these lines at the end of its Dockerfile. Returns its ID.
    pub fn build(&self, tag: &str, lines: &str) -> String {
        // What all of them are built on has a name, so that no image's removal takes it.
        static BASE: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut built = BASE.lock().unwrap();
        if !built.contains(&self.host) {
            let directory = TempDir::new().unwrap();
            fs::copy(service(), directory.path().join("service")).unwrap();
            let base = "FROM scratch\nCOPY service /service\nENTRYPOINT [\"/service\"]\n";
            self.build_in(directory.path(), BASE_NAME, base);
            built.push(self.host.clone());
        }
        drop(built);
        let directory = TempDir::new().unwrap();
        self.build_in(directory.path(), tag, &format!("FROM {BASE_NAME}\n{lines}\n"));
        self.id_of(tag)
    }

    fn build_in(&self, directory: &Path, tag: &str, dockerfile: &str) {
        fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
        let built = Command::new("docker")
            .args(["-H", &self.host, "build", "--quiet", "--tag", tag])
            .arg(directory)
            .env("DOCKER_BUILDKIT", "0")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }

    /// The 64 digits of an image's ID.
    pub fn id_of(&self, image: &str) -> String {
        self.docker(&["image", "inspect", "--format", "{{.Id}}", image])
            .trim_start_matches("sha256:")
            .to_owned()
    }

    /// The names of all containers with this label, `KEY=VALUE`.
    pub fn labelled(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let listed = self.docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Removes what a test may have left.
    pub fn remove_labelled(&self, label: &str) {
        for name in self.labelled(label) {
            let _ = self.try_docker(&["rm", "--force", "--volumes", &name]);
        }
    }
}

/// Between two looks at what announces nothing.
#[expect(clippy::disallowed_methods, reason = "a server that starts tells nobody")]
fn look_again_soon() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}

fn log_of(host: &str) -> PathBuf {
    Path::new(host.trim_start_matches("unix://")).with_extension("log")
}

/// The service's program, compiled once; it needs nothing but a kernel.
fn service() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("service");
        let mut compiler = Command::new("cc")
            .args(["-O2", "-static", "-pthread", "-x", "c", "-", "-o"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the tests need a C compiler: install Debian's package gcc");
        compiler.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success(), "the service for containers cannot be compiled");
        (directory, path)
    });
    path
}
