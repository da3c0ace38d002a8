//! A token that stands for one plan in one situation. Nothing is kept for it: it is a digest of both.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::json;

use super::rollback::{RollbackPlan, Situation};
use crate::error::Error;
use crate::name::Fence;
use crate::release::{Digest, Release};

/// `p1-` and a SHA-256. Another number in front of it would mean that other things are digested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PlanToken(String);

const PREFIX: &str = "p1-";

impl PlanToken {
    /// Everything that a rollback depends on. Every operation takes a new fence, so an equal one means that none came
    /// between; the rest may change without one.
    pub fn of(situation: &Situation, fence: Fence, plan: &RollbackPlan) -> Self {
        let release = |release: &Release| {
            json!({
                "id": release.id, "digest": release.content_digest, "proven": release.proven_at,
                "hold": release.hold, "lineage": release.lineage,
            })
        };
        let depends_on = json!({
            "environment": situation.environment,
            "fence": fence.0,
            "slots": situation.slots,
            "deployment": [json!(plan.deployment.id), json!(plan.deployment.status)],
            "live": situation.live.as_ref().map(|(live, slot)| json!([release(live), slot])),
            "from": release(&plan.from),
            "target": release(&plan.target),
            "type": plan.rollback_type,
            "path": plan.path,
            "plan": plan.plan,
            "undoes": plan.undoes.as_ref().map(|event| event.id),
        });
        Self(format!("{PREFIX}{}", Digest::of(depends_on.to_string().as_bytes())))
    }
}

impl FromStr for PlanToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digest = text.strip_prefix(PREFIX).map(|digest| Digest::try_from(digest.to_owned()));
        match digest {
            Some(Ok(_)) => Ok(Self(text.to_owned())),
            Some(Err(_)) | None => Err(Error::usage("ORC-0214", format!("{text:?} is not a plan token"))
                .hint("copy the whole of what --dry-run prints: `p1-` and 64 digits")),
        }
    }
}

impl fmt::Display for PlanToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_are_read() {
        let whole = format!("p1-{}", "0f".repeat(32));
        assert_eq!(whole.parse::<PlanToken>().unwrap().to_string(), whole);
        for text in ["", "p1-", "p2-", &whole[..60], &whole.to_uppercase(), &whole[3..]] {
            assert_eq!(text.parse::<PlanToken>().unwrap_err().code(), "ORC-0214", "{text}");
        }
    }
}
