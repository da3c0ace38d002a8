//! Names that may become parts of paths, addresses and records: checked once, where they come in.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;

/// The version of a release: `[A-Za-z0-9][A-Za-z0-9._+-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

/// The name of an environment or a process type: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EnvironmentName(String);

fn matches(text: &str, extra: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

impl Version {
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if matches(&text, "._+-", 128) {
            return Ok(Self(text));
        }
        Err(Error::usage("ORC-0201", format!("{text:?} is not a version"))
            .hint("a version starts with a letter or a digit, then has up to 127 of A-Z a-z 0-9 . _ + -"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EnvironmentName {
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if is_plain_name(&text) {
            return Ok(Self(text));
        }
        Err(Error::usage("ORC-0202", format!("{text:?} is not the name of an environment"))
            .hint("a name starts with a letter or a digit, then has up to 62 of A-Z a-z 0-9 . _ -"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` may name an environment or a process type.
pub fn is_plain_name(text: &str) -> bool {
    matches(text, "._-", 63)
}

macro_rules! text_like {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }
    };
}

text_like!(Version);
text_like!(EnvironmentName);

macro_rules! number_id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

number_id! {
    /// A sealed release, unique over all environments of a database.
    ReleaseId,
    /// One attempt to make a release live.
    DeploymentId,
    /// One attempt to go back.
    RollbackId,
    /// One rehearsal of a rollback.
    DrillId,
    /// One deployment or rollback being carried out.
    OperationId,
    /// One rollback of several environments together.
    GroupRollbackId,
    /// One deployment that waits, or waited, for approval.
    ApprovalId,
    /// A number that only grows in an environment; who shows an older one is refused.
    Fence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_cannot_leave_its_directory() {
        for text in ["../../etc", "", ".hidden", "-rf", "a/b", "a\0b", "1.0\n", "1 0", "ä", &"1".repeat(129)]
        {
            assert!(Version::new(text).is_err(), "{text:?}");
        }
        for text in ["1", "1.2.3-rc.1+build_7", "V2", &"1".repeat(128)] {
            assert!(Version::new(text).is_ok(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_leads_out_of_its_directory(text in r"[a-zA-Z0-9._+/~\\\x00\n -]{0,12}|\PC{0,12}") {
            let names = [Version::new(&text).ok().map(|_| &text), EnvironmentName::new(&text).ok().map(|_| &text)];
            for name in names.into_iter().flatten() {
                let place = std::path::Path::new("/home/logs").join(name);
                let parts: Vec<_> = place.components().collect();
                proptest::prop_assert_eq!(parts.len(), 4);
                proptest::prop_assert!(place.parent() == Some(std::path::Path::new("/home/logs")));
                proptest::prop_assert_eq!(parts.last().map(|part| part.as_os_str()), Some(name.as_ref()));
                proptest::prop_assert!(!name.starts_with('-') && !name.contains(char::is_control));
            }
        }
    }
}
