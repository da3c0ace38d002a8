//! Whether a round did any harm: to requests, and to the records.

use std::time::Duration;

use serde_json::Value;

use super::strike::{Blow, Strike, Victim};
use crate::luck::Scene;
use crate::luck::load::Seen;

/// A client may not have heard yet of the end of the connection on which it asks.
const NEWS_TRAVELS: Duration = Duration::from_millis(250);

/// How many requests were lost with good reason: in the hands of what was killed. Any other one fails the test.
#[track_caller]
pub fn lost_with_reason(seen: &[Seen], strikes: &[Strike], users: usize) -> usize {
    let failed: Vec<&Seen> = seen.iter().filter(|seen| seen.answer.is_err()).collect();
    for failure in &failed {
        let error = failure.answer.as_ref().unwrap_err();
        assert!(!error.contains("cannot connect"), "a connection was refused: {failure:?}");
        let excused = strikes.iter().any(|strike| was_in_hand(failure, strike));
        assert!(
            excused,
            "a request was lost for no reason: {failure:?}, of {} failures; {strikes:#?}",
            failed.len()
        );
    }
    let kills = strikes.iter().filter(|strike| takes_requests_along(strike)).count();
    assert!(
        failed.len() <= kills * users,
        "{} requests were lost by {kills} kills: {failed:#?}, {strikes:#?}",
        failed.len()
    );
    failed.len()
}

fn takes_requests_along(strike: &Strike) -> bool {
    strike.blow == Blow::Kill && [Victim::Proxy, Victim::Instance].contains(&strike.victim)
}

fn was_in_hand(failure: &Seen, strike: &Strike) -> bool {
    takes_requests_along(strike)
        && failure.asked <= strike.to + NEWS_TRAVELS
        && failure.answered >= strike.from
}

/// The records agree with each other: whatever was begun has ended, and the newest one that succeeded says what is live.
#[track_caller]
pub fn history_is_whole(scene: &Scene, live: &str) {
    let words = ["deploy", "history", "--env", "production", "--limit", "12", "--format", "json"];
    let history = scene.run(&words).ok().json();
    let rows = history.as_array().unwrap();
    for row in rows {
        let status = row["status"].as_str().unwrap();
        assert!(["completed", "failed", "rolled_back", "timed_out"].contains(&status), "not ended: {row}");
        assert!(row["completed_at"].is_string(), "ended at no time: {row}");
    }
    let newest = rows.iter().find(|row| row["status"] == "completed").unwrap_or_else(|| panic!("{history}"));
    assert_eq!(version(newest), live, "what is live is not the newest that was completed: {newest}");
}

fn version(row: &Value) -> &str {
    let key = if row["kind"] == "rollback" { "target_version" } else { "version" };
    row[key].as_str().unwrap()
}
