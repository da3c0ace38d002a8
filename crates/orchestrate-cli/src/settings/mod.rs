//! The config file: what `orchestrate.yaml` says, checked whole before anything is done with it.
//!
//! Every environment of the file is checked for its shape. `${NAME}` is looked up only in what is used: the release,
//! the notifications, and the environment that the command is about, so that a deployment to staging needs no
//! password of production.

mod confinement;
mod drill;
mod engine;
mod environment;
mod error;
mod file;
mod hooks;
mod interpolate;
mod keys;
mod mask;
mod notifications;
mod policy;
mod reader;
mod release;
mod schema;
mod signing;
mod source;
mod strategy;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod verify;
mod verify_schema;
mod wording;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use orchestrate_core::data_change::DataChange;
use orchestrate_core::environment::{EnvironmentSettings, ProviderKind};
use orchestrate_core::name::{EnvironmentName, is_plain_name};
use orchestrate_core::secrets::SecretText;

pub use error::ConfigError;
pub use notifications::ConfiguredChannel;
pub use policy::CalendarFile;
pub use release::ReleaseSource;
pub use schema::json_schema;
pub use template::template;

use error::code;
use reader::{Field, Read, Reader, Section};
use source::Source;
use yaml::Place;

/// A config file that can be used.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// As the person named it.
    pub path: PathBuf,
    /// Where its relative paths start.
    pub directory: PathBuf,
    pub service: String,
    pub release: ReleaseSource,
    /// What the release does to data that outlives it.
    pub data: DataChange,
    /// Unpacked bytes, above which an artifact is refused.
    pub max_artifact_size: Option<u64>,
    /// The public key whose signature every artifact must have.
    pub signing: Option<String>,
    /// Those whose values were looked up: all, or the one that was asked for.
    pub environments: BTreeMap<EnvironmentName, ConfiguredEnvironment>,
    /// Every environment of the file, in its order.
    pub environment_names: Vec<EnvironmentName>,
    pub notifications: Vec<ConfiguredChannel>,
}

/// One environment, with `${NAME}` filled in. Secrets are kept apart from the settings, which may be printed.
#[derive(Clone, Debug)]
pub struct ConfiguredEnvironment {
    pub settings: EnvironmentSettings,
    pub secrets: BTreeMap<String, SecretText>,
    /// Its own source of releases, where it has one.
    pub release: Option<(ReleaseSource, DataChange)>,
    /// Freezes whose times are in files of their own.
    pub calendars: Vec<CalendarFile>,
}

impl ConfigFile {
    /// Where the environment's releases come from: its own source, or the file's.
    pub fn release_of(&self, environment: &EnvironmentName) -> &ReleaseSource {
        self.own_release(environment).map_or(&self.release, |(source, _)| source)
    }

    /// What the section says of the release's data that the source is in.
    pub fn data_change_of(&self, environment: &EnvironmentName) -> &DataChange {
        self.own_release(environment).map_or(&self.data, |(_, data)| data)
    }

    fn own_release(&self, environment: &EnvironmentName) -> Option<&(ReleaseSource, DataChange)> {
        self.environments.get(environment).and_then(|found| found.release.as_ref())
    }
}

/// Reads the config file at `path`.
///
/// `env` looks up `${NAME}`. With `only`, the values of the other environments are not looked up, and they are left
/// out of [`ConfigFile::environments`]; their shape is checked all the same.
pub fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    only: Option<&EnvironmentName>,
) -> Result<ConfigFile, ConfigError> {
    from_str(path, &file::read(path)?, env, only)
}

/// The same for a text that is at hand; `path` names it in errors.
pub fn from_str(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    only: Option<&EnvironmentName>,
) -> Result<ConfigFile, ConfigError> {
    with_root(path, text, env, |root| read(path, root, only))
}

/// Reads `orchestrate-release.yaml` of the artifact at `origin`. It is sealed, so no `${NAME}` is looked up in it.
pub fn data_change_in_artifact(origin: &str, text: &str) -> Result<DataChange, ConfigError> {
    let path = Path::new(origin).join("orchestrate-release.yaml");
    with_root(&path, text, &|_| None, |root| release::data_change(&root.section(keys::IN_ARTIFACT)?))
}

