//! Times that come again: of the week, in a time zone.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schedule;
use crate::time::Timestamp;

/// A time zone by its name in the IANA database: `Europe/Berlin`. The default is UTC.
///
/// From what somebody writes it is parsed, and must be known. From what is stored it is taken as it is: a program that knows fewer
/// time zones must still be able to read the environment and roll it back; it then reads times of that zone as UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: UTC.into(), rules: TimeZone::UTC }
    }
}

const UTC: &str = "UTC";

impl Zone {
    pub fn is_utc(&self) -> bool {
        self.name == UTC
    }

    /// What a clock on the wall there shows.
    pub fn at(&self, instant: Timestamp) -> Zoned {
        jiff::Timestamp::from_millisecond(instant.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(self.rules.clone())
    }

    /// The instant at which it is that time there; where it is so twice, the first; where it never is, just before.
    pub fn first(&self, time: DateTime) -> Option<Timestamp> {
        instant(self.rules.to_ambiguous_zoned(time).earlier())
    }

    /// The same, and the last where it is so twice: what ends then is not over an hour early.
    pub fn last(&self, time: DateTime) -> Option<Timestamp> {
        instant(self.rules.to_ambiguous_zoned(time).later())
    }
}

fn instant(zoned: Result<Zoned, jiff::Error>) -> Option<Timestamp> {
    zoned.ok().map(|zoned| Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let rules = schedule::time_zone(name).map_err(|_| {
            format!("`{name}` is not a time zone; write its IANA name, for example `Europe/Berlin`")
        })?;
        Ok(Self { name: name.to_owned(), rules })
    }
}

impl From<String> for Zone {
    fn from(name: String) -> Self {
        let rules = schedule::time_zone(&name).unwrap_or(TimeZone::UTC);
        Self { name, rules }
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A time zone of the IANA database: Europe/Berlin." })
    }
}

/// A part of the week: when deployments are allowed, or when they are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployWindow {
    /// Days such as `mon`; empty means every day.
    #[serde(default)]
    pub days: Vec<Weekday>,
    /// The first minute, `HH:MM`.
    pub from: ClockTime,
    /// The first minute after the window, `HH:MM`.
    pub to: ClockTime,
    /// Where these times are read off a clock.
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    pub time_zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    fn of(date: Date) -> Self {
        use jiff::civil::Weekday as Day;
        match date.weekday() {
            Day::Monday => Self::Mon,
            Day::Tuesday => Self::Tue,
            Day::Wednesday => Self::Wed,
            Day::Thursday => Self::Thu,
            Day::Friday => Self::Fri,
            Day::Saturday => Self::Sat,
            Day::Sunday => Self::Sun,
        }
    }
}

/// A time of day, `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ClockTime {
    minutes: u16,
}

impl ClockTime {
    pub const MIDNIGHT: Self = Self { minutes: 0 };
    /// The end of a day.
    pub const DAYS_END: Self = Self { minutes: 24 * 60 };

    fn on(self, date: Date) -> Option<DateTime> {
        let (hour, minute) = (i8::try_from(self.minutes / 60).ok()?, i8::try_from(self.minutes % 60).ok()?);
        match hour {
            24 => Some(date.tomorrow().ok()?.to_datetime(Time::midnight())),
            _ => Some(date.to_datetime(Time::new(hour, minute, 0, 0).ok()?)),
        }
    }
}

impl TryFrom<String> for ClockTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time of day; write `HH:MM`, for example `09:30`");
        let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
        let (hours, minutes): (u16, u16) =
            (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
        if hours > 24 || minutes > 59 || hours * 60 + minutes > 24 * 60 {
            return Err(wrong());
        }
        Ok(Self { minutes: hours * 60 + minutes })
    }
}

impl From<ClockTime> for String {
    fn from(time: ClockTime) -> Self {
        format!("{:02}:{:02}", time.minutes / 60, time.minutes % 60)
    }
}

