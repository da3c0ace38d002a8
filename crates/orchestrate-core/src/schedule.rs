//! When something recurs: a cron expression in a time zone.
//!
//! On the night of a change to or from daylight saving time, a time of day that is left out means the first instant after
//! the gap, and one that comes twice means the first of the two: what is due once a day is due once that day, too.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// From five fields of cron, and the IANA name of a time zone; UTC without one. Says what is wrong with it.
    pub fn new(pattern: &str, zone: Option<&str>) -> Result<Self, String> {
        let schedule = Self { cron: cron(pattern)?, zone: zone.map_or(Ok(TimeZone::UTC), time_zone)? };
        match schedule.after(Timestamp::from_millis(0)) {
            Some(_) => Ok(schedule),
            None => Err("never comes: there is no such day".to_owned()),
        }
    }

    /// The next time after `moment`, which is not one of them itself. None where there is none any more.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let moment = jiff::Timestamp::from_millisecond(moment.as_millis()).ok()?;
        let next = self.cron.find_next_occurrence(&moment.to_zoned(self.zone.clone()), false).ok()?;
        Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
    }
}

/// Minutes are the finest; a year is no part of it.
pub fn cron(pattern: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(pattern).map_err(|error| {
        let why = match error {
            CronError::InvalidPattern(why)
            | CronError::IllegalCharacters(why)
            | CronError::ComponentError(why) => why,
            other => other.to_string(),
        };
        let why = why.trim_end_matches('.');
        format!("is not an expression of cron ({why}); write for example `0 4 * * SUN`")
    })
}

/// A time zone by its IANA name.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        "is not a time zone; write an IANA name, for example `Europe/Berlin` or `UTC`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(pattern: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::new(pattern, Some(zone)).unwrap();
        let mut times = vec![from.parse().unwrap()];
        for _ in 0..count {
            times.push(schedule.after(times[times.len() - 1]).unwrap());
        }
        times[1..].iter().map(ToString::to_string).collect()
    }

    #[test]
    fn it_is_a_time_of_day_in_its_zone() {
        let sundays = times("0 4 * * SUN", "Europe/Berlin", "2026-11-28T00:00:00Z", 2);
        assert_eq!(sundays, ["2026-11-29T03:00:00.000Z", "2026-12-06T03:00:00.000Z"]);
        let utc = Schedule::new("0 4 * * *", None).unwrap();
        let next = utc.after("2026-11-28T04:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(next.to_string(), "2026-11-29T04:00:00.000Z", "the moment itself is over");
    }

    /// On 2026-03-29 the clocks of Berlin go from 02:00 CET to 03:00 CEST.
    #[test]
    fn a_time_that_is_left_out_comes_once_right_after_the_gap() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
        );
    }

    /// On 2026-10-25 they go from 03:00 CEST back to 02:00 CET.
    #[test]
    fn a_time_that_comes_twice_is_meant_once() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3),
            ["2026-10-24T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
        );
        // Asked again after the first of the two, e.g. by a daemon that was started in between.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1),
            ["2026-10-26T01:30:00.000Z"]
        );
    }

    #[test]
    fn what_comes_every_hour_goes_on_by_the_clock() {
        assert_eq!(
            times("15 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3),
            ["2026-10-25T00:15:00.000Z", "2026-10-25T01:15:00.000Z", "2026-10-25T02:15:00.000Z"],
            "02:15 comes twice"
        );
        assert_eq!(
            times("15 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", 3),
            ["2026-03-29T00:15:00.000Z", "2026-03-29T01:15:00.000Z", "2026-03-29T02:15:00.000Z"],
            "02:15 is left out"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_somebody_writes_is_taken_or_refused(
            pattern in r"[0-9*/,\-?LW#A-Z ]{0,24}|([0-9*/,-]{1,5} ){4}[0-9*/,-]{1,5}|\PC{0,12}",
            zone in r"[A-Za-z/_+0-9.-]{0,16}",
        ) {
            if let Ok(schedule) = Schedule::new(&pattern, None) {
                let now = Timestamp::from_millis(1_795_316_400_000);
                proptest::prop_assert!(schedule.after(now).is_none_or(|next| next > now));
            }
            let _ = time_zone(&zone);
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for pattern in
            ["", "soon", "0 4 * *", "60 4 * * *", "0 4 * * SUNDAY!", "0 0 4 * * SUN", "0 4 * * * 2027"]
        {
            assert!(cron(pattern).is_err(), "{pattern:?}");
        }
        assert!(Schedule::new("0 4 30 2 *", None).is_err(), "the thirtieth of February");
        for zone in ["", "Berlin", "Europe/Berlim", "+01:00", "../../etc/passwd"] {
            assert!(time_zone(zone).is_err(), "{zone:?}");
        }
        assert!(time_zone("UTC").is_ok() && time_zone("America/New_York").is_ok());
    }
}
