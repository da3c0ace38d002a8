//! Freezes: times in which nothing new is deployed.

use jiff::civil::{Date, DateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::window::{DeployWindow, Zone};
use crate::time::Timestamp;

/// A time in which nothing new is deployed, with the name that a refusal tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    pub name: String,
    pub when: When,
}

/// When it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once.
    Period {
        #[schemars(with = "String")]
        from: DateTime,
        #[schemars(with = "String")]
        to: DateTime,
        #[serde(default, skip_serializing_if = "Zone::is_utc")]
        time_zone: Zone,
    },
    /// Every week.
    Weekly(DeployWindow),
    /// The events of a calendar, as they were when it was read.
    Calendar {
        #[schemars(with = "Vec<(String, String)>")]
        periods: Vec<(Timestamp, Timestamp)>,
        /// In which the end is told.
        #[serde(default, skip_serializing_if = "Zone::is_utc")]
        time_zone: Zone,
    },
    /// On these days, whole.
    Dates {
        #[schemars(with = "Vec<String>")]
        dates: Vec<Date>,
        #[serde(default, skip_serializing_if = "Zone::is_utc")]
        time_zone: Zone,
    },
}

/// A freeze that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    pub name: String,
    /// When deployments are possible again.
    pub until: Timestamp,
    /// The same, as a clock there shows it.
    pub until_there: String,
}

/// How many freezes that follow one another are looked through for the end.
const FOLLOWED: usize = 400;

/// The freeze that holds at `now`, with the end of it and of those that follow without a gap.
pub fn frozen(freezes: &[Freeze], now: Timestamp) -> Option<Frozen> {
    let holds = |at: Timestamp| {
        freezes
            .iter()
            .filter_map(|freeze| freeze.until(at).map(|until| (freeze, until)))
            .max_by_key(|(_, until)| *until)
    };
    let (first, mut until) = holds(now)?;
    let mut zone = first.zone();
    for _ in 0..FOLLOWED {
        let Some((next, later)) = holds(until) else { break };
        (until, zone) = (later, next.zone());
    }
    let until_there = format!("{} {zone}", zone.at(until).strftime("%Y-%m-%d %H:%M"));
    Some(Frozen { name: first.name.clone(), until, until_there })
}

