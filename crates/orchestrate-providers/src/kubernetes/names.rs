//! What our objects are called, and by which labels they are found again.

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::Placement;
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;
use serde_json::{Map, Value, json};

use super::object::Object;

pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of that label, and the field manager.
pub(super) const US: &str = "orchestrate";
pub(super) const SERVICE: &str = "orchestrate.dev/service";
pub(super) const ENVIRONMENT: &str = "orchestrate.dev/environment";
pub(super) const PROCESS: &str = "orchestrate.dev/process";
/// The slot, or `rolling`: what a Service selects by.
pub(super) const TRACK: &str = "orchestrate.dev/track";
pub(super) const SLOT: &str = "orchestrate.dev/slot";
pub(super) const RELEASE: &str = "orchestrate.dev/release";
/// A label for people; the annotation of the same name is exact.
pub(super) const VERSION: &str = "orchestrate.dev/version";
/// Of jobs: the deployment or rollback that they belong to.
pub(super) const OF: &str = "orchestrate.dev/of";
/// Of a Service before it was ever switched: no pod has this track.
pub(super) const NOWHERE: &str = "none";
/// Of a Service whose requests two releases share: it has no track, and goes by who is let in.
pub(super) const SHARED: &str = "shared";
/// Of a routed pod: whether it gets requests while two releases share them. A new one is let in.
pub(super) const SHARE: &str = "orchestrate.dev/share";
pub(super) const IN: &str = "in";
pub(super) const OUT: &str = "out";

/// A pod's name is its Deployment's with 17 characters more, and is a label's value and a host's name too.
const LONGEST: usize = 46;
const LONGEST_LABEL: usize = 63;

/// Where the pods of a release are: in a slot of their own, or in the one place where the cluster itself replaces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    Slot(Slot),
    Rolling,
}

impl Track {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slot(slot) => slot.as_str(),
            Self::Rolling => "rolling",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::Rolling.as_str() { Some(Self::Rolling) } else { Slot::parse(text).map(Self::Slot) }
    }
}

/// One environment of one service, as its objects are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub service: String,
    pub environment: EnvironmentName,
}

impl Names {
    pub fn deployment(&self, track: Track, process: &str) -> String {
        match track {
            Track::Slot(slot) => self.join(&[slot.as_str(), process]),
            Track::Rolling => self.join(&[process]),
        }
    }

    /// What users of the cluster ask.
    pub fn front(&self, process: &str) -> String {
        self.join(&[process])
    }

    /// What reaches one track alone.
    pub fn beside(&self, track: Track, process: &str) -> String {
        self.join(&[track.as_str(), process])
    }

    pub fn anchor(&self) -> String {
        self.join(&[US])
    }

    /// Variables, or secrets.
    pub fn contents(&self, what: &str) -> String {
        self.join(&[what])
    }

    pub fn job(&self, what: &str) -> String {
        self.join(&["job", what])
    }

    /// What is only tried, and never there.
    pub fn trial(&self, process: &str) -> String {
        self.join(&["try", process])
    }

    fn join(&self, parts: &[&str]) -> String {
        let whole = [&[self.service.as_str(), self.environment.as_str()], parts].concat().join("-");
        plain(&whole)
    }

    /// How all of this environment's objects are found.
    pub fn selector(&self) -> String {
        format!(
            "{MANAGED_BY}={US},{SERVICE}={},{ENVIRONMENT}={}",
            label(&self.service),
            label(self.environment.as_str())
        )
    }

    /// The same, of one release in its slot.
    pub fn selector_of(&self, placement: &Placement) -> String {
        format!("{},{SLOT}={},{RELEASE}={}", self.selector(), placement.slot, placement.release.0)
    }

    pub fn labels(&self) -> Map<String, Value> {
        object(json!({
            MANAGED_BY: US,
            SERVICE: label(&self.service),
            ENVIRONMENT: label(self.environment.as_str()),
        }))
    }

    /// By which a Deployment and a Service know their pods.
    pub fn pods(&self, track: &str, process: &str) -> Map<String, Value> {
        let mut labels = self.labels();
        labels.insert(TRACK.into(), track.into());
        labels.insert(PROCESS.into(), label(process).into());
        labels
    }

