//! One home, one service, and many environments of it, on this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::client::{BAD, GOOD};
use crate::peers::Place;
use crate::process::{free_addresses, run as ended};

/// So many are deployed to at a time, to begin with.
const BATCH: usize = 5;

pub struct Many {
    program: PathBuf,
    room: PathBuf,
    url: Option<String>,
    pub names: Vec<String>,
}

pub struct Setting {
    /// Its URL; without it, the state is in the home.
    pub database: Option<String>,
    /// How often health is asked for.
    pub interval: &'static str,
}

impl Many {
    pub fn prepare(
        program: &Path,
        place: &Place,
        room: &str,
        environments: usize,
        setting: Setting,
    ) -> Result<Self> {
        let room = place.room(room)?;
        for version in [GOOD, BAD] {
            let artifact = room.join("dist").join(version);
            std::fs::create_dir_all(&artifact)?;
            // A hundred copies of a program would be a measurement of the disk.
            std::fs::write(artifact.join("VERSION"), version)?;
        }
        let names: Vec<String> = (0..environments).map(|number| format!("shop-{number}")).collect();
        let mut all = serde_json::Map::new();
        for (name, address) in names.iter().zip(free_addresses(environments)?) {
            all.insert(name.clone(), settings(address, place.program(), setting.interval));
        }
        let config = serde_json::json!({
            "service": "bench", "release": { "artifact": "dist/{version}" }, "environments": all,
        });
        std::fs::write(room.join("orchestrate.yaml"), config.to_string())?;
        Ok(Self { program: program.to_owned(), room, url: setting.database, names })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRATE_"))
        {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1").env("ORCHESTRATE_PROXY_THREADS", "1").current_dir(&self.room);
        command.env("ORCHESTRATE_HOME", self.room.join("home"));
        command.envs(self.url.iter().map(|url| ("ORCHESTRATE_DATABASE_URL", url)));
        command.env("ORCHESTRATE_CONFIG", self.room.join("orchestrate.yaml")).stdin(Stdio::null());
        command
    }

    /// What a command prints that is about no one environment.
    pub async fn asked(&self, words: &[&str]) -> Result<Value> {
        let finished = ended(self.command().args(words).args(["--format", "json"])).await?;
        serde_json::from_slice(&finished.stdout).context("no JSON")
    }

    /// How long a command took in milliseconds, and what it printed.
    pub async fn typed(&self, name: &str, words: &[&str]) -> Result<(f64, Value)> {
        let mut command = self.command();
        command.args(words).args(["--env", name, "--yes", "--format", "json"]);
        let finished = ended(&mut command).await?;
        let value = serde_json::from_slice(&finished.stdout).context("no JSON")?;
        Ok(((finished.ended - finished.started).as_secs_f64() * 1_000.0, value))
    }

    pub async fn deploy(&self, name: &str, version: &str) -> Result<()> {
        let (_, value) = self.typed(name, &["deploy", "--version", version]).await?;
        if value["status"] != "completed" {
            bail!("the deployment of {version} to {name} is {}", value["status"]);
        }
        Ok(())
    }

    /// The one version and then the other, so that everywhere the first one is warm.
    pub async fn deploy_all(&self) -> Result<()> {
        ended(self.command().args(["env", "apply"])).await?;
        for version in [GOOD, BAD] {
            for batch in self.names.chunks(BATCH) {
                try_join_all(batch.iter().map(|name| self.deploy(name, version))).await?;
            }
        }
        Ok(())
    }

    pub async fn stop(&self) -> Result<()> {
        ended(self.command().args(["daemon", "stop", "--all"])).await.map(drop)
    }
}

fn settings(listen: SocketAddr, service: &Path, interval: &str) -> Value {
    serde_json::json!({
        "type": "production", "provider": "process",
        "processes": { "web": { "command": [service, "--serve"], "instances": 1, "listen": listen } },
        "strategy": { "type": "blue_green", "warm_for": "1h" },
        "health_check": { "path": "/healthz", "interval": interval, "deadline": "60s" },
        "drain": "5s",
    })
}
