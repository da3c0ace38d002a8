//! The `strategy:` of an environment: which way of deploying, and what belongs to it.

use orchestrate_core::deployment_strategy::{Amount, Strategy, StrategyKind};
use orchestrate_core::traffic::Sticky;

use super::environment::MOST_INSTANCES;
use super::keys;
use super::reader::{Field, Read, Section};
use super::values::span;
use super::yaml::Kind;

pub(super) const STRATEGIES: &[(&str, StrategyKind)] = &[
    ("recreate", StrategyKind::Recreate),
    ("blue_green", StrategyKind::BlueGreen),
    ("canary", StrategyKind::Canary),
    ("rolling", StrategyKind::Rolling),
];

/// The keys that belong to some strategies only, and to which.
const OF: &[(&str, &[StrategyKind])] = &[
    ("warm_for", &[StrategyKind::BlueGreen, StrategyKind::Canary]),
    ("steps", &[StrategyKind::Canary]),
    ("wait", &[StrategyKind::Canary, StrategyKind::Rolling]),
    ("batch", &[StrategyKind::Rolling]),
    ("max_unavailable", &[StrategyKind::Rolling]),
    ("max_surge", &[StrategyKind::Rolling]),
    ("sticky", &[StrategyKind::Canary]),
    ("force_header", &[StrategyKind::BlueGreen, StrategyKind::Canary]),
];

pub(super) fn read(field: &Field<'_>) -> Read<Strategy> {
    let section = field.section(keys::STRATEGY)?;
    let mut strategy = Strategy::default();
    section.set("type", &mut strategy.kind, |field| field.word(STRATEGIES))?;
    belong(&section, strategy.kind)?;
    section.set("warm_for", &mut strategy.warm_for, span)?;
    section.set("steps", &mut strategy.steps, steps)?;
    section.set("wait", &mut strategy.wait, |field| span(field).map(Some))?;
    section.set("batch", &mut strategy.batch, |field| amount(field, 1).map(Some))?;
    section.set("max_unavailable", &mut strategy.max_unavailable, |field| amount(field, 0).map(Some))?;
    section.set("max_surge", &mut strategy.max_surge, |field| amount(field, 0).map(Some))?;
    room(&section, &strategy)?;
    section.set("sticky", &mut strategy.sticky, |field| sticky(field).map(Some))?;
    section.set("force_header", &mut strategy.force_header, |field| token(field).map(Some))?;
    Ok(strategy)
}

fn belong(section: &Section<'_>, kind: StrategyKind) -> Read<()> {
    for (key, kinds) in OF {
        let Some(field) = section.get(key).filter(|_| !kinds.contains(&kind)) else { continue };
        let named: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        return Err(field.bad_key(&format!(
            "the strategy `{kind}` has no use for it; leave `{key}` out, or use {}",
            named.join(" or ")
        )));
    }
    Ok(())
}

/// Shares of the traffic that rise, and end with all of it at most.
fn steps(field: &Field<'_>) -> Read<Vec<u8>> {
    let items = field.items("a list of whole numbers, for example `[10, 25, 50, 100]`")?;
    if items.is_empty() {
        return Err(field.bad_value("there is no step; write for example `[10, 25, 50, 100]`"));
    }
    let mut steps: Vec<u8> = Vec::new();
    for item in items {
        let step = u8::try_from(item.whole_number(1..=100)?).unwrap_or(100);
        if let Some(before) = steps.last().filter(|before| **before >= step) {
            return Err(item.bad_value(&format!("the step {step} does not rise above {before} before it")));
        }
        steps.push(step);
    }
    Ok(steps)
}

/// A count of instances, or a part of them.
fn amount(field: &Field<'_>, least: u32) -> Read<Amount> {
    if let Kind::Number(_) = field.node.kind {
        return field.whole_number(least..=MOST_INSTANCES).map(Amount::Count);
    }
    let amount = field.parsed("a whole number, or a part like `25%`", |text| {
        Amount::percent(text).ok_or_else(|| "is no part of the instances; write for example `25%`".into())
    })?;
    match amount {
        Amount::Percent(0) if least > 0 => {
            Err(field.bad_value("a batch of nothing; write for example `25%`"))
        }
        amount => Ok(amount),
    }
}

/// Where nothing may be missing and nothing too many, nothing can be replaced.
fn room(section: &Section<'_>, strategy: &Strategy) -> Read<()> {
    let none = |amount: Option<Amount>| matches!(amount, Some(Amount::Count(0) | Amount::Percent(0)));
    let missing = strategy.max_unavailable.is_none() || none(strategy.max_unavailable);
    match section.get("max_surge").filter(|_| none(strategy.max_surge) && missing) {
        Some(field) => Err(field
            .bad_value("with no `max_unavailable` either no instance can be replaced; allow one of the two")),
        None => Ok(()),
    }
}

fn sticky(field: &Field<'_>) -> Read<Sticky> {
    let section = field.section(keys::STICKY)?;
    match (section.get("cookie"), section.get("header")) {
        (Some(cookie), None) => token(cookie).map(Sticky::Cookie),
        (None, Some(header)) => token(header).map(Sticky::Header),
        (Some(_), Some(_)) | (None, None) => {
            Err(field.bad_value("write one of `cookie` and `header`, for example `{ cookie: canary }`"))
        }
    }
}

/// The name of a header or a cookie, as RFC 9110 has it.
fn token(field: &Field<'_>) -> Read<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = field.text()?;
    if field.is_deferred() || (!name.is_empty() && name.len() <= 64 && name.bytes().all(is_token)) {
        return Ok(name);
    }
    Err(field.bad_value("the name of a header or a cookie has letters, digits and `-` or `_`, 64 at most"))
}
