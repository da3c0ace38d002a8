//! A PostgreSQL server of a scene's own, that can be killed as a whole and started again.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use rustix::process::Signal;

use super::processes::{self, alive, kill};
use super::{scene::free_address, until, within};

pub struct Cluster {
    directory: TempDir,
    programs: PathBuf,
    port: u16,
    addresses: Vec<IpAddr>,
    settings: Vec<String>,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more settings, each as `name=value`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_at(&[], settings, |_| {})
    }

    /// At more addresses, and after something was put into its data directory.
    pub fn start_at(addresses: &[IpAddr], settings: &[&str], prepare: impl FnOnce(&Self)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let (programs, port) = (programs(), free_address().port());
        let cluster = Self { directory, programs, port, addresses: addresses.to_vec(), settings };
        cluster.as_owner("chown-to-me", &[]);
        cluster.as_owner(
            "initdb",
            &["--username=orchestrate", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
        );
        for address in addresses {
            cluster.add("pg_hba.conf", &format!("host all all {address}/8 trust\n"));
        }
        prepare(&cluster);
        cluster.run();
        cluster
    }

    /// Adds to a file in its data directory.
    pub fn add(&self, file: &str, text: &str) {
        let opened = std::fs::OpenOptions::new().append(true).open(self.data().join(file));
        opened.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Puts a file, for its owner's eyes only, into its data directory.
    pub fn put(&self, file: &str, text: &str) {
        let path = self.data().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(self.try_as_owner("chown-to-me", &[]));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As it is reached at one of its other addresses.
    pub fn url_at(&self, address: IpAddr) -> String {
        format!("postgres://orchestrate@{address}:{}/postgres", self.port)
    }

    pub fn url(&self) -> String {
        format!("postgres://orchestrate@127.0.0.1:{}/postgres", self.port)
    }

    /// SIGKILL to the server and all its processes, as by a failing machine; then it recovers.
    pub fn kill_and_restart(&self) {
        let server = self.server().expect("the server runs");
        let family = children(server);
        kill(server);
        family.iter().for_each(|pid| kill(*pid));
        until("the server is gone", || family.iter().chain([&server]).all(|pid| !alive(*pid)).then_some(()));
        self.run();
    }

    /// Stops the server; `fast` and `immediate` are PostgreSQL's words for it.
    pub fn stop(&self, how: &str) {
        self.as_owner("pg_ctl", &["stop", "--wait", "--silent", "--mode", how]);
    }

    pub fn start_again(&self) {
        self.run();
    }

    /// Sends it to every process of the server, e.g. SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        let server = self.server().expect("the server runs");
        let family = children(server);
        [server].into_iter().chain(family).for_each(|pid| processes::signal(pid, signal));
    }

    /// What the server says to a statement, without any decoration.
    pub fn sql(&self, statement: &str) -> String {
        let output =
            Command::new(self.programs.join("psql")).args(["-XqAt", "-c", statement, &self.url()]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What the server had to say.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn server(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    fn run(&self) {
        let addresses: Vec<String> = ["127.0.0.1".to_owned()]
            .into_iter()
            .chain(self.addresses.iter().map(ToString::to_string))
            .collect();
        let mut options = format!(
            "-p {} -c listen_addresses={} -c unix_socket_directories='' -c max_connections=50",
            self.port,
            addresses.join(",")
        );
        self.settings.iter().for_each(|setting| options.push_str(&format!(" -c {setting}")));
        let log = self.directory.path().join("server.log").display().to_string();
        // What the killed server had is cleared away by the kernel a moment after its end.
        within(Duration::from_secs(60), "the server starts", || {
            self.try_as_owner(
                "pg_ctl",
                &["start", "--wait", "--silent", "--log", &log, "--options", &options],
            )
            .then_some(())
        });
    }

    fn as_owner(&self, program: &str, more: &[&str]) {
        assert!(
            self.try_as_owner(program, more),
            "{program} failed: run `make test`, which installs PostgreSQL"
        );
    }

    /// PostgreSQL refuses to run as root, so root lends the work to the user that Debian's package makes.
    fn try_as_owner(&self, program: &str, more: &[&str]) -> bool {
        let root = rustix::process::geteuid().is_root();
        if program == "chown-to-me" {
            return !root || ran(Command::new("chown").args(["-R", "postgres:"]).arg(self.directory.path()));
        }
        let program = self.programs.join(program);
        let mut command = if root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        ran(command.args(more).arg("--pgdata").arg(self.data()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = self.server() {
            let family = children(server);
            kill(server);
            family.iter().for_each(|pid| kill(*pid));
        }
    }
}

fn ran(command: &mut Command) -> bool {
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| is_there(bin)).collect();
    found.sort();
    found.pop().expect("PostgreSQL is not installed: run `make test`, which installs it")
}

fn is_there(programs: &Path) -> bool {
    programs.join("initdb").exists()
}

fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
