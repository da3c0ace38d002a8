//! What one version *is* in one environment: sealed at its deployment, immutable, restored byte for byte.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::data_change::DataChange;
use crate::environment::{ProcessType, SealedSettings};
use crate::hooks::Hooks;
use crate::name::{EnvironmentName, ReleaseId, Version};
use crate::time::Timestamp;

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(&Sha256::digest(bytes))
    }

    /// From the 32 bytes of a finished SHA-256.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, enough for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is not a SHA-256 digest"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a version's artifact turned out to be when it was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// SHA-256 of the canonical listing of its tree, so equal content has one digest whatever it was packed in.
    pub digest: Digest,
    /// Where it came from, for people.
    pub origin: String,
    /// Unpacked size in bytes.
    pub size: u64,
    /// The commit, where it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When that was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
    /// The public key whose signature it had when it was taken in, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Where the release is an image of a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Box<Image>>,
}

/// An image as it was resolved when the release was sealed; its tag may mean another one by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// As it was written, with the version filled in: `registry.internal/shop:1.4.0`.
    pub reference: String,
    /// By its digest in its registry: `registry.internal/shop@sha256:…`. None where no registry has it: it is on this machine only,
    /// or nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// Everything that decides what runs. Two releases with equal contents have the same content digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    pub artifact: Artifact,
    pub processes: BTreeMap<String, ProcessType>,
    pub settings: SealedSettings,
    pub variables: BTreeMap<String, String>,
    /// The version of each secret; the values are kept encrypted, elsewhere.
    pub secrets: BTreeMap<String, i64>,
    /// What it does to data that outlives it.
    #[serde(default, skip_serializing_if = "DataChange::is_nothing")]
    pub data: DataChange,
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
}

impl Contents {
    /// Says whether two releases are the same thing under two names. Where an artifact came from does not count.
    pub fn digest(&self) -> Digest {
        let mut listing = serde_json::json!({
            "artifact": self.artifact.digest,
            "processes": self.processes,
            "settings": self.settings,
            "variables": self.variables,
            "secrets": self.secrets,
        });
        // Left out where there is none, so that what was sealed before this existed keeps its digest.
        if !self.data.is_nothing() {
            listing["data"] = serde_json::json!(self.data);
        }
        if !self.hooks.is_empty() {
            listing["hooks"] = serde_json::json!(self.hooks);
        }
        Digest::of(listing.to_string().as_bytes())
    }

    /// The process types that get traffic, with their address.
    pub fn routed(&self) -> impl Iterator<Item = (&str, &ProcessType, std::net::SocketAddr)> {
        self.processes
            .iter()
            .filter_map(|(name, process)| process.listen.map(|listen| (name.as_str(), process, listen)))
    }

    pub fn has_unrouted(&self) -> bool {
        self.processes.values().any(|process| process.listen.is_none())
    }
}

/// Why a release must not be gone back to, nor deployed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub reason: String,
    pub since: Timestamp,
    pub actor: String,
}

/// A sealed release, with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Release {
    pub id: ReleaseId,
    pub environment: EnvironmentName,
    pub version: Version,
    pub contents: Contents,
    pub content_digest: Digest,
    pub sealed_at: Timestamp,
    /// Its place in the order in which releases first went live here; none, if it never did.
    pub lineage: Option<i64>,
    /// Since when it counts as proven: it served, passed its checks and its bake.
    pub proven_at: Option<Timestamp>,
    pub hold: Option<Hold>,
    /// Whether a deployment by which it went live was neither rolled back nor passed over by a rollback.
    pub stands: bool,
    /// Since when its artifact is not kept any more.
    pub pruned_at: Option<Timestamp>,
}

impl Release {
    /// As messages name it.
    pub fn label(&self) -> String {
        self.version.to_string()
    }
}