impl Freeze {
    /// When it ends, if it holds at `now`.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let within = |from: Option<Timestamp>, to: Option<Timestamp>| {
            let (from, to) = (from?, to?);
            (from <= now && now < to).then_some(to)
        };
        match &self.when {
            When::Period { from, to, time_zone } => within(time_zone.first(*from), time_zone.last(*to)),
            When::Calendar { periods, .. } => {
                let holds = periods.iter().filter(|(from, to)| *from <= now && now < *to);
                holds.map(|(_, to)| *to).max()
            }
            When::Weekly(window) => window.until(now),
            When::Dates { dates, time_zone } => {
                let today = time_zone.at(now).date();
                let midnight = |date: Date| date.to_datetime(jiff::civil::Time::midnight());
                let listed = dates.iter().find(|date| **date == today)?;
                let tomorrow = listed.tomorrow().ok()?;
                within(time_zone.first(midnight(*listed)), time_zone.last(midnight(tomorrow)))
            }
        }
    }

    /// Whether it can hold again after `now`.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        match &self.when {
            When::Period { to, time_zone, .. } => time_zone.last(*to).is_some_and(|to| to <= now),
            When::Calendar { periods, .. } => periods.iter().all(|(_, to)| *to <= now),
            When::Weekly(_) => false,
            When::Dates { dates, time_zone } => {
                let today = time_zone.at(now).date();
                dates.iter().all(|date| *date < today)
            }
        }
    }

    /// Whether it still holds whenever `other` will: a calendar may lose what is over, and get more.
    pub(super) fn covers(&self, other: &Self, now: Timestamp) -> bool {
        match (&self.when, &other.when) {
            (When::Calendar { periods, .. }, When::Calendar { periods: before, .. }) => {
                let ahead = before.iter().filter(|(_, to)| *to > now);
                self.name == other.name && ahead.into_iter().all(|period| periods.contains(period))
            }
            _ => self == other,
        }
    }

    fn zone(&self) -> &Zone {
        match &self.when {
            When::Period { time_zone, .. }
            | When::Calendar { time_zone, .. }
            | When::Dates { time_zone, .. } => time_zone,
            When::Weekly(window) => &window.time_zone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ClockTime, Weekday};

    fn berlin() -> Zone {
        "Europe/Berlin".parse().unwrap()
    }

    fn year_end() -> Freeze {
        let (from, to) = ("2026-12-19T18:00".parse().unwrap(), "2027-01-04T08:00".parse().unwrap());
        Freeze { name: "year end".into(), when: When::Period { from, to, time_zone: berlin() } }
    }

    fn weekly(days: &[Weekday], from: ClockTime) -> Freeze {
        let window = DeployWindow { days: days.to_vec(), from, to: ClockTime::DAYS_END, time_zone: berlin() };
        Freeze { name: "weekend".into(), when: When::Weekly(window) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_holds_from_its_first_minute_to_its_last() {
        let freezes = [year_end()];
        assert_eq!(frozen(&freezes, at("2026-12-19T16:59:59Z")), None);
        let found = frozen(&freezes, at("2026-12-19T17:00:00Z")).unwrap();
        assert_eq!(found.until, at("2027-01-04T07:00:00Z"));
        assert_eq!(found.until_there, "2027-01-04 08:00 Europe/Berlin");
        assert_eq!(frozen(&freezes, at("2027-01-04T07:00:00Z")), None);
    }

    #[test]
    fn freezes_without_a_gap_end_with_the_last() {
        let friday = ClockTime::try_from("16:00".to_owned()).unwrap();
        let freezes = [
            weekly(&[Weekday::Fri], friday),
            weekly(&[Weekday::Sat, Weekday::Sun], ClockTime::MIDNIGHT),
            year_end(),
        ];
        // A Friday before; the Saturday in which the year's end begins.
        assert_eq!(frozen(&freezes, at("2026-12-11T15:00:00Z")).unwrap().until, at("2026-12-13T23:00:00Z"));
        assert_eq!(frozen(&freezes, at("2026-12-18T15:00:00Z")).unwrap().until, at("2027-01-04T07:00:00Z"));
        assert_eq!(frozen(&freezes, at("2026-12-11T14:59:00Z")), None);
    }

    #[test]
    fn listed_days_are_whole_days_of_the_zone() {
        let dates = vec!["2026-12-24".parse().unwrap(), "2026-12-25".parse().unwrap()];
        let freeze = Freeze { name: "holidays".into(), when: When::Dates { dates, time_zone: berlin() } };
        let freezes = [freeze];
        assert_eq!(frozen(&freezes, at("2026-12-23T22:59:00Z")), None);
        assert_eq!(frozen(&freezes, at("2026-12-23T23:00:00Z")).unwrap().until, at("2026-12-25T23:00:00Z"));
        assert!(!freezes[0].is_over(at("2026-12-25T22:00:00Z")));
        assert!(freezes[0].is_over(at("2026-12-26T01:00:00Z")));
    }

    #[test]
    fn a_calendar_holds_while_one_of_its_events_does_and_may_lose_what_is_over() {
        let event = |from: &str, to: &str| (at(from), at(to));
        let of =
            |periods| Freeze { name: "sales".into(), when: When::Calendar { periods, time_zone: berlin() } };
        let (first, second) = (
            event("2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"),
            event("2026-12-01T09:00:00Z", "2026-12-01T10:00:00Z"),
        );
        let both = of(vec![first, second]);
        assert_eq!(frozen(std::slice::from_ref(&both), at("2026-11-27T12:00:00Z")).unwrap().until, first.1);
        assert_eq!(frozen(std::slice::from_ref(&both), first.1), None);
        let now = at("2026-11-30T00:00:00Z");
        assert!(of(vec![second]).covers(&both, now) && both.covers(&of(vec![second]), now));
        assert!(!of(vec![first]).covers(&both, now));
        assert!(!both.is_over(now) && both.is_over(second.1));
    }

    #[test]
    fn every_day_and_no_end_comes_to_an_answer() {
        let always = weekly(&[], ClockTime::MIDNIGHT);
        assert!(frozen(&[always], at("2026-12-23T22:59:00Z")).is_some());
    }
}
