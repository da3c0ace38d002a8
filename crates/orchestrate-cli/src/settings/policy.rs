//! What a team has agreed on: approvals, freezes, how far and how often people roll back.

use std::path::PathBuf;

use jiff::civil::{Date, DateTime, Time};
use orchestrate_core::environment::EnvironmentSettings;
use orchestrate_core::policy::{
    Approval, ClockTime, DeployWindow, Freeze, InFreeze, RollbackLimits, When, Zone,
};

use super::environment::DAYS;
use super::keys;
use super::reader::{Field, Read, Section};
use super::values::span_above_zero;

/// A freeze whose times are in a file of their own, by a path that starts beside the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarFile {
    pub name: String,
    pub file: PathBuf,
    pub time_zone: Zone,
}

pub(super) const IN_FREEZE: &[(&str, InFreeze)] =
    &[("freely", InFreeze::Freely), ("with_reason", InFreeze::WithReason), ("refused", InFreeze::Refused)];
pub(super) const MOST_APPROVERS: u32 = 20;
pub(super) const MOST_RELEASES: u32 = 100_000;
const LONGEST_NAME: usize = 128;

/// What an environment's section says beside `rollback`.
pub(super) fn read(section: &Section<'_>, settings: &mut EnvironmentSettings) -> Read<Vec<CalendarFile>> {
    section.set("requires_approval", &mut settings.requires_approval, Field::boolean)?;
    let policy = &mut *settings.policy;
    section.set("approval", &mut policy.approval, approval)?;
    section.set("require_reason", &mut policy.require_reason, Field::boolean)?;
    let mut calendars = Vec::new();
    section.set("freezes", &mut policy.freezes, |field| freezes(field, &mut calendars))?;
    if let Some(field) = section.get("approval").filter(|_| !settings.requires_approval) {
        return Err(field
            .bad_key("nothing is approved without `requires_approval: true`; write it, or leave this out"));
    }
    Ok(calendars)
}

fn approval(field: &Field<'_>) -> Read<Approval> {
    let section = field.section(keys::APPROVAL)?;
    let mut approval = Approval::default();
    section.set("count", &mut approval.count, |field| field.whole_number(1..=MOST_APPROVERS))?;
    section.set("by", &mut approval.by, |field| {
        field.items("a list of names")?.iter().map(|field| name(field, "the name of somebody")).collect()
    })?;
    section.set("valid_for", &mut approval.valid_for, span_above_zero)?;
    let people = u32::try_from(approval.by.len()).unwrap_or(u32::MAX);
    if !approval.by.is_empty() && people < approval.count {
        return Err(field.bad_key("more people must approve than may; name more in `by`, or lower `count`"));
    }
    Ok(approval)
}

/// The limits of `rollback`, which has other keys as well.
pub(super) fn limits(section: &Section<'_>) -> Read<RollbackLimits> {
    let mut limits = RollbackLimits::default();
    section.set("max_back", &mut limits.max_back, |field| field.whole_number(1..=MOST_RELEASES).map(Some))?;
    section.set("max_age", &mut limits.max_age, |field| span_above_zero(field).map(Some))?;
    section.set("manual_at_most_per_hour", &mut limits.manual_at_most_per_hour, |field| {
        field.whole_number(1..=super::environment::MOST_ROLLBACKS).map(Some)
    })?;
    section.set("in_freeze", &mut limits.in_freeze, |field| field.word(IN_FREEZE))?;
    Ok(limits)
}

/// Those that are in a file of their own are read when they are applied.
fn freezes(field: &Field<'_>, calendars: &mut Vec<CalendarFile>) -> Read<Vec<Freeze>> {
    let mut freezes = Vec::new();
    for field in field.items("a list of freezes")? {
        let section = field.section(keys::FREEZE)?;
        let Some(file) = section.get("calendar") else {
            freezes.push(freeze(&field, &section)?);
            continue;
        };
        if ["from", "to", "days", "dates"].iter().any(|key| section.get(key).is_some()) {
            return Err(field.bad_value("the times are in the `calendar`; give others to another freeze"));
        }
        let name = name(section.required("name")?, "the name of a freeze")?;
        calendars.push(CalendarFile { name, file: file.text()?.into(), time_zone: zone(&section)? });
    }
    Ok(freezes)
}

fn freeze(field: &Field<'_>, section: &Section<'_>) -> Read<Freeze> {
    let name = name(section.required("name")?, "the name of a freeze")?;
    let time_zone = zone(section)?;
    let has = |key| section.get(key).is_some();
    let when = if has("dates") {
        if has("from") || has("to") || has("days") {
            return Err(
                field.bad_value("`dates` are whole days; give `from`, `to` and `days` to another freeze")
            );
        }
        When::Dates { dates: dates(section.required("dates")?)?, time_zone }
    } else if has("days") {
        When::Weekly(part_of_the_week(field, section, time_zone)?)
    } else {
        match (section.required("from")?, section.required("to")?) {
            (from, _) if is_time_of_day(from) => When::Weekly(part_of_the_week(field, section, time_zone)?),
            (from, to) => period(field, from, to, time_zone)?,
        }
    };
    Ok(Freeze { name, when })
}

