//! The notification channels of the config file.

use orchestrate_core::notification::NoticeKind;
use orchestrate_core::secrets::SecretText;

use super::keys;
use super::reader::{Field, Read};
use super::values::web_address;

/// Where notices go. Only webhooks are built yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredChannel {
    pub url: String,
    /// Signs what is sent, if there is one.
    pub secret: Option<SecretText>,
    /// Which notices; empty means every one.
    pub on: Vec<NoticeKind>,
}

pub(super) const TYPES: &[(&str, ())] = &[("webhook", ())];

pub(super) const KINDS: &[(&str, NoticeKind)] = &[
    (NoticeKind::Deployment.as_str(), NoticeKind::Deployment),
    (NoticeKind::DeploymentFailed.as_str(), NoticeKind::DeploymentFailed),
    (NoticeKind::Rollback.as_str(), NoticeKind::Rollback),
    (NoticeKind::RollbackFailed.as_str(), NoticeKind::RollbackFailed),
    (NoticeKind::NeedsAttention.as_str(), NoticeKind::NeedsAttention),
];

pub(super) fn read(field: &Field<'_>) -> Read<Vec<ConfiguredChannel>> {
    field.items("a list of channels")?.iter().map(channel).collect()
}

fn channel(field: &Field<'_>) -> Read<ConfiguredChannel> {
    // The type first: the keys of a channel that is not built yet are not known either.
    if let Some((_, kind)) = field.entries()?.iter().find(|(name, _)| *name == "type") {
        kind.word(TYPES)?;
    }
    let section = field.section(keys::NOTIFICATION)?;
    section.required("type")?;
    let mut channel =
        ConfiguredChannel { url: web_address(section.required("url")?)?, secret: None, on: vec![] };
    section.set("secret", &mut channel.secret, |field| Ok(Some(SecretText::new(field.text()?))))?;
    section.set("on", &mut channel.on, |field| {
        field.items("a list of notices")?.iter().map(|kind| kind.word(KINDS)).collect()
    })?;
    Ok(channel)
}
