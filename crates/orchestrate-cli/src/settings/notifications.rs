//! The notification channels of the config file.

use std::path::Path;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::notification::{NoticeKind, NoticeOutcome, Via};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;

use super::keys;
use super::reader::{Field, Read, Section};
use super::values::{command, span_above_zero, web_address};
use super::wording::listed;

/// Where notices go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredChannel {
    pub via: Via,
    pub url: String,
    /// Signs what is sent, or lets us in.
    pub secret: Option<SecretText>,
    /// Which notices; empty means all that do not only announce.
    pub on: Vec<NoticeKind>,
    /// Only these outcomes; empty means all.
    pub outcomes: Vec<NoticeOutcome>,
    /// Of which environments; empty means of all.
    pub environments: Vec<EnvironmentName>,
    pub template: Option<String>,
}

impl ConfiguredChannel {
    /// A program that is named by a path is looked for from there; the daemon, which starts it, works elsewhere.
    pub(super) fn start_in(&mut self, directory: &Path) {
        let Via::Command { command, .. } = &mut self.via else { return };
        let Some(program) = command.first_mut().filter(|program| program.contains('/')) else { return };
        let whole = directory.join(&*program);
        *program = std::path::absolute(&whole).unwrap_or(whole).to_string_lossy().into_owned();
        self.url = format!("command:{}", command.join(" "));
    }
}

const SLACK: &str = "https://slack.com/api/chat.postMessage";
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const COMMAND_TIMEOUT: Span = Span::from_secs(10);
const LONGEST_COMMAND: Span = Span::from_secs(60);

/// The service, where it is, and what lets us in.
type Target = (Via, String, Option<SecretText>);

/// A type with the keys that it has.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub keys: &'static [&'static str],
    pub required: &'static [&'static str],
    read: fn(&Section<'_>) -> Read<Target>,
}

const fn of(
    keys: &'static [&'static str],
    required: &'static [&'static str],
    read: fn(&Section<'_>) -> Read<Target>,
) -> Type {
    Type { keys, required, read }
}

pub(super) const TYPES: &[(&str, Type)] = &[
    ("webhook", of(keys::WEBHOOK, &["type", "url"], webhook)),
    ("slack", of(keys::SLACK, &["type"], slack)),
    ("teams", of(keys::TEAMS, &["type", "url"], teams)),
    ("pagerduty", of(keys::PAGERDUTY, &["type", "routing_key"], pagerduty)),
    ("email", of(keys::EMAIL, &["type", "server", "from", "to"], email)),
    ("cdevents", of(keys::CDEVENTS, &["type", "url"], cdevents)),
    ("command", of(keys::COMMAND, &["type", "command"], program)),
];

const fn named(kind: NoticeKind) -> (&'static str, NoticeKind) {
    (kind.as_str(), kind)
}

pub(super) const KINDS: &[(&str, NoticeKind)] = &[
    named(NoticeKind::DeploymentStarted),
    named(NoticeKind::Deployment),
    named(NoticeKind::DeploymentFailed),
    named(NoticeKind::RollbackStarted),
    named(NoticeKind::Rollback),
    named(NoticeKind::RollbackFailed),
    named(NoticeKind::HoldSet),
    named(NoticeKind::HoldLifted),
    named(NoticeKind::ApprovalWanted),
    named(NoticeKind::BreakGlass),
    named(NoticeKind::ReadinessLost),
    named(NoticeKind::ReadinessBack),
    named(NoticeKind::DrillCompleted),
    named(NoticeKind::DrillFailed),
    named(NoticeKind::NeedsAttention),
];

const fn meant(outcome: NoticeOutcome) -> (&'static str, NoticeOutcome) {
    (outcome.as_str(), outcome)
}

pub(super) const OUTCOMES: &[(&str, NoticeOutcome)] = &[
    meant(NoticeOutcome::Info),
    meant(NoticeOutcome::Success),
    meant(NoticeOutcome::Failure),
    meant(NoticeOutcome::Attention),
];

pub(super) fn read(field: &Field<'_>, environments: &[EnvironmentName]) -> Read<Vec<ConfiguredChannel>> {
    field.items("a list of channels")?.iter().map(|field| channel(field, environments)).collect()
}

