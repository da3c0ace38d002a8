//! The chain of the audit trail: the hash of a record covers what it says and the hash of the record before it. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::release::Digest;
use crate::time::Timestamp;

/// The newest record of a trail. Kept elsewhere, it shows later whether the trail up to it is still what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The number of the record; 0 where there is none yet.
    pub id: i64,
    pub hash: Digest,
    pub at: Option<Timestamp>,
}

/// A record as it is stored, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub id: i64,
    pub at: String,
    pub environment: Option<String>,
    pub actor: String,
    pub action: String,
    pub reason: Option<String>,
    pub detail: String,
}

/// What the first record follows: 64 zeros.
pub(crate) fn beginning() -> Digest {
    Digest::from_bytes(&[0; 32])
}

impl Content {
    /// The SHA-256 over the hash before, a line feed, and each field as `length:bytes` or `-`, with a line feed after it.
    ///
    /// A length before each field leaves only one way to read the bytes: nothing can be moved from one field to the next.
    pub fn hash(&self, before: &Digest) -> Digest {
        let id = self.id.to_string();
        let fields = [
            Some(id.as_str()),
            Some(self.at.as_str()),
            self.environment.as_deref(),
            Some(self.actor.as_str()),
            Some(self.action.as_str()),
            self.reason.as_deref(),
            Some(self.detail.as_str()),
        ];
        let mut sha = Sha256::new_with_prefix(before.as_str());
        sha.update("\n");
        for field in fields {
            match field {
                Some(text) => sha.update(format!("{}:{text}\n", text.len())),
                None => sha.update("-\n"),
            }
        }
        Digest::from_bytes(&sha.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        Content {
            id: 7,
            at: "2026-11-22T14:12:01.807Z".into(),
            environment: Some("production".into()),
            actor: "ada@shop-1".into(),
            action: "hold_set".into(),
            reason: Some("leaks".into()),
            detail: r#"{"version":"1.0"}"#.into(),
        }
    }

    #[test]
    fn the_hash_is_the_one_that_the_docs_describe() {
        let text = "0".repeat(64)
            + "\n1:7\n24:2026-11-22T14:12:01.807Z\n10:production\n10:ada@shop-1\n8:hold_set\n5:leaks\n17:{\"version\":\"1.0\"}\n";
        assert_eq!(content().hash(&beginning()), Digest::of(text.as_bytes()));
    }

    #[test]
    fn every_field_counts_and_none_can_stand_for_another() {
        let change: [fn(&mut Content); 9] = [
            |c| c.id = 8,
            |c| c.at = "2026-11-22T14:12:01.808Z".into(),
            |c| c.environment = None,
            |c| c.actor = "bob".into(),
            |c| c.action = "hold_lifted".into(),
            |c| c.reason = None,
            |c| c.reason = Some(String::new()),
            |c| c.detail = "{}".into(),
            |c| (c.actor, c.action) = ("ada@shop-1\n8".into(), ":hold_set".into()),
        ];
        let mut seen = vec![content().hash(&beginning()), content().hash(&Digest::of(b"another"))];
        for change in change {
            let mut other = content();
            change(&mut other);
            let hash = other.hash(&beginning());
            assert!(!seen.contains(&hash), "{other:?}");
            seen.push(hash);
        }
    }
}
