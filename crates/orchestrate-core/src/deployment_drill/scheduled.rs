//! Drills that come round by themselves: what is due at a look at the clock, and when to look again.

use crate::database::{Database, EnvironmentRecord};
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::schedule::Schedule;
use crate::time::{Span, Timestamp};

/// What is later than this is not made up for: people count on the time of day.
const LATE: Span = Span::from_secs(60);

/// Drills that are due, with their times; and the next time of any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub drills: Vec<(EnvironmentName, Timestamp)>,
    pub next: Option<Timestamp>,
    /// What no schedule can be made of, where another program wrote it.
    pub unreadable: Vec<(EnvironmentName, String)>,
}

/// Those whose time has come after `looked` and up to `now`. Of several daemons that see the same, one
/// [takes the turn](Database::take_drill_turn).
pub async fn due(db: &Database, looked: Timestamp, now: Timestamp) -> Result<Due> {
    let mut due = Due::default();
    for EnvironmentRecord { environment, live, .. } in db.list_environments().await? {
        let schedule = match environment.settings.drill.recurs() {
            Ok(Some(schedule)) if live.is_some() => schedule,
            Ok(_) => continue,
            Err(why) => {
                due.unreadable.push((environment.name, why));
                continue;
            }
        };
        due.drills.extend(turn(&schedule, looked, now).map(|at| (environment.name, at)));
        due.next = [due.next, schedule.after(now)].into_iter().flatten().min();
    }
    Ok(due)
}

/// The last of its times after `looked` and up to `now`, unless that is long ago.
fn turn(schedule: &Schedule, looked: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let late = Timestamp::from_millis(now.as_millis().saturating_sub(LATE.as_millis().cast_signed()));
    let mut found = None;
    let mut from = looked.max(late);
    while let Some(next) = schedule.after(from).filter(|next| *next <= now) {
        (found, from) = (Some(next), next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn nightly() -> Schedule {
        Schedule::new("30 2 * * *", Some("Europe/Berlin")).unwrap()
    }

    /// Looks every quarter of a minute, as the daemon does, with the turns that it takes.
    fn night(from: &str, hours: i64) -> Vec<String> {
        let (schedule, mut looked, mut found) = (nightly(), at(from), Vec::new());
        for quarter in 1..=hours * 240 {
            let now = Timestamp::from_millis(at(from).as_millis() + quarter * 15_000);
            found.extend(turn(&schedule, looked, now).map(|turn| turn.to_string()));
            looked = now;
        }
        found
    }

    #[test]
    fn on_the_night_of_a_change_it_comes_once() {
        assert_eq!(night("2026-03-28T21:00:00Z", 12), ["2026-03-29T01:00:00.000Z"], "the clocks go forward");
        assert_eq!(night("2026-10-24T21:00:00Z", 12), ["2026-10-25T00:30:00.000Z"], "and back");
        assert_eq!(night("2026-11-27T21:00:00Z", 12), ["2026-11-28T01:30:00.000Z"], "any other night");
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let due = at("2026-11-28T01:30:00Z");
        let before = at("2026-11-27T12:00:00Z");
        assert_eq!(turn(&nightly(), before, at("2026-11-28T01:29:59Z")), None);
        assert_eq!(turn(&nightly(), before, at("2026-11-28T01:30:20Z")), Some(due), "a machine that is slow");
        assert_eq!(turn(&nightly(), before, at("2026-11-28T07:00:00Z")), None, "one that slept");
        assert_eq!(turn(&nightly(), due, at("2026-11-28T01:30:15Z")), None, "that was seen before");
    }

    #[test]
    fn a_clock_that_goes_back_brings_a_time_again_which_whoever_took_it_knows() {
        let (looked, now) = (at("2026-11-28T01:31:00Z"), at("2026-11-28T01:30:30Z"));
        assert_eq!(turn(&nightly(), looked, now), None);
    }
}
