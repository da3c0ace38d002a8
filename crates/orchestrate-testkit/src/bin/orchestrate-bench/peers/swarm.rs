//! `docker service rollback` on a swarm of one node, by a dockerd of this run's own.
//!
//! Its images hold this program and the libraries that it is linked to, nothing else. The service uses the host's network:
//! the ingress network needs IPVS in the kernel, and the programs beside it have no network of their own either.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use tokio::process::Command;

use super::{Peer, Place, Switched};
use crate::client::{BAD, By, GOOD, await_answer};
use crate::process::{Finished, LIMIT, LOOK_EVERY, Running, free_address, run};

pub struct Swarm {
    running: Running,
    room: PathBuf,
    address: SocketAddr,
}

const SERVICE: &str = "bench";

impl Swarm {
    pub const NAME: &str = "docker service rollback";

    /// With the good version deployed; the bad one comes with `forward`, once, because every update is a step to go back.
    pub async fn start(place: &Place) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "dockerd has to be started as root");
        let (room, address) = (place.room("swarm")?, free_address()?);
        let mut command = Command::new("dockerd");
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "none"),
        ] {
            command.arg(option).arg(room.join(name));
        }
        std::fs::write(room.join("none"), "{}")?;
        command.arg("--host").arg(format!("unix://{}", room.join("s").display()));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        let running = Running::start("dockerd", command, &room).context("dockerd is not installed")?;
        let mut this = Self { running, room, address };
        match this.prepare(place).await {
            Ok(()) => Ok(this),
            Err(error) => {
                let stopped = Box::new(this).stop().await;
                Err(error.context(match stopped {
                    Ok(()) => "a swarm cannot run here".to_owned(),
                    Err(also) => {
                        format!("a swarm cannot run here, and dockerd could not be stopped ({also:#})")
                    }
                }))
            }
        }
    }

    async fn prepare(&mut self, place: &Place) -> Result<()> {
        self.await_dockerd().await?;
        self.docker(&[
            "swarm",
            "init",
            "--advertise-addr",
            "127.0.0.1",
            "--listen-addr",
            &free_address()?.to_string(),
        ])
        .await?;
        let root = self.room.join("root");
        lay_out(place.program(), &root).await?;
        for version in [GOOD, BAD] {
            self.import(&root, version).await?;
        }
        self.docker(&[
            "service",
            "create",
            "--quiet",
            "--name",
            SERVICE,
            "--network",
            "host",
            "--no-resolve-image",
            &image(GOOD),
        ])
        .await?;
        await_answer(self.address, By::Good).await
    }

    async fn await_dockerd(&mut self) -> Result<()> {
        let answers = tokio::time::timeout(LIMIT, async {
            while self.docker(&["version"]).await.is_err() {
                ensure!(!self.running.has_ended()?, "it ended at once");
                tokio::time::sleep(LOOK_EVERY * 50).await;
            }
            Ok(())
        });
        let answered = answers.await.unwrap_or_else(|_| bail!("it does not answer"));
        let log = std::fs::read_to_string(self.room.join("dockerd.log")).unwrap_or_default();
        answered.with_context(|| format!("dockerd: {}", log.lines().last().unwrap_or_default()))
    }

    /// A layer of the files, and how they are started.
    async fn import(&self, root: &Path, version: &str) -> Result<()> {
        let archive = self.room.join(format!("{version}.tar"));
        run(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg(".")).await?;
        let changes = [
            r#"ENTRYPOINT ["/orchestrate-bench","--serve"]"#.to_owned(),
            format!("ENV ORCHESTRATE_VERSION={version}"),
            format!("ENV PORT={}", self.address.port()),
        ];
        let mut words: Vec<&str> = vec!["import"];
        words.extend(changes.iter().flat_map(|change| ["--change", change.as_str()]));
        let (archive, image) = (archive.display().to_string(), image(version));
        words.extend([archive.as_str(), image.as_str()]);
        self.docker(&words).await.map(drop)
    }

    async fn forward_to_bad(&self) -> Result<()> {
        self.docker(&["service", "update", "--quiet", "--no-resolve-image", "--image", &image(BAD), SERVICE])
            .await?;
        await_answer(self.address, By::Bad).await
    }

    async fn docker(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new("docker");
        // Nothing of the user's: neither contexts nor credentials.
        command.env("DOCKER_CONFIG", &self.room).env_remove("DOCKER_CONTEXT").env_remove("DOCKER_HOST");
        run(command.arg("--host").arg(format!("unix://{}", self.room.join("s").display())).args(words)).await
    }
}

/// What dockerd leaves mounted when it has ended, so that its directory can be removed.
async fn unmount(room: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(path).starts_with(room) {
            run(Command::new("umount").arg("--lazy").arg(path)).await?;
        }
    }
    Ok(())
}

fn image(version: &str) -> String {
    format!("bench:{version}")
}

/// The program and the libraries that it is linked to, at the paths where it looks for them.
async fn lay_out(program: &Path, root: &Path) -> Result<()> {
    let listed = run(Command::new("ldd").arg(program)).await?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for library in libraries {
        let there = root.join(library.strip_prefix("/")?);
        std::fs::create_dir_all(there.parent().unwrap_or(root))?;
        std::fs::copy(&library, &there).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    std::fs::create_dir_all(root)?;
    std::fs::copy(program, root.join("orchestrate-bench"))?;
    Ok(())
}

#[async_trait]
impl Peer for Swarm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        let finished = self.docker(&["service", "rollback", "--quiet", SERVICE]).await?;
        Ok(Switched { started: finished.started, ended: finished.ended })
    }

    async fn forward(&mut self) -> Result<()> {
        self.forward_to_bad().await
    }

    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        bail!("a service on the host's network has none")
    }

    /// Containers end with their service, and dockerd ends what is left.
    async fn stop(self: Box<Self>) -> Result<()> {
        let _ = self.docker(&["service", "rm", SERVICE]).await;
        let _ = self.docker(&["swarm", "leave", "--force"]).await;
        let Self { running, room, .. } = *self;
        running.stop_within(Duration::from_secs(30)).await?;
        unmount(&room).await
    }
}
