//! Freezes from a file of iCalendar (RFC 5545): its events, each from its start to its end.

use std::io::Read as _;
use std::path::Path;

use icalendar::{Calendar, CalendarComponent, Component as _, Event};
use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use orchestrate_core::policy::{Freeze, When, Zone};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, Result};

use crate::settings::CalendarFile;

const LARGEST: u64 = 1 << 20;
const MOST_EVENTS: usize = 10_000;

/// Reads the calendar of a freeze; its path starts in `directory`.
pub fn read(directory: &Path, calendar: &CalendarFile) -> Result<Freeze> {
    let path = directory.join(&calendar.file);
    let wrong = |what: String| {
        Error::usage(
            "ORC-0238",
            format!("the calendar {} of the freeze `{}` {what}", path.display(), calendar.name),
        )
        .hint("give it a file of iCalendar, or write the days down in `dates`")
    };
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
        .map_err(|error| wrong("cannot be read".into()).source(error))?;
    if text.len() as u64 > LARGEST {
        return Err(wrong("is larger than 1 MiB".into()));
    }
    let periods = periods(&text, &calendar.time_zone).map_err(wrong)?;
    let when = When::Calendar { periods, time_zone: calendar.time_zone.clone() };
    Ok(Freeze { name: calendar.name.clone(), when })
}

fn periods(text: &str, zone: &Zone) -> Result<Vec<(Timestamp, Timestamp)>, String> {
    if !text.contains("BEGIN:VCALENDAR") {
        return Err("is not one of iCalendar".into());
    }
    let calendar: Calendar = text.parse().map_err(|_| "cannot be understood".to_owned())?;
    let events = calendar.components.iter().filter_map(|component| match component {
        CalendarComponent::Event(event) => Some(event),
        _ => None,
    });
    let mut periods = events.map(|event| period(event, zone)).collect::<Result<Vec<_>, _>>()?;
    match periods.len() {
        0 => return Err("has no event".into()),
        count if count > MOST_EVENTS => return Err(format!("has more than {MOST_EVENTS} events")),
        _ => {}
    }
    periods.sort_unstable();
    periods.dedup();
    Ok(periods)
}

fn period(event: &Event, zone: &Zone) -> Result<(Timestamp, Timestamp), String> {
    let called: String = event.get_summary().unwrap_or("without a name").chars().take(60).collect();
    let wrong = |what: &str| format!("has an event, `{}`, {what}", called.escape_debug());
    if event.property_value("RRULE").is_some() || event.property_value("RDATE").is_some() {
        return Err(wrong(
            "that repeats, which is not read: let its days be events of their own, or use `days`",
        ));
    }
    let moment = |key: &str, is_last: bool| {
        let Some(property) = event.properties().get(key) else { return Ok(None) };
        let own = match property.params().get("TZID") {
            Some(named) => named
                .value()
                .parse::<Zone>()
                .map_err(|_| wrong("whose time zone is none of the IANA database"))?,
            None => zone.clone(),
        };
        instant(property.value(), &own, is_last).map(Some).ok_or_else(|| wrong("whose time cannot be read"))
    };
    let from = moment("DTSTART", false)?.ok_or_else(|| wrong("that does not say when it starts"))?;
    let to = match (moment("DTEND", true)?, event.property_value("DURATION")) {
        (Some(to), _) => to,
        (None, Some(_)) => return Err(wrong("that says how long it is instead of when it ends")),
        (None, None) => whole_day(event, zone).ok_or_else(|| wrong("that does not say when it ends"))?,
    };
    if to <= from {
        return Err(wrong("that ends before it starts"));
    }
    Ok((from, to))
}

/// `20261224`, `20261224T180000` where the event is, or `20261224T180000Z`.
fn instant(text: &str, zone: &Zone, is_last: bool) -> Option<Timestamp> {
    let (text, zone) = match text.strip_suffix('Z') {
        Some(text) => (text, Zone::default()),
        None => (text, zone.clone()),
    };
    let time = match text.contains('T') {
        true => DateTime::strptime("%Y%m%dT%H%M%S", text).ok()?,
        false => Date::strptime("%Y%m%d", text).ok()?.to_datetime(jiff::civil::Time::midnight()),
    };
    if is_last { zone.last(time) } else { zone.first(time) }
}

/// A day without an end is that day.
fn whole_day(event: &Event, zone: &Zone) -> Option<Timestamp> {
    let date = Date::strptime("%Y%m%d", event.property_value("DTSTART")?).ok()?;
    zone.last(date.checked_add(1.day()).ok()?.to_datetime(jiff::civil::Time::midnight()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(events: &str) -> String {
        let events = events.replace('\n', "\r\n");
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\n{events}\r\nEND:VCALENDAR\r\n")
    }

    fn event(lines: &str) -> String {
        calendar(&format!(
            "BEGIN:VEVENT\nUID:1\nDTSTAMP:20260101T000000Z\nSUMMARY:Christmas\n{lines}\nEND:VEVENT"
        ))
    }

    fn berlin() -> Zone {
        "Europe/Berlin".parse().unwrap()
    }

    fn read_one(lines: &str) -> (String, String) {
        let (from, to) = periods(&event(lines), &berlin()).unwrap()[0];
        (from.to_string(), to.to_string())
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (format!("{from}.000Z"), format!("{to}.000Z"))
    }

    #[test]
    fn days_times_and_zones_are_read_as_they_were_meant() {
        let days = "DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227";
        assert_eq!(read_one(days), pair("2026-12-23T23:00:00", "2026-12-26T23:00:00"));
        let one_day = "DTSTART;VALUE=DATE:20261224";
        assert_eq!(read_one(one_day), pair("2026-12-23T23:00:00", "2026-12-24T23:00:00"));
        let utc = "DTSTART:20261224T120000Z\nDTEND:20261224T130000Z";
        assert_eq!(read_one(utc), pair("2026-12-24T12:00:00", "2026-12-24T13:00:00"));
        let there =
            "DTSTART;TZID=America/New_York:20261224T120000\nDTEND;TZID=America/New_York:20261224T130000";
        assert_eq!(read_one(there), pair("2026-12-24T17:00:00", "2026-12-24T18:00:00"));
        let here = "DTSTART:20261224T120000\nDTEND:20261224T130000";
        assert_eq!(read_one(here), pair("2026-12-24T11:00:00", "2026-12-24T12:00:00"));
    }

    #[test]
    fn what_would_be_read_wrongly_is_refused_by_its_name() {
        for (lines, what) in [
            ("DTSTART:20261224T120000Z\nDTEND:20261224T130000Z\nRRULE:FREQ=DAILY", "that repeats"),
            ("DTEND:20261224T130000Z", "when it starts"),
            ("DTSTART:20261224T120000Z", "when it ends"),
            ("DTSTART:20261224T120000Z\nDURATION:PT1H", "how long it is"),
            ("DTSTART:20261224T120000Z\nDTEND:20261224T110000Z", "ends before it starts"),
            ("DTSTART;TZID=Customized Time Zone:20261224T120000\nDTEND:20261224T130000Z", "whose time zone"),
            ("DTSTART:yesterday\nDTEND:20261224T130000Z", "cannot be read"),
        ] {
            let refused = periods(&event(lines), &berlin()).unwrap_err();
            assert!(refused.contains(what) && refused.contains("`Christmas`"), "{lines}: {refused}");
        }
        for text in ["", "hello", "BEGIN:VCALENDAR", &calendar("")] {
            assert!(periods(text, &berlin()).is_err(), "{text:?}");
        }
    }
}
