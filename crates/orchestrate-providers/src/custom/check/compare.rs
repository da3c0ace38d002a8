//! What was told, held against what should be.

use std::collections::BTreeSet;

use orchestrate_core::ports::{InstanceState, PortError};

use crate::custom::answer::Told;
use crate::custom::request::Named;

pub(super) fn words(error: PortError) -> String {
    match error.detail {
        Some(detail) => format!("{} ({})", error.message, detail.lines().last().unwrap_or_default()),
        None => error.message,
    }
}

pub(super) fn same(first: &[Told], again: &[Told]) -> Result<String, String> {
    let who = |told: &[Told]| -> BTreeSet<(String, Option<u32>)> {
        told.iter().map(|one| (one.id.clone(), one.pid)).collect()
    };
    let names = |told: &[Told]| -> BTreeSet<String> { told.iter().map(|one| one.id.clone()).collect() };
    // An instance that was not up yet has no process to be compared.
    let was_up = first.iter().all(|one| one.pid.is_some());
    if names(first) != names(again) || (was_up && who(first) != who(again)) {
        return Err(format!("first there were {:?}, then {:?}", who(first), who(again)));
    }
    Ok(String::new())
}

pub(super) fn ready(told: &[Told], wanted: &[Named]) -> Result<(), String> {
    for one in wanted {
        match told.iter().find(|told| told.id == one.id) {
            Some(told) if told.state == InstanceState::Ready => {}
            Some(told) => {
                let exit = told.last_exit.as_ref().map(|exit| format!(": it {exit}")).unwrap_or_default();
                return Err(format!("{} is not ready{exit}", one.id));
            }
            None => return Err(format!("nobody tells of {}", one.id)),
        }
    }
    Ok(())
}
