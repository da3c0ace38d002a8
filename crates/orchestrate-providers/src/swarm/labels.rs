//! How what is ours is named and marked in the swarm.

use std::collections::HashMap;

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::Placement;
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;

/// Whose it is: the mark of an installation of orchestrate.
pub(super) const OWNER: &str = "dev.orchestrate.owner";
pub(super) const ENVIRONMENT: &str = "dev.orchestrate.environment";
pub(super) const FENCE: &str = "dev.orchestrate.fence";
const SLOT: &str = "dev.orchestrate.slot";
pub(super) const RELEASE: &str = "dev.orchestrate.release";
const VERSION: &str = "dev.orchestrate.version";
const PROCESS: &str = "dev.orchestrate.process";
const NUMBER: &str = "dev.orchestrate.number";

/// The swarm takes 63 characters.
const LONGEST_NAME: usize = 63;

/// One instance, as its service is labelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub placement: Placement,
    pub process: String,
    pub number: u32,
}

impl Who {
    /// Unique in the environment.
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.placement.slot, self.process, self.number)
    }

    pub fn labels(&self, owner: &str) -> HashMap<String, String> {
        let Placement { environment, slot, release, version } = &self.placement;
        [
            (OWNER, owner.to_owned()),
            (ENVIRONMENT, environment.to_string()),
            (SLOT, slot.to_string()),
            (RELEASE, release.to_string()),
            (VERSION, version.to_string()),
            (PROCESS, self.process.clone()),
            (NUMBER, self.number.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// None, where a label is missing or makes no sense.
    pub fn read(labels: &HashMap<String, String>) -> Option<Self> {
        let of = |key: &str| labels.get(key);
        let placement = Placement {
            environment: EnvironmentName::new(of(ENVIRONMENT)?.clone()).ok()?,
            slot: Slot::parse(of(SLOT)?)?,
            release: ReleaseId(of(RELEASE)?.parse().ok()?),
            version: Version::new(of(VERSION)?.clone()).ok()?,
        };
        Some(Self { placement, process: of(PROCESS)?.clone(), number: of(NUMBER)?.parse().ok()? })
    }
}

/// A name that says what it is and is nobody else's: of what the swarm does not take or is too long, a digest tells it apart.
pub(super) fn named(owner: &str, parts: &[&str]) -> String {
    let whole = parts.join("-");
    let mark = Digest::of(format!("{owner}/{}", parts.join("/")).as_bytes());
    let plain: String = whole.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let room = LONGEST_NAME - 9;
    let plain = plain.trim_matches('-');
    format!("{}-{}", &plain[..plain.len().min(room)], &mark.as_str()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_swarm_takes_and_differ_where_they_must() {
        let name = named("me", &["shop", "production", "blue-web-1"]);
        assert!(name.starts_with("shop-production-blue-web-1-"), "{name}");
        let odd = named("me", &["s.h_op", &"x".repeat(63), &"y".repeat(63)]);
        assert!(
            odd.len() <= LONGEST_NAME && odd.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "{odd}"
        );
        assert_ne!(named("me", &["a-b", "c"]), named("me", &["a", "b-c"]));
        assert_ne!(named("me", &["a"]), named("you", &["a"]));
    }

    #[test]
    fn labels_are_read_as_they_were_written() {
        let placement = Placement {
            environment: EnvironmentName::new("production").unwrap(),
            slot: Slot::Green,
            release: ReleaseId(7),
            version: Version::new("1.0").unwrap(),
        };
        let who = Who { placement, process: "web".into(), number: 3 };
        let mut labels = who.labels("me");
        assert_eq!(Who::read(&labels), Some(who.clone()));
        assert_eq!(who.id(), "green-web-3");
        labels.insert(SLOT.into(), "red".into());
        assert_eq!(Who::read(&labels), None);
    }
}
