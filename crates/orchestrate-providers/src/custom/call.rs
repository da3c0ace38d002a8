//! One verb of one release: the request, the command, its answer.

use std::path::PathBuf;
use std::sync::Arc;

use orchestrate_core::environment::Custom;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{Placement, PortError, PortResult};
use orchestrate_core::time::Span;

use super::answer::{self, Answer};
use super::place;
use super::request::{Request, Verb};
use crate::artifact::ArtifactStore;
use crate::elsewhere::book::Book;
use crate::elsewhere::run::{self, Call};
use crate::elsewhere::turn::Turn;
use crate::process::{blocking, log_path};
use crate::spec::{RunSpec, RunSpecs};

/// What the provider and the router have in common.
pub struct Surroundings {
    pub home: PathBuf,
    pub store: Arc<ArtifactStore>,
    pub specs: Arc<dyn RunSpecs>,
    pub book: Book,
}

impl Surroundings {
    pub fn new(home: PathBuf, store: Arc<ArtifactStore>, specs: Arc<dyn RunSpecs>) -> Self {
        let book = Book::new(home.join("custom.json"));
        Self { home, store, specs, book }
    }

    pub async fn spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        self.specs.run_spec(release).await
    }

    /// Whoever runs a command with effects there waits for the one before. `what` is a slot, or `switch`.
    pub async fn turn(&self, environment: &EnvironmentName, what: &str) -> PortResult<Turn> {
        Turn::take(self.directory(environment).join(format!("{what}.lock"))).await
    }

    pub fn place(&self, placement: &Placement) -> PathBuf {
        self.directory(&placement.environment).join(format!("{}-{}", placement.slot, placement.release))
    }

    fn directory(&self, environment: &EnvironmentName) -> PathBuf {
        self.home.join("custom").join(environment.as_str())
    }

    /// The directory of the release, made where it is not there.
    pub async fn make_place(&self, spec: &RunSpec, placement: &Placement) -> PortResult<PathBuf> {
        let (store, digest, place) = (Arc::clone(&self.store), spec.digest.clone(), self.place(placement));
        blocking(move || place::make(&store, &digest, &place).map(|()| place)).await
    }

    pub async fn remove_place(&self, placement: &Placement) -> PortResult<()> {
        let place = self.place(placement);
        blocking(move || place::remove(&place)).await
    }

    /// Runs the command of a verb and reads its answer. `limit` is shorter than the command's own where there is less time.
    pub async fn ask(
        &self,
        verb: Verb,
        spec: &RunSpec,
        placement: &Placement,
        turn: Option<&Turn>,
        limit: Option<Span>,
        fill: impl FnOnce(&mut Request),
    ) -> PortResult<Answer> {
        let custom = settings(spec)?;
        let words = verb.command(custom);
        let who = who(verb, words, placement);
        let directory = self.make_place(spec, placement).await?;
        let mut request = Request::new(verb, spec, placement, &directory);
        request.fence(self.book.entry(&placement.environment).await?.fence);
        fill(&mut request);
        let stdin = serde_json::to_vec(&request)
            .map_err(|cause| PortError::failed(format!("{who} cannot be told: {cause}")))?;
        let own = verb.limit(custom);
        let call = Call {
            who,
            words,
            spec,
            placement,
            name: format!("{}-{}", placement.slot, verb.as_str()),
            log: log_path(&self.home, &placement.environment, &placement.version, verb.as_str(), 1),
            directory,
            limit: limit.map_or(own, |limit| limit.min(own)),
            variables: vec![("ORCHESTRATE_VERB".into(), verb.as_str().into())],
        };
        let printed = run::run(&call, stdin, turn).await?;
        answer::read(&printed.stdout, &call.who, &printed.how, printed.success).map_err(|error| {
            match error.detail {
                None if !printed.stderr.is_empty() => error.detail(printed.stderr),
                _ => error,
            }
        })
    }
}

pub fn settings(spec: &RunSpec) -> PortResult<&Custom> {
    spec.engine.custom.as_ref().ok_or_else(|| {
        PortError::failed(format!("{} was sealed without the commands of `custom`", spec.version))
    })
}

/// The command as messages name it.
pub fn who(verb: Verb, words: &[String], placement: &Placement) -> String {
    format!("`{}` ({} of {})", words.join(" "), verb.as_str(), placement.version)
}
