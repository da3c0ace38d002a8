//! `user`, `limits` and `no_new_privs`: of an environment, and of a process type that differs.

use orchestrate_core::confinement::{Confinement, Limits};

use super::keys;
use super::reader::{Field, Read, Section};

/// What a section says, and for the rest what `general` says.
pub(super) fn read(section: &Section<'_>, general: Option<&Confinement>) -> Read<Confinement> {
    let mut own = Confinement::default();
    section.set("user", &mut own.user, |field| user(field).map(Some))?;
    section.set("limits", &mut own.limits, limits)?;
    section.set("no_new_privs", &mut own.no_new_privs, |field| field.boolean().map(Some))?;
    if let (Some(field), Some(Confinement { user: None, .. })) = (section.get("user"), general) {
        return Err(field.bad_key(
            "give the environment a `user` first, because hooks and smoke tests run as that one; a process type may then differ",
        ));
    }
    let both = general.map_or_else(|| own.clone(), |general| own.clone().or(general));
    if let (Some(field), Some(_), None) = (section.get("limits"), own.limits.processes, &both.user) {
        return Err(field.bad_key(
            "`processes` needs a `user`, because the kernel counts all that its user runs on this machine",
        ));
    }
    Ok(both)
}

fn user(field: &Field<'_>) -> Read<String> {
    field.parsed("the name of a user", |text| {
        let number = |text: &str| text.parse::<u32>().is_ok_and(|id| id < u32::MAX);
        let named = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.len() <= 32
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        let numbers = text.split_once(':').is_some_and(|(uid, gid)| number(uid) && number(gid));
        match text {
            "root" => Err("is no user to run a service as: nothing holds it back".into()),
            _ if text.starts_with("0:") => Err("is root, whom nothing holds back".into()),
            _ if named || numbers => Ok(text.to_owned()),
            _ => Err("is not the name of a user; write for example `shop`, or numbers: `1001:1001`".into()),
        }
    })
}

fn limits(field: &Field<'_>) -> Read<Limits> {
    let section = field.section(keys::LIMITS)?;
    let mut limits = Limits::default();
    section.set("memory", &mut limits.memory, |field| field.parsed("a size", super::size).map(Some))?;
    let count = |field: &Field<'_>| field.whole_number(1..=u32::MAX).map(|count| Some(u64::from(count)));
    section.set("files", &mut limits.files, count)?;
    section.set("processes", &mut limits.processes, count)?;
    Ok(limits)
}
