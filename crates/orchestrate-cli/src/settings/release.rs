//! Where a version's artifact comes from.

use orchestrate_core::data_change::{DataChange, Schema};
use orchestrate_core::name::Version;

use super::keys;
use super::reader::{Field, Read, Section};

/// `release:` of the config file. Paths are as written there: relative ones start at the file's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseSource {
    /// A directory, an archive, or one executable.
    Artifact(String),
    /// The tree of a tag, a branch or a commit.
    Git { repository: String, r#ref: String },
    /// An image of a registry, or of the engine itself.
    Image(String),
}

impl ReleaseSource {
    pub fn is_git(&self) -> bool {
        matches!(self, Self::Git { .. })
    }

    pub fn is_image(&self) -> bool {
        matches!(self, Self::Image(_))
    }

    /// With `{version}` filled in.
    #[must_use]
    pub fn for_version(&self, version: &Version) -> Self {
        let fill = |text: &str| text.replace("{version}", version.as_str());
        match self {
            Self::Artifact(path) => Self::Artifact(fill(path)),
            Self::Image(reference) => Self::Image(fill(reference)),
            Self::Git { repository, r#ref } => Self::Git { repository: fill(repository), r#ref: fill(r#ref) },
        }
    }
}

pub(super) fn read(field: &Field<'_>) -> Read<(ReleaseSource, DataChange)> {
    let section = field.section(keys::RELEASE)?;
    Ok((source(field, &section)?, data_change(&section)?))
}

/// What a release says of its data, in the config file or in its artifact.
pub(super) fn data_change(section: &Section<'_>) -> Read<DataChange> {
    let mut data = DataChange::default();
    section.set("schema", &mut data.schema, |field| schema(field).map(Some))?;
    section.set("irreversible", &mut data.irreversible, |field| {
        let text = field.text()?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(field.bad_value("say in one line what cannot be taken back"));
        }
        Ok(Some(text))
    })?;
    Ok(data)
}

fn schema(field: &Field<'_>) -> Read<Schema> {
    let section = field.section(keys::SCHEMA)?;
    let reads = section.required("reads")?;
    let wanted = "the first and the last version that it reads, e.g. `[3, 5]`";
    let [first, last] = &reads.items(wanted)?[..] else {
        return Err(reads.bad_value(&format!("expected {wanted}")));
    };
    let number = |field: &Field<'_>| field.whole_number(0..=u32::MAX);
    let (first, last, writes) = (number(first)?, number(last)?, number(section.required("writes")?)?);
    Schema::new([first, last], writes).map_err(|why| field.bad_key(&why))
}

fn source(field: &Field<'_>, section: &Section<'_>) -> Read<ReleaseSource> {
    const SOURCES: [&str; 3] = ["artifact", "image", "git"];
    let there: Vec<(&str, &Field<'_>)> =
        SOURCES.iter().filter_map(|key| Some((*key, section.get(key)?))).collect();
    match there[..] {
        [] => Err(field.bad_key("it needs one of `artifact`, `image` and `git`")),
        [("artifact", artifact)] => Ok(ReleaseSource::Artifact(template(artifact)?)),
        [("image", image)] => Ok(ReleaseSource::Image(template(image)?)),
        [(_, git)] => git_source(git),
        [(first, _), (second, field), ..] => {
            Err(field
                .bad_key(&format!("there is an `{first}` already; keep one of `{first}` and `{second}`")))
        }
    }
}

fn git_source(git: &Field<'_>) -> Read<ReleaseSource> {
    let section = git.section(keys::GIT)?;
    let repository = template(section.required("repository")?)?;
    let reference = section.required("ref")?;
    let r#ref = template(reference)?;
    if r#ref.starts_with('-') {
        return Err(reference.bad_value("a ref does not start with `-`"));
    }
    Ok(ReleaseSource::Git { repository, r#ref })
}

/// Text in which `{version}` is the only placeholder.
fn template(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    if text.trim().is_empty() {
        return Err(field.bad_value("it is empty"));
    }
    if field.is_deferred() {
        return Ok(text);
    }
    // What is wrong may come from the environment, so it is not repeated.
    if text.replace("{version}", "").contains(['{', '}']) {
        return Err(field.bad_value("the only placeholder is `{version}`, and there are other braces here"));
    }
    Ok(text)
}