impl DeployWindow {
    /// Whether `now` lies inside; a window whose end is before its start goes over midnight.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.until(now).is_some()
    }

    /// When the window ends in which `now` lies, if it lies in one.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.time_zone.at(now).date();
        // The one that began yesterday may go over midnight.
        [today.checked_sub(1.day()).ok(), Some(today)]
            .into_iter()
            .flatten()
            .filter(|date| self.days.is_empty() || self.days.contains(&Weekday::of(*date)))
            .find_map(|date| {
                let last_day = if self.from < self.to { date } else { date.tomorrow().ok()? };
                let from = self.time_zone.first(self.from.on(date)?)?;
                let to = self.time_zone.last(self.to.on(last_day)?)?;
                (from <= now && now < to).then_some(to)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Weekday], from: &str, to: &str, zone: &str) -> DeployWindow {
        let time = |text: &str| ClockTime::try_from(text.to_owned()).unwrap();
        let time_zone = zone.parse().unwrap();
        DeployWindow { days: days.to_vec(), from: time(from), to: time(to), time_zone }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
        // 2026-11-22 is a Sunday.
        let window = window(&[Weekday::Sun], "22:00", "02:00", "UTC");
        assert!(window.contains(at("2026-11-22T23:00:00Z")));
        assert!(window.contains(at("2026-11-23T01:59:00Z")));
        assert!(!window.contains(at("2026-11-23T02:00:00Z")));
        assert!(!window.contains(at("2026-11-22T01:00:00Z")));
    }

    #[test]
    fn times_are_those_of_the_clock_there() {
        let window = window(&[Weekday::Mon], "09:00", "17:00", "Europe/Berlin");
        // Winter is UTC+1, summer UTC+2.
        assert_eq!(window.until(at("2026-11-23T08:00:00Z")), Some(at("2026-11-23T16:00:00Z")));
        assert_eq!(window.until(at("2026-11-23T07:59:59Z")), None);
        assert_eq!(window.until(at("2026-07-06T07:00:00Z")), Some(at("2026-07-06T15:00:00Z")));
    }

    #[test]
    fn the_night_in_which_the_clock_goes_back_is_an_hour_longer() {
        // On 2026-10-25, 03:00 in Berlin becomes 02:00 again, at 01:00 UTC.
        let window = window(&[Weekday::Sun], "02:30", "02:45", "Europe/Berlin");
        let (first, last) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:45:00Z"));
        assert_eq!(window.until(first), Some(last));
        assert!(window.contains(at("2026-10-25T01:44:59Z")) && !window.contains(last));
    }

    #[test]
    fn the_night_in_which_the_clock_goes_forward_loses_no_window() {
        // On 2026-03-29, 02:00 in Berlin becomes 03:00, at 01:00 UTC.
        let skipped = window(&[Weekday::Sun], "02:00", "03:00", "Europe/Berlin");
        assert!(!skipped.contains(at("2026-03-29T01:30:00Z")), "it is 03:30 there");
        let over = window(&[Weekday::Sun], "01:00", "04:00", "Europe/Berlin");
        assert_eq!(over.until(at("2026-03-29T01:30:00Z")), Some(at("2026-03-29T02:00:00Z")));
    }

    #[test]
    fn a_whole_day_ends_at_midnight() {
        let window = window(&[Weekday::Sat], "00:00", "24:00", "America/New_York");
        assert_eq!(window.until(at("2026-11-28T05:00:00Z")), Some(at("2026-11-29T05:00:00Z")));
        assert!(!window.contains(at("2026-11-28T04:59:00Z")));
    }

    #[test]
    fn a_zone_that_does_not_exist_is_refused() {
        assert!("Europe/Berlim".parse::<Zone>().unwrap_err().contains("IANA"));
        assert_eq!("Asia/Kolkata".parse::<Zone>().unwrap().to_string(), "Asia/Kolkata");
    }

    #[test]
    fn what_a_newer_program_stored_is_read_and_keeps_its_name() {
        let stored = r#"{"days":[],"from":"09:00","to":"10:00","time_zone":"Mars/Olympus"}"#;
        let window: DeployWindow = serde_json::from_str(stored).unwrap();
        assert!(window.contains(at("2026-11-28T09:30:00Z")) && !window.contains(at("2026-11-28T10:00:00Z")));
        assert_eq!(serde_json::to_string(&window).unwrap(), stored);
    }
}
