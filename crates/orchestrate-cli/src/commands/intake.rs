//! What `deploy`, `validate` and `diff` share: from the config file and a version to sealed contents.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::data_change::DataChange;
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::environment::EnvironmentSettings;
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::notification::{Channel, SECRET_SCOPE, SecretRef, Via};
use orchestrate_core::policy;
use orchestrate_core::ports::{Clock as _, Progress, SystemClock};
use orchestrate_core::release::{Artifact, Contents};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::{Error, Result};
use orchestrate_providers::artifact::Signing;

use crate::args::Global;
use crate::calendar;
use crate::exit::Ended;
use crate::settings::{self, ConfigFile, ReleaseSource};
use crate::wiring::{Wiring, secret_scope};

/// A file in the top directory of an artifact that says what its version does to data.
const IN_ARTIFACT: &str = "orchestrate-release.yaml";

/// The config file, if there is one: an explicitly named one must be there.
pub fn config(global: &Global, only: Option<&EnvironmentName>) -> Ended<Option<ConfigFile>> {
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from("orchestrate.yaml"));
    if global.config.is_none() && !path.exists() {
        return Ok(None);
    }
    let lookup = |name: &str| std::env::var(name).ok();
    let mut config = settings::load(&path, &lookup, only)?;
    let directory = config.directory.clone();
    for environment in config.environments.values_mut() {
        for calendar in &environment.calendars {
            environment.settings.policy.freezes.push(calendar::read(&directory, calendar)?);
        }
    }
    Ok(Some(config))
}

/// The settings of an environment: from the config file, else as they were recorded.
pub struct Intended {
    pub service: String,
    pub settings: EnvironmentSettings,
    pub secrets: BTreeMap<String, SecretText>,
    pub source: Option<ReleaseSource>,
    /// What the config file says of the release's data.
    pub data: DataChange,
    /// Where relative paths and commands of the config file start.
    pub directory: PathBuf,
    pub config: Option<ConfigFile>,
}

impl Intended {
    pub async fn read(
        global: &Global,
        wiring: &Wiring,
        environment: &EnvironmentName,
        artifact: Option<&Path>,
    ) -> Ended<Self> {
        let config = config(global, Some(environment))?;
        let named = artifact.map(|path| ReleaseSource::Artifact(path.display().to_string()));
        if let Some(config) = config {
            let Some(found) = config.environments.get(environment) else {
                return Err(unknown(environment, &config).into());
            };
            return Ok(Self {
                service: config.service.clone(),
                settings: found.settings.clone(),
                secrets: found.secrets.clone(),
                source: named.clone().or_else(|| Some(config.release_of(environment).clone())),
                data: config.data_change_of(environment).clone(),
                // A path that was typed starts where it was typed.
                directory: if named.is_some() { PathBuf::from(".") } else { config.directory.clone() },
                config: Some(config),
            });
        }
        let record = wiring.db.environment(environment).await?;
        Ok(Self {
            service: record.environment.service,
            settings: record.environment.settings,
            secrets: BTreeMap::new(),
            source: named,
            data: DataChange::default(),
            directory: PathBuf::from("."),
            config: None,
        })
    }

    /// Where the version's artifact is, as far as it is a path.
    pub fn source_for(&self, version: &Version) -> Result<ReleaseSource> {
        let source = self.source.as_ref().ok_or_else(|| {
            Error::usage("ORC-0207", "there is no artifact to deploy")
                .hint("name it with --artifact PATH, or write an orchestrate.yaml: orchestrate init")
        })?;
        Ok(match source.for_version(version) {
            ReleaseSource::Artifact(path) => {
                ReleaseSource::Artifact(self.directory.join(path).display().to_string())
            }
            ReleaseSource::Git { repository, r#ref } if is_local(&repository) => ReleaseSource::Git {
                repository: self.directory.join(repository).display().to_string(),
                r#ref,
            },
            other @ (ReleaseSource::Git { .. } | ReleaseSource::Image(_)) => other,
        })
    }

    /// Whose signature the version's artifact must have.
    pub fn signing(&self, version: &Version) -> Option<Signing> {
        let key = self.config.as_ref().and_then(|config| config.signing.clone());
        key.map(|public_key| Signing { public_key, version: version.to_string() })
    }