    /// What a Service selects: a track, nobody, or who is let in of two releases. Never nothing, and never everything.
    pub fn selected(&self, track: &str, process: &str) -> Map<String, Value> {
        let mut labels = self.pods(track, process);
        if track == SHARED {
            labels.remove(TRACK);
            labels.insert(SHARE.into(), IN.into());
        }
        labels
    }

    pub fn is_ours(&self, object: &Object) -> bool {
        let wanted = self.labels();
        wanted.iter().all(|(key, value)| object.label(key) == value.as_str())
    }
}

pub(super) fn placed(placement: &Placement) -> Map<String, Value> {
    object(json!({
        SLOT: placement.slot.as_str(),
        RELEASE: placement.release.0.to_string(),
        VERSION: label(placement.version.as_str()),
    }))
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// A name of the cluster: letters, digits and dashes, from a letter on. What does not fit is told apart by a digest.
fn plain(text: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= LONGEST
        && text.chars().all(fits)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c != '-')
    {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let mut kept: String = lower.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    if !kept.starts_with(|c: char| c.is_ascii_lowercase()) {
        kept.insert(0, 'o');
    }
    kept.truncate(LONGEST - 9);
    format!("{}-{}", kept.trim_end_matches('-'), &Digest::of(text.as_bytes()).as_str()[..8])
}

/// A label's value. What does not fit is told apart by a digest.
pub(super) fn label(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: char| c.is_ascii_alphanumeric();
    if text.len() <= LONGEST_LABEL && text.chars().all(fits) && text.starts_with(ends) && text.ends_with(ends)
    {
        return text.to_owned();
    }
    let mut kept: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    kept.truncate(LONGEST_LABEL - 9);
    let kept = kept.trim_matches(|c: char| !ends(c));
    let digest = Digest::of(text.as_bytes());
    let digest = &digest.as_str()[..8];
    if kept.is_empty() { digest.to_owned() } else { format!("{kept}-{digest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(service: &str, environment: &str) -> Names {
        Names { service: service.into(), environment: EnvironmentName::new(environment).unwrap() }
    }

    #[test]
    fn a_plain_name_is_kept_and_an_odd_one_told_apart() {
        let shop = names("shop", "production");
        assert_eq!(shop.deployment(Track::Slot(Slot::Blue), "web"), "shop-production-blue-web");
        assert_eq!(shop.deployment(Track::Rolling, "web"), "shop-production-web");
        assert_eq!(shop.front("web"), "shop-production-web");
        let odd = names("My_Shop", "production").front("web");
        assert!(odd.starts_with("my-shop-production-web-") && odd.len() <= LONGEST, "{odd}");
        assert_ne!(odd, names("my-shop", "production").front("web"));
        assert_ne!(odd, names("My.Shop", "production").front("web"));
    }

    #[test]
    fn every_name_is_one_that_the_cluster_takes() {
        for service in ["1st", "a.b", "ends-", "X", &"long".repeat(15), "7"] {
            for process in ["web", "W_1.", &"p".repeat(63), "9-"] {
                let name = names(service, "e-").deployment(Track::Slot(Slot::Green), process);
                assert!(name.len() <= LONGEST, "{name}");
                assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                assert!(name.ends_with(|c: char| c.is_ascii_alphanumeric()), "{name}");
                assert!(
                    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_label_is_one_that_the_cluster_takes() {
        assert_eq!(label("1.4.0"), "1.4.0");
        for odd in ["1.4.0+build.7", "ends-", &"v".repeat(128), "+", "-"] {
            let label = label(odd);
            assert!(label.len() <= LONGEST_LABEL && label != odd, "{label}");
            assert!(label.starts_with(|c: char| c.is_ascii_alphanumeric()), "{label}");
            assert!(label.ends_with(|c: char| c.is_ascii_alphanumeric()), "{label}");
        }
        assert_ne!(label("1.0+a"), label("1.0-a"));
    }
}
