//! Where notices go, and which.

use serde::{Deserialize, Serialize};

use super::{NoticeKind, NoticeOutcome};
use crate::secrets::SecretText;
use crate::time::Span;

/// Where notices go. What is secret of it is kept elsewhere, encrypted, and named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    #[serde(flatten)]
    pub via: Via,
    /// Where to; with `address`, only as much of it as anybody may see.
    pub url: String,
    /// The name under which the whole URL is kept, because it may hold a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SecretRef>,
    /// The name under which its secret is kept, if it has one: what signs, or what lets us in.
    pub secret: Option<SecretRef>,
    /// Empty means all that neither only announce nor are routine.
    pub on: Vec<NoticeKind>,
    /// Only these outcomes; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<NoticeOutcome>,
    /// What takes the place of the sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// The service, with what it needs to know beside an address and a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Via {
    /// Standard Webhooks; the secret signs.
    Webhook,
    /// With a bot's token as the secret, to this channel and a thread for each operation; else by an incoming webhook.
    Slack {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// A workflow that takes adaptive cards.
    Teams,
    /// Events API v2; the secret is the routing key.
    Pagerduty,
    /// By SMTP; the URL names the server, and may hold user and password.
    Email { from: String, to: Vec<String> },
    /// CDEvents in CloudEvents.
    Cdevents,
    /// A program of this machine, without a shell.
    Command { command: Vec<String>, timeout: Span },
}

impl Via {
    /// As the config file names it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack { .. } => "slack",
            Self::Teams => "teams",
            Self::Pagerduty => "pagerduty",
            Self::Email { .. } => "email",
            Self::Cdevents => "cdevents",
            Self::Command { .. } => "command",
        }
    }

    /// Whether later notices of an operation hang on the first one.
    pub const fn has_threads(&self) -> bool {
        matches!(self, Self::Slack { channel: Some(_) } | Self::Email { .. })
    }
}

/// A secret value by name and version, so that the value itself is stored only once, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    pub name: String,
    pub version: i64,
}

impl Channel {
    /// A webhook that gets these kinds.
    pub fn webhook(url: impl Into<String>, on: &[NoticeKind]) -> Self {
        Self {
            via: Via::Webhook,
            url: url.into(),
            address: None,
            secret: None,
            on: on.to_vec(),
            outcomes: Vec::new(),
            template: None,
        }
    }

    /// The same channel with its whole URL, to be used and not kept.
    #[must_use]
    pub fn addressed(&self, whole: &SecretText) -> Self {
        Self { url: whole.expose().to_owned(), address: None, ..self.clone() }
    }

    /// Whether it is told of this.
    pub fn wants(&self, kind: NoticeKind) -> bool {
        // What overrides a policy is told whatever anybody filters.
        if matches!(kind, NoticeKind::Test | NoticeKind::BreakGlass) {
            return true;
        }
        // Who is paged for something must also hear that it is over.
        if self.via == Via::Pagerduty && matches!(kind, NoticeKind::Deployment | NoticeKind::Rollback) {
            return true;
        }
        if self.via == Via::Pagerduty && kind == NoticeKind::DrillCompleted {
            return self.wants(NoticeKind::DrillFailed);
        }
        let unasked = !kind.is_routine() && (!kind.announces() || !self.outcomes.is_empty());
        let all = self.on.is_empty() && unasked;
        (all || self.on.contains(&kind))
            && (self.outcomes.is_empty() || self.outcomes.contains(&kind.outcome()))
    }

    /// What tells one channel from another: notices to one are delivered one after the other.
    pub fn endpoint(&self) -> String {
        let mut text = format!("{:?} {}", self.via, self.url);
        for kept in [&self.address, &self.secret].into_iter().flatten() {
            text.push_str(&format!(" {}@{}", kept.name, kept.version));
        }
        text
    }
}

/// The scope under which the secrets of channels are kept.
pub const SECRET_SCOPE: &str = "notifications";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(channel: &Channel) -> Vec<NoticeKind> {
        NoticeKind::ALL.into_iter().filter(|kind| channel.wants(*kind)).collect()
    }

    #[test]
    fn kinds_and_outcomes_both_have_to_fit() {
        let mut channel = Channel::webhook("x", &[NoticeKind::RollbackStarted, NoticeKind::Rollback]);
        let loud = NoticeKind::BreakGlass;
        let wants = [NoticeKind::RollbackStarted, NoticeKind::Rollback, loud, NoticeKind::Test];
        assert_eq!(wanted(&channel), wants);
        channel.outcomes = vec![NoticeOutcome::Success];
        assert_eq!(wanted(&channel), [NoticeKind::Rollback, loud, NoticeKind::Test]);
        channel.on.clear();
        channel.outcomes = vec![NoticeOutcome::Failure, NoticeOutcome::Attention];
        let wanted = wanted(&channel);
        assert!(wanted.iter().all(|kind| kind.outcome() != NoticeOutcome::Success));
        assert!(wanted.contains(&NoticeKind::NeedsAttention) && wanted.contains(&NoticeKind::ReadinessLost));
    }

    #[test]
    fn a_pager_always_hears_that_it_is_over() {
        let mut pager = Channel::webhook("x", &[NoticeKind::NeedsAttention]);
        pager.via = Via::Pagerduty;
        pager.outcomes = vec![NoticeOutcome::Attention];
        use NoticeKind::{BreakGlass, Deployment, NeedsAttention, Rollback, Test};
        assert_eq!(wanted(&pager), [Deployment, Rollback, BreakGlass, NeedsAttention, Test]);
    }

    #[test]
    fn that_all_is_well_is_told_only_to_who_asks_for_it() {
        let mut channel = Channel::webhook("x", &[]);
        assert!(!channel.wants(NoticeKind::DrillCompleted) && channel.wants(NoticeKind::DrillFailed));
        channel.outcomes = vec![NoticeOutcome::Success];
        assert!(!channel.wants(NoticeKind::DrillCompleted) && channel.wants(NoticeKind::Rollback));
        channel.on = vec![NoticeKind::DrillCompleted];
        assert!(channel.wants(NoticeKind::DrillCompleted));
        channel.outcomes = vec![NoticeOutcome::Failure];
        assert!(!channel.wants(NoticeKind::DrillCompleted));
        // Whose incident is open hears that it is over.
        let mut pager = Channel::webhook("x", &[NoticeKind::DrillFailed]);
        pager.via = Via::Pagerduty;
        assert!(pager.wants(NoticeKind::DrillCompleted));
    }

    #[test]
    fn an_endpoint_differs_where_a_notice_would_go_elsewhere() {
        let first = Channel::webhook("http://a/x", &[]);
        let same = Channel::webhook("http://a/x", &[NoticeKind::Rollback]);
        assert_eq!(first.endpoint(), same.endpoint());
        let mut changed = first.clone();
        changed.secret = Some(SecretRef { name: "shop/0".into(), version: 2 });
        assert_ne!(first.endpoint(), changed.endpoint());
        let mut other = first.clone();
        other.via = Via::Teams;
        assert_ne!(first.endpoint(), other.endpoint());
    }
}