fn with_root<T>(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: impl FnOnce(&Field<'_>) -> Read<T>,
) -> Result<T, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source { name: path.display().to_string(), text: text.to_owned(), masked: Vec::new() };
    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err(unreadable) => return Err(file::not_yaml(source, &unreadable)),
    };
    source.masked = mask::in_tree(&root, text);
    if matches!(root.kind, yaml::Kind::Nothing) {
        return Err(ConfigError::new(code::NOT_YAML, source.name, "the config file is empty")
            .hint("`orchestrate init` writes one with comments"));
    }
    let reader = Reader { source: &source, lookup: Some(env) };
    let key = Place { start: root.place.start, end: root.place.start };
    let root = Field { reader, node: &root, path: String::new(), key, name: "" };
    read(&root)
}

fn read(path: &Path, root: &Field<'_>, only: Option<&EnvironmentName>) -> Read<ConfigFile> {
    let section = root.section(keys::FILE)?;
    let service = service(section.required("service")?)?;
    let (release, data) = release::read(section.required("release")?)?;
    let mut max_artifact_size = None;
    section
        .set("max_artifact_size", &mut max_artifact_size, |field| field.parsed("a size", size).map(Some))?;
    let mut key = None;
    section.set("signing", &mut key, |field| signing::read(field).map(Some))?;
    let (environments, environment_names) = environments(section.required("environments")?, only)?;
    refuse_what_cannot_run(section.required("release")?, &release, environments.values())?;
    refuse_unsigned_git(&section, &release, environments.values())?;
    let mut channels = Vec::new();
    section.set("notifications", &mut channels, |field| notifications::read(field, &environment_names))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    channels.iter_mut().for_each(|channel: &mut ConfiguredChannel| channel.start_in(&directory));
    Ok(ConfigFile {
        path: path.to_owned(),
        directory,
        service,
        release,
        data,
        max_artifact_size: max_artifact_size.filter(|size| *size > 0),
        signing: key,
        environments,
        environment_names,
        notifications: channels,
    })
}

/// Images need an engine that runs images, and such an engine needs an image.
fn refuse_what_cannot_run<'a>(
    field: &Field<'_>,
    release: &ReleaseSource,
    environments: impl IntoIterator<Item = &'a ConfiguredEnvironment>,
) -> Read<()> {
    for environment in environments {
        let source = environment.release.as_ref().map_or(release, |(source, _)| source);
        let provider = environment.settings.provider;
        match (source.is_image(), provider.runs_images()) {
            (true, false) if provider != ProviderKind::Custom => {
                return Err(field.bad_key(&format!(
                    "`provider: {provider}` runs no images; write an `artifact` or `git`, or `provider: docker`"
                )));
            }
            (false, true) => {
                return Err(field.bad_key(&format!(
                    "`provider: {provider}` runs images; write for example `image: registry.internal/shop:{{version}}`"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The tree of a git tag has no file whose signature could be verified.
fn refuse_unsigned_git<'a>(
    root: &Section<'_>,
    release: &ReleaseSource,
    own: impl IntoIterator<Item = &'a ConfiguredEnvironment>,
) -> Read<()> {
    let others = own.into_iter().filter_map(|environment| environment.release.as_ref());
    let any_git = others.map(|(source, _)| source).chain([release]).any(ReleaseSource::is_git);
    match root.get("signing") {
        Some(field) if any_git => Err(field.bad_key(
            "it verifies files, and a release comes from `git`; keep one of the two, or let CI pack and sign an `artifact`",
        )),
        _ => Ok(()),
    }
}

/// `500MiB`, `4GiB`: a whole number of a binary unit.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "is not a size; write for example `500MiB` or `4GiB`".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let shift = match &text[digits..] {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

fn service(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| match is_plain_name(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("is not the name of a service; it starts with a letter or a digit, then has up to 62 of \
                      A-Z a-z 0-9 . _ -"
                .into())
        }
    })
}

type Environments = (BTreeMap<EnvironmentName, ConfiguredEnvironment>, Vec<EnvironmentName>);

fn environments(field: &Field<'_>, only: Option<&EnvironmentName>) -> Read<Environments> {
    let entries = field.entries()?;
    if entries.is_empty() {
        return Err(field.bad_key("at least one environment is needed"));
    }
    let (mut environments, mut names, mut listeners) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for (name, mut field) in entries {
        let name = EnvironmentName::new(name).map_err(|_| {
            field.bad_key(
                "the name of an environment starts with a letter or a digit, then has up to 62 of A-Z a-z 0-9 . _ -",
            )
        })?;
        let is_used = only.is_none_or(|only| *only == name);
        if !is_used {
            field.reader.lookup = None;
        }
        let read = environment::read(&field, &mut listeners)?;
        names.push(name.clone());
        if is_used {
            environments.insert(name, read);
        }
    }
    Ok((environments, names))
}
