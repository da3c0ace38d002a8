//! A deed is done once undisturbed, to see where programs come by; then again and again, each time with something happening at
//! one of these places.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::deed::Deed;
use super::panel::Visit;
use super::stage::Stage;
use crate::luck::Ran;
use crate::luck::dice::Dice;
use crate::luck::streams::get;

/// How long a deed is disturbed, unless `ORCHESTRATE_FAILPOINTS_SECONDS` says otherwise; 0 is until all was tried.
const SECONDS: u64 = 45;
/// How long after the command the daemon may come to its point.
const AFTERWARDS: Duration = Duration::from_millis(1500);

pub fn sweep(deed: Deed) {
    let (mut stage, seed) = (Stage::new(deed), seed());
    let visits = recorded(&mut stage, deed);
    let mut dice = Dice::new(seed, deed as u64);
    let cases = match std::env::var("ORCHESTRATE_FAILPOINTS_RULES") {
        Ok(rules) => vec![rules.split(';').map(str::to_owned).collect()],
        Err(_) => cases(&visits, &mut dice),
    };
    let (began, limit) = (Instant::now(), seconds());
    let (mut tried, mut met) = (0, 0);
    for rules in &cases {
        if limit > Duration::ZERO && began.elapsed() > limit {
            break;
        }
        println!("{deed:?}, seed {seed}: {}", rules.join(" and "));
        tried += 1;
        met += u32::from(disturbed(&mut stage, deed, rules));
    }
    println!("{deed:?}: {met} of {tried} met, of {} cases at {} visits", cases.len(), visits.len());
    assert!(met * 2 > tried, "only {met} of {tried} points were come to again");
}

fn recorded(stage: &mut Stage, deed: Deed) -> BTreeSet<Visit> {
    let way = deed.prepare(stage);
    stage.panel.trace();
    let ran = deed.act(stage, &way).ok();
    stage.rests();
    let visits = stage.panel.trace_no_more();
    stage.judge(&way, &ran, false);
    assert_eq!(stage.live(), way.to);
    visits
}

/// Does it with these rules; whether the first of them was obeyed.
#[track_caller]
fn disturbed(stage: &mut Stage, deed: Deed, rules: &[String]) -> bool {
    let way = deed.prepare(stage);
    stage.panel.arm(rules);
    let ran = deed.act(stage, &way);
    if ran.code == 0 && deed != Deed::Canary {
        // What was said to be done is so at once, not only after somebody has put it right. A dying proxy takes one along.
        let ask = || get(stage.scene.address, "/version");
        let answer = ask().or_else(|_| ask()).unwrap();
        assert_eq!(answer.trim(), way.to, "{rules:?}: {ran:?}");
    }
    let met = (0..rules.len()).filter(|number| stage.panel.fires_within(*number, AFTERWARDS)).count() > 0;
    stage.panel.disarm();
    // Who was killed has said nothing, and who was not says what is wrong in a way that a person can act on.
    if ran.code != -1 {
        is_clear(&ran, rules);
    }
    let proxy_died = rules.iter().any(|rule| rule.starts_with("proxy:") && rule.contains("kill"));
    stage.judge(&way, &ran, proxy_died);
    met
}

#[track_caller]
fn is_clear(ran: &Ran, rules: &[String]) {
    assert!([0, 1, 3, 4].contains(&ran.code), "{rules:?}: {ran:?}");
    assert!(ran.code == 0 || ran.stderr.contains("[ORC-"), "{rules:?}: no code in {ran:?}");
    assert!(!ran.stderr.contains("ORC-0070"), "{rules:?}: called a bug in {ran:?}");
    let says_full = ["full", "space", "No space"].iter().any(|word| ran.stderr.contains(word));
    let full = rules.iter().all(|rule| rule.starts_with("command:") && rule.contains("=full"));
    assert!(ran.code == 0 || !full || says_full, "{rules:?}: it does not say that the disk is full: {ran:?}");
}

/// What can happen at each visit, in an order by chance; with every fourth death of a command the daemon dies soon after.
fn cases(visits: &BTreeSet<Visit>, dice: &mut Dice) -> Vec<Vec<String>> {
    let mut cases = Vec::new();
    let of_daemon: Vec<&Visit> = visits.iter().filter(|visit| visit.program == "daemon").collect();
    for visit in visits {
        // There are many statements between two commits, and all of them are the same to whoever dies there.
        if visit.point == "database/write" && !dice.once_in(6) {
            continue;
        }
        for action in actions(&visit.point) {
            let mut rules = vec![format!("{}:{}={action}@{}", visit.program, visit.point, visit.number)];
            if visit.program == "command" && action.starts_with("kill") && dice.once_in(4) {
                let second = dice.one_of(&of_daemon);
                rules.push(format!("daemon:{}=kill@{}", second.point, second.number));
            }
            cases.push(rules);
        }
    }
    shuffle(&mut cases, dice);
    cases
}

pub fn shuffled<T>(mut all: Vec<T>, player: u64) -> Vec<T> {
    shuffle(&mut all, &mut Dice::new(seed(), player));
    all
}

fn shuffle<T>(all: &mut [T], dice: &mut Dice) {
    for index in (1..all.len()).rev() {
        all.swap(index, usize::try_from(dice.below(index as u64 + 1)).unwrap());
    }
}

fn actions(point: &str) -> &'static [&'static str] {
    let (area, _) = point.split_once('/').unwrap();
    match area {
        "database" if point == "database/commit" => &["kill", "kill-after", "full", "lose"],
        "database" => &["kill", "full"],
        // No answer is asked for again; `full` is an answer, and is taken for one.
        "provider" | "router" => &["kill", "kill-after", "error", "lose", "full"],
        "outbox" | "hook" => &["kill", "kill-after", "error", "lose"],
        _ if point == "routes/answer" => &["kill", "kill-after", "error"],
        _ => &["kill", "kill-after", "full"],
    }
}

fn seed() -> u64 {
    let named = std::env::var("ORCHESTRATE_FAILPOINTS_SEED").ok().map(|text| text.parse().unwrap());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    named.unwrap_or_else(now)
}

pub fn seconds() -> Duration {
    let named = std::env::var("ORCHESTRATE_FAILPOINTS_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(named.unwrap_or(SECONDS))
}