    /// Copies the artifact into the home, once, and says what it is.
    pub async fn take_in(
        &self,
        wiring: &Wiring,
        version: &Version,
        progress: &dyn Progress,
    ) -> Result<Artifact> {
        if let ReleaseSource::Image(reference) = self.source_for(version)? {
            return crate::wiring::resolve_image(&wiring.home, &self.settings, &reference, progress).await;
        }
        let most = self.config.as_ref().and_then(|config| config.max_artifact_size);
        let (store, source) = (wiring.store(most), self.source_for(version)?);
        let signing = self.signing(version);
        tokio::task::spawn_blocking(move || match source {
            ReleaseSource::Artifact(path) => store.take_in_path(Path::new(&path), signing.as_ref()),
            ReleaseSource::Git { repository, r#ref } => store.take_in_git(&repository, &r#ref),
            ReleaseSource::Image(_) => Err(Error::bug("an image is not taken in")),
        })
        .await
        .map_err(|_| Error::bug("a task ended early"))?
    }

    /// Refuses a config file that lets more happen than the policies on record: such a change is made by itself, on purpose.
    pub async fn keeps_policies(&self, wiring: &Wiring, environment: &EnvironmentName) -> Result<()> {
        let loosened = loosened(wiring, environment, &self.settings).await?;
        if loosened.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the config file loosens the policies of {environment}, which a deployment does not do: {}",
            loosened.join(", ")
        );
        Err(Error::refused("ORC-0179", message)
            .hint(format!("if that is meant, say so first: orchestrate env apply --env {environment}")))
    }

    /// Records the environment as it is intended now.
    pub async fn apply(&self, wiring: &Wiring, environment: &EnvironmentName) -> Result<bool> {
        let Some(config) = &self.config else { return Ok(false) };
        let channels = channels(wiring, config, environment).await?;
        let actor = wiring.actor(Right::Deploy, environment, "apply").await?;
        let now = SystemClock.now();
        wiring.db.apply_environment(environment, &self.service, &self.settings, &channels, &actor, now).await
    }

    /// Keeps the secrets and seals everything that decides what runs.
    pub async fn seal(
        &self,
        wiring: &Wiring,
        environment: &EnvironmentName,
        artifact: Artifact,
        strategy: Option<StrategyKind>,
    ) -> Result<Contents> {
        let (mut settings, secrets) = self.with_manifests(wiring, environment).await?;
        settings.strategy.kind = strategy.unwrap_or(settings.strategy.kind);
        let secrets = match (&self.config, secrets.is_empty()) {
            (Some(_), true) => BTreeMap::new(),
            (Some(_), false) => keep(wiring, &secret_scope(environment), &secrets).await?,
            // Without a config file the newest release's secrets go on.
            (None, _) => self.newest_secrets(wiring, environment).await?,
        };
        let data = self.data_change(wiring, &artifact)?;
        Ok(Contents {
            artifact,
            processes: self.settings.processes.clone(),
            settings: settings.sealed(),
            variables: self.settings.variables.clone(),
            secrets,
            data,
            hooks: self.settings.hooks.clone(),
        })
    }

    /// The settings with what is in the manifests of today, and the secrets with what is secret in them. Without a config file
    /// those of the newest release go on.
    pub async fn with_manifests(
        &self,
        wiring: &Wiring,
        environment: &EnvironmentName,
    ) -> Result<(EnvironmentSettings, BTreeMap<String, SecretText>)> {
        let (mut settings, mut secrets) = (self.settings.clone(), self.secrets.clone());
        if self.config.is_some() {
            let found = crate::wiring::read_manifests(&self.settings, self.config_directory())?;
            secrets.extend(found.secrets);
            settings.engine.manifests = found.manifests;
        } else {
            let newest = wiring.db.list_lineage(environment, None, 1).await?.into_iter().next();
            settings.engine.manifests =
                newest.map(|release| release.contents.settings.engine.manifests).unwrap_or_default();
        }
        Ok((settings, secrets))
    }

    /// Where relative paths in the config file start.
    pub fn config_directory(&self) -> &Path {
        self.config.as_ref().map_or_else(|| Path::new("."), |config| &config.directory)
    }