fn period(field: &Field<'_>, from: &Field<'_>, to: &Field<'_>, time_zone: Zone) -> Read<When> {
    let (from, to) = (moment(from, false)?, moment(to, true)?);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(field.bad_value("the freeze ends before it starts"));
    }
    let any = Date::ZERO.to_datetime(Time::midnight());
    Ok(When::Period { from: from.unwrap_or(any), to: to.unwrap_or(any), time_zone })
}

/// A day alone is its first moment, or, as an end, its last.
fn moment(field: &Field<'_>, is_end: bool) -> Read<Option<DateTime>> {
    field.parsed("a day, or a day with a time", |text| {
        let wrong =
            || "is not a day with a time; write for example `2026-12-19 18:00`, or `2026-12-19`".to_owned();
        if let Ok(date) = text.parse::<Date>()
            && text.len() == "2026-12-19".len()
        {
            let date = if is_end { date.tomorrow().map_err(|_| wrong())? } else { date };
            return Ok(Some(date.to_datetime(Time::midnight())));
        }
        text.parse().map(Some).map_err(|_| wrong())
    })
}

fn dates(field: &Field<'_>) -> Read<Vec<Date>> {
    let items = field.items("a list of days")?;
    if items.is_empty() {
        return Err(field.bad_value("there is no day in it"));
    }
    let one = |field: &Field<'_>| {
        let date = field.parsed("a day", |text| {
            let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-12-24".len());
            date.map(Some).ok_or_else(|| "is not a day; write for example `2026-12-24`".to_owned())
        });
        date.map(|date| date.unwrap_or(Date::ZERO))
    };
    items.iter().map(one).collect()
}

fn is_time_of_day(field: &Field<'_>) -> bool {
    field.loose_text().is_ok_and(|text| text.contains(':') && text.len() <= "09:30".len())
}

/// Days, hours, or hours of days; whole days where no hour is given.
fn part_of_the_week(field: &Field<'_>, section: &Section<'_>, time_zone: Zone) -> Read<DeployWindow> {
    let (from, to) = match (section.get("from"), section.get("to")) {
        (None, None) => (Some(ClockTime::MIDNIGHT), Some(ClockTime::DAYS_END)),
        _ => (time_of_day(section.required("from")?)?, time_of_day(section.required("to")?)?),
    };
    window(field, section, (from, to), time_zone)
}

/// A window of `windows`, which always has hours.
pub(super) fn deploy_window(field: &Field<'_>) -> Read<DeployWindow> {
    let section = field.section(keys::WINDOW)?;
    let hours = (time_of_day(section.required("from")?)?, time_of_day(section.required("to")?)?);
    let time_zone = zone(&section)?;
    window(field, &section, hours, time_zone)
}

fn window(
    field: &Field<'_>,
    section: &Section<'_>,
    (from, to): (Option<ClockTime>, Option<ClockTime>),
    time_zone: Zone,
) -> Read<DeployWindow> {
    if from.is_some() && from == to {
        return Err(
            field.bad_value("the window ends where it starts; for the whole day write 00:00 to 24:00")
        );
    }
    let mut days = Vec::new();
    section.set("days", &mut days, |field| {
        field.items("a list of days")?.iter().map(|day| day.word(DAYS)).collect()
    })?;
    // A time that is not looked up now is never used, so any will do.
    let known = |time: Option<ClockTime>| time.unwrap_or(ClockTime::MIDNIGHT);
    Ok(DeployWindow { days, from: known(from), to: known(to), time_zone })
}

fn time_of_day(field: &Field<'_>) -> Read<Option<ClockTime>> {
    field.parsed("a time of day", |text| {
        ClockTime::try_from(text.to_owned())
            .map(Some)
            .map_err(|_| "is not a time of day; write `HH:MM`, for example `09:30`".into())
    })
}

fn zone(section: &Section<'_>) -> Read<Zone> {
    let mut zone = Zone::default();
    section.set("time_zone", &mut zone, |field| {
        field.parsed("the name of a time zone", |text| {
            text.parse::<Zone>()
                .map_err(|_| "is not a time zone; write its IANA name, for example `Europe/Berlin`".into())
        })
    })?;
    Ok(zone)
}

/// One line that errors and notices may quote.
fn name(field: &Field<'_>, what: &str) -> Read<String> {
    let name = field.text()?;
    if name.trim().is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(field.bad_value(&format!("{what} is one line of up to {LONGEST_NAME} characters")));
    }
    Ok(name)
}