fn channel(field: &Field<'_>, known: &[EnvironmentName]) -> Read<ConfiguredChannel> {
    // The type first: it says which keys there are.
    let entries = field.entries()?;
    let kind = match entries.iter().find(|(name, _)| *name == "type") {
        Some((_, kind)) => kind.word(TYPES)?,
        None => TYPES[0].1,
    };
    let section = field.section(kind.keys)?;
    section.required("type")?;
    let (via, url, secret) = (kind.read)(&section)?;
    let (on, outcomes, environments) = (Vec::new(), Vec::new(), Vec::new());
    let mut channel = ConfiguredChannel { via, url, secret, on, outcomes, environments, template: None };
    section.set("on", &mut channel.on, |field| {
        field.items("a list of notices")?.iter().map(|kind| kind.word(KINDS)).collect()
    })?;
    section.set("outcome", &mut channel.outcomes, |field| {
        field.items("a list of outcomes")?.iter().map(|outcome| outcome.word(OUTCOMES)).collect()
    })?;
    section.set("environments", &mut channel.environments, |field| {
        field.items("a list of environments")?.iter().map(|item| one_of(item, known)).collect()
    })?;
    section.set("template", &mut channel.template, |field| template(field).map(Some))?;
    Ok(channel)
}

fn one_of(field: &Field<'_>, known: &[EnvironmentName]) -> Read<EnvironmentName> {
    let text = field.text()?;
    known.iter().find(|name| name.as_str() == text).cloned().ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(EnvironmentName::as_str).collect();
        field.bad_value(&format!("there is no such environment here; there are {}", listed(&names, "and")))
    })
}

fn template(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    match orchestrate_notify::check_template(&text) {
        Ok(()) => Ok(text),
        Err(problem) => Err(field.bad_value(&format!("it is no template: {problem}"))),
    }
}

fn secret(field: &Field<'_>) -> Read<SecretText> {
    field.text().map(SecretText::new)
}

fn webhook(section: &Section<'_>) -> Read<Target> {
    let url = web_address(section.required("url")?)?;
    let signing = section.get("secret").map(secret).transpose()?;
    Ok((Via::Webhook, url, signing))
}

/// By an incoming webhook, or as a bot.
fn slack(section: &Section<'_>) -> Read<Target> {
    match (section.get("url"), section.get("token"), section.get("channel")) {
        (Some(url), None, None) => Ok((Via::Slack { channel: None }, web_address(url)?, None)),
        (url, Some(token), Some(channel)) => {
            let url = url.map_or_else(|| Ok(SLACK.to_owned()), web_address)?;
            let channel = channel.text()?;
            Ok((Via::Slack { channel: Some(channel) }, url, Some(secret(token)?)))
        }
        (_, Some(token), None) => {
            Err(token.bad_key("needs `channel` beside it, for example `channel: \"#deploys\"`"))
        }
        (_, None, Some(channel)) => Err(channel.bad_key("needs `token` beside it, the token of a bot")),
        (None, None, None) => {
            section.required("url")?;
            Ok((Via::Slack { channel: None }, String::new(), None))
        }
    }
}

fn teams(section: &Section<'_>) -> Read<Target> {
    Ok((Via::Teams, web_address(section.required("url")?)?, None))
}

fn pagerduty(section: &Section<'_>) -> Read<Target> {
    let key = secret(section.required("routing_key")?)?;
    let url = section.get("url").map_or_else(|| Ok(PAGERDUTY.to_owned()), web_address)?;
    Ok((Via::Pagerduty, url, Some(key)))
}

fn email(section: &Section<'_>) -> Read<Target> {
    let url = section.required("server")?.parsed("a string", |text| {
        let host = text.strip_prefix("smtp://").or_else(|| text.strip_prefix("smtps://"));
        match host {
            Some(host) if !host.is_empty() && !text.chars().any(char::is_whitespace) => Ok(text.to_owned()),
            _ => Err("is no mail server; write for example `smtps://user:password@mail.example`".into()),
        }
    })?;
    let from = address(section.required("from")?)?;
    let to = section.required("to")?;
    let addresses = to.items("a list of addresses")?.iter().map(address).collect::<Read<Vec<_>>>()?;
    if addresses.is_empty() {
        return Err(to.bad_value("it is empty; write for example `to: [ops@example.com]`"));
    }
    Ok((Via::Email { from, to: addresses }, url, None))
}

fn address(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| match orchestrate_notify::is_mailbox(text) {
        true => Ok(text.to_owned()),
        false => Err("is no address of email; write for example `ops@example.com`".into()),
    })
}

fn cdevents(section: &Section<'_>) -> Read<Target> {
    Ok((Via::Cdevents, web_address(section.required("url")?)?, None))
}

fn program(section: &Section<'_>) -> Read<Target> {
    let command = command(section.required("command")?)?;
    let mut timeout = COMMAND_TIMEOUT;
    section.set("timeout", &mut timeout, |field| {
        let read = span_above_zero(field)?;
        match read > LONGEST_COMMAND {
            true => Err(field.bad_value(&format!("a command gets {LONGEST_COMMAND} at most"))),
            false => Ok(read),
        }
    })?;
    let url = format!("command:{}", command.join(" "));
    Ok((Via::Command { command, timeout }, url, None))
}
