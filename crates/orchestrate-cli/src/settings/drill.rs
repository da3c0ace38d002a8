//! When rollbacks are rehearsed.

use orchestrate_core::environment::{DrillPolicy, EnvironmentType};
use orchestrate_core::schedule::{self, Schedule};

use super::keys;
use super::reader::{Field, Read};

pub(super) fn read(field: &Field<'_>, kind: EnvironmentType) -> Read<DrillPolicy> {
    let section = field.section(keys::DRILL)?;
    let mut policy = DrillPolicy::default();
    section.set("production", &mut policy.production, Field::boolean)?;
    section.set("schedule", &mut policy.schedule, |field| {
        field.parsed("an expression of cron", |text| schedule::cron(text).map(|_| Some(text.to_owned())))
    })?;
    section.set("time_zone", &mut policy.time_zone, |field| {
        field.parsed("a time zone", |text| schedule::time_zone(text).map(|_| Some(text.to_owned())))
    })?;
    let Some(scheduled) = section.get("schedule") else {
        return match section.get("time_zone") {
            Some(zone) => Err(zone.bad_key("it is the time zone of a `schedule`, and there is none")),
            None => Ok(policy),
        };
    };
    if kind == EnvironmentType::Production && !policy.production {
        return Err(scheduled.bad_key(
            "drills in an environment of type production must be allowed; write `production: true`",
        ));
    }
    if let Some(pattern) = &policy.schedule {
        let recurs = Schedule::new(pattern, policy.time_zone.as_deref());
        recurs.map_err(|problem| scheduled.bad_value(&format!("it {problem}")))?;
    }
    Ok(policy)
}
