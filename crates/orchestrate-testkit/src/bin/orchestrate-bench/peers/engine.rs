//! The Docker engine of a run, and images of this program on it.
//!
//! The images hold this program and the libraries that it is linked to, nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use orchestrate_testkit::docker::Engine as Started;
use tokio::process::Command;

use super::Place;
use crate::client::{BAD, GOOD};
use crate::process::{Finished, run};

/// Ends when it is dropped, with all that runs on it, unless it was there before.
pub struct Engine {
    started: Started,
    room: PathBuf,
}

/// The image of both versions, without its tag.
pub const IMAGE: &str = "bench";

impl Engine {
    /// With an image for each version.
    pub async fn start(place: &Place) -> Result<Self> {
        if !rustix::process::geteuid().is_root() && std::env::var_os(Started::NAMED).is_none() {
            bail!("only root can start a Docker engine; name one that runs: {}=unix:///…", Started::NAMED);
        }
        let this = Self { started: Started::find(), room: place.room("engine")? };
        let root = this.room.join("root");
        lay_out(place.program(), &root).await?;
        for version in [GOOD, BAD] {
            this.import(&root, version).await?;
        }
        Ok(this)
    }

    /// As `DOCKER_HOST` names it.
    pub fn host(&self) -> &str {
        &self.started.host
    }

    /// A layer of the files, and how they are started.
    async fn import(&self, root: &Path, version: &str) -> Result<()> {
        let archive = self.room.join(format!("{version}.tar"));
        run(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg(".")).await?;
        let changes = [
            r#"ENTRYPOINT ["/orchestrate-bench","--serve"]"#.to_owned(),
            format!("ENV ORCHESTRATE_VERSION={version}"),
            // Requests come from outside the container.
            "ENV BENCH_LISTEN=0.0.0.0".to_owned(),
        ];
        let mut words: Vec<&str> = vec!["import"];
        words.extend(changes.iter().flat_map(|change| ["--change", change.as_str()]));
        let (archive, image) = (archive.display().to_string(), image(version));
        words.extend([archive.as_str(), image.as_str()]);
        self.docker(&words).await.map(drop)
    }

    pub async fn docker(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new("docker");
        // Nothing of the user's: neither contexts nor credentials.
        command.env("DOCKER_CONFIG", &self.room).env_remove("DOCKER_CONTEXT").env_remove("DOCKER_HOST");
        run(command.args(["--host", self.host()]).args(words)).await
    }
}

pub fn image(version: &str) -> String {
    format!("{IMAGE}:{version}")
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
