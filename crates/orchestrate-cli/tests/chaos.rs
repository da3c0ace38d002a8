//! Real kills under load: the command, the daemon, the proxy, instances and PostgreSQL are killed, or stopped and woken
//! again, at random instants. After each round the service answers, no request is lost but what was in the hands of what was
//! killed, and what is recorded is what runs.
//!
//! `ORCHESTRATE_CHAOS_ROUNDS` says how many rounds, `ORCHESTRATE_CHAOS_SEED` which, `ORCHESTRATE_CHAOS_PLAYERS` how many are
//! played at the same time; with `ORCHESTRATE_CHAOS_TALK` each round is told. `make chaos` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod chaos {
    pub mod judge;
    pub mod round;
    pub mod strike;
}
mod luck;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chaos::round::{Arena, Tally};
use luck::dice::Dice;
use serde_json::json;

/// Rounds of one run of the tests.
const ROUNDS: u64 = 200;
/// They wait more than they work.
const PLAYERS: u64 = 8;

/// What the rounds are played in; each player has a home, a service and users of its own.
const ARENAS: [fn() -> Arena; 4] = [
    || Arena::new("blue-green, warm", json!({ "type": "blue_green", "warm_for": "15m" })),
    || Arena::new("blue-green, cold", json!({ "type": "blue_green", "warm_for": "0s" })),
    || Arena::new("rolling", json!({ "type": "rolling", "batch": 1 })),
    || Arena::with_postgres("PostgreSQL", json!({ "type": "blue_green", "warm_for": "15m" })),
];

#[test]
fn whatever_is_killed_nothing_is_lost_and_what_is_recorded_runs() {
    let seed = number("ORCHESTRATE_CHAOS_SEED").unwrap_or_else(now);
    let rounds = number("ORCHESTRATE_CHAOS_ROUNDS").unwrap_or(ROUNDS);
    let players = number("ORCHESTRATE_CHAOS_PLAYERS").unwrap_or(PLAYERS).max(1);
    eprintln!("chaos: {rounds} rounds by {players} players of ORCHESTRATE_CHAOS_SEED={seed}");
    let began = Instant::now();
    let players: Vec<_> = (0..players)
        .zip(ARENAS.into_iter().cycle())
        .map(|(number, arena)| {
            let share = rounds / players + u64::from(number < rounds % players);
            std::thread::spawn(move || play(arena, Dice::new(seed, number), share))
        })
        .collect();
    let mut total = Tally::default();
    for player in players {
        // The panic of the round has said which one it was.
        total.add(&player.join().expect("a round failed"));
    }
    eprintln!("chaos: {total} in {:.0} s", began.elapsed().as_secs_f64());
    assert_eq!(total.rounds, rounds);
}

fn play(arena: fn() -> Arena, mut dice: Dice, rounds: u64) -> Tally {
    let mut arena = arena();
    for round in 0..rounds {
        arena.play(round, &mut dice);
        if round % 100 == 99 {
            eprintln!("chaos: {}: {}", arena.name, arena.tally);
        }
    }
    arena.end()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