    /// What the release says of its data: here, in a file of its artifact, or in both with the same words.
    pub fn data_change(&self, wiring: &Wiring, artifact: &Artifact) -> Result<DataChange> {
        if artifact.image.is_some() {
            return Ok(self.data.clone());
        }
        let text = wiring.store(None).read(&artifact.digest, IN_ARTIFACT)?;
        let inside = match text {
            Some(text) => settings::data_change_in_artifact(&artifact.origin, &text)?,
            None => DataChange::default(),
        };
        self.data.clone().and(inside).map_err(|key| {
            Error::usage(
                "ORC-0232",
                format!("`{key}` differs between the config file and {IN_ARTIFACT} in {}", artifact.origin),
            )
            .hint("keep it in one of the two; the file in the artifact belongs to its version")
        })
    }

    async fn newest_secrets(
        &self,
        wiring: &Wiring,
        environment: &EnvironmentName,
    ) -> Result<BTreeMap<String, i64>> {
        let newest = wiring.db.list_lineage(environment, None, 1).await?;
        Ok(newest.into_iter().next().map(|release| release.contents.secrets).unwrap_or_default())
    }
}

/// What these settings allow that the ones on record do not.
pub async fn loosened(
    wiring: &Wiring,
    environment: &EnvironmentName,
    settings: &EnvironmentSettings,
) -> Result<Vec<String>> {
    let record = wiring.db.find_environment(environment).await?;
    Ok(record.map_or_else(Vec::new, |record| {
        policy::loosened(&record.environment.settings, settings, SystemClock.now())
    }))
}

/// The config file's channels for an environment, with what is secret of them kept apart: the URL as well, since many hold a
/// token.
pub async fn channels(
    wiring: &Wiring,
    config: &ConfigFile,
    environment: &EnvironmentName,
) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for (index, channel) in config.notifications.iter().enumerate() {
        if !channel.environments.is_empty() && !channel.environments.contains(environment) {
            continue;
        }
        let name = format!("{}/{index}", config.service);
        let address = format!("{name}/url");
        let is_address = !matches!(channel.via, Via::Command { .. });
        let mut values = BTreeMap::new();
        if is_address {
            values.insert(address.clone(), SecretText::new(channel.url.clone()));
        }
        values.extend(channel.secret.clone().map(|secret| (name.clone(), secret)));
        let versions = keep(wiring, SECRET_SCOPE, &values).await?;
        let kept = |name: String| versions.get(&name).map(|&version| SecretRef { name, version });
        channels.push(Channel {
            via: channel.via.clone(),
            url: if is_address { masked_address(&channel.url) } else { channel.url.clone() },
            address: kept(address),
            secret: kept(name),
            on: channel.on.clone(),
            outcomes: channel.outcomes.clone(),
            template: channel.template.clone(),
        });
    }
    Ok(channels)
}

async fn keep(
    wiring: &Wiring,
    scope: &str,
    values: &BTreeMap<String, SecretText>,
) -> Result<BTreeMap<String, i64>> {
    let actor = wiring.caller().await?.name();
    let versions = wiring.db.keep_secrets(&*wiring.keys, scope, values, actor, SystemClock.now()).await?;
    wiring.keys.remember(&wiring.db).await?;
    Ok(versions)
}

/// Where a channel goes, without what may be a credential.
pub fn masked_address(url: &str) -> String {
    if let Some(command) = url.strip_prefix("command:") {
        return command.split(' ').next().unwrap_or_default().to_owned();
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/…")
}

pub fn unknown(environment: &EnvironmentName, config: &ConfigFile) -> Error {
    let names: Vec<String> = config.environment_names.iter().map(ToString::to_string).collect();
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, environment.as_str()), name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    let hint = match near {
        Some((_, near)) => format!("did you mean {near}? it has: {}", names.join(", ")),
        None => format!("it has: {}", names.join(", ")),
    };
    Error::refused("ORC-0101", format!("{} has no environment {environment}", config.path.display()))
        .hint(hint)
}

fn is_local(repository: &str) -> bool {
    !repository.contains("://") && !repository.contains('@')
}

/// A receiver that becomes true when the person presses Ctrl-C; a second one ends the program at once.
pub fn interrupt() -> tokio::sync::watch::Receiver<bool> {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let sender = Arc::new(sender);
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        for _ in 0..2 {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            if sender.send_replace(true) {
                give_up();
            }
        }
    });
    receiver
}

/// What was begun is left to the daemon, which sees that its command is gone.
#[expect(clippy::disallowed_methods, reason = "at once means that nothing is waited for any more")]
fn give_up() -> ! {
    // The person may have closed the terminal.
    let _ = writeln!(std::io::stderr(), "\ninterrupted; the daemon finishes or puts back what was begun");
    std::process::exit(130)
}
