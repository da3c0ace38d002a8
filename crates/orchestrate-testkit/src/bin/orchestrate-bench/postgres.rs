//! A PostgreSQL server of the benchmark's own, with every commit on disk, as one that counts would be.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::process::{free_address, run};

pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    port: u16,
    stopped: bool,
}

impl Postgres {
    /// With its data below `room`.
    pub async fn start(room: &Path, connections: usize) -> Result<Self> {
        let (programs, port) = (programs()?, free_address()?.port());
        let this = Self { programs, data: room.join("data"), port, stopped: false };
        if rustix::process::geteuid().is_root() {
            // The rooms above are for their owner only, and PostgreSQL refuses to run as root.
            run(Command::new("chown").arg("postgres:").arg(room)).await?;
            for above in room.ancestors().skip(1).take_while(|above| *above != std::env::temp_dir()) {
                run(Command::new("chmod").arg("o+x").arg(above)).await?;
            }
        }
        let trusting = ["--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        run(&mut this.program("initdb", &trusting)).await?;
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections={connections}"
        );
        let log = room.join("server.log").display().to_string();
        run(&mut this
            .program("pg_ctl", &["start", "--wait", "--silent", "--log", &log, "--options", &options]))
        .await?;
        Ok(this)
    }

    pub fn url(&self) -> String {
        format!("postgres://bench@127.0.0.1:{}/postgres", self.port)
    }

    pub async fn stop(mut self) -> Result<()> {
        self.stopped = true;
        run(&mut self.program("pg_ctl", &["stop", "--wait", "--silent", "--mode", "fast"])).await.map(drop)
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(name);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).arg("--pgdata").arg(&self.data).current_dir("/");
        command
    }
}

impl Drop for Postgres {
    /// After an error or Ctrl-C.
    fn drop(&mut self) {
        if !self.stopped {
            let mut command = self.program("pg_ctl", &["stop", "--silent", "--mode", "immediate"]).into_std();
            let _ = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
        }
    }
}

fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed: scripts/install-test-tools")?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    found.retain(|programs| programs.join("initdb").exists());
    found.sort();
    match found.pop() {
        Some(programs) => Ok(programs),
        None => bail!("PostgreSQL is not installed: scripts/install-test-tools"),
    }
}
