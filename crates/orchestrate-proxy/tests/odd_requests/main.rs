//! Odd requests, sent to our proxy and to HAProxy in front of the same instance: what each lets through, and as what.
//!
//! Where they differ, either we are stricter on purpose or what we let through has one meaning only; the tables say why. Whatever
//! HAProxy does: what we let through is what a strict parser sees.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests, and what they share")]

mod generated;
mod peers;
#[path = "../rig/mod.rs"]
mod rig;
#[path = "../../src/fuzzing/strict.rs"]
#[allow(dead_code, reason = "the fuzz targets use all of it")]
mod strict;
mod table;

use peers::{Both, Outcome};
use strict::{Lines, Request, requests};
use table::{LIKE_HAPROXY, OTHERWISE};

/// The last request of every stream, by which it ends.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn with_last(odd: &str) -> Vec<u8> {
    // Latin-1, so that a table of text can hold every byte.
    format!("{odd}{LAST}").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// Whatever else is true: each request that was passed on is one that a strict parser sees, in the same order.
fn assert_plain(stream: &[u8], ours: &Outcome) {
    let (seen, _) = requests(stream, Lines::LfToo);
    let mut left = seen.iter();
    let plain = ours.passed.iter().all(|sent| left.any(|seen| seen.leads_to(sent)));
    assert!(plain, "{}\nbecame {:?}", stream.escape_ascii(), ours.passed);
}

fn same(ours: &[Request], theirs: &[Request]) -> bool {
    let pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len()
        && pairs.clone().all(|(a, b)| (&a.method, &a.target, &a.body) == (&b.method, &b.target, &b.body))
}

#[tokio::test]
async fn what_is_odd_passes_or_not_as_with_haproxy() {
    let both = Both::start().await;
    let mut wrong = Vec::new();
    for (name, odd) in LIKE_HAPROXY {
        let stream = with_last(odd);
        let (ours, theirs) = both.outcomes(&stream).await;
        assert_plain(&stream, &ours);
        if !same(&ours.passed, &theirs.passed) {
            wrong.push(format!("{name}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "these differ:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_differs_from_haproxy_does_so_as_the_table_says() {
    let both = Both::start().await;
    let mut wrong = Vec::new();
    for (name, odd, wanted, why) in OTHERWISE {
        let stream = with_last(odd);
        let (ours, theirs) = both.outcomes(&stream).await;
        assert_plain(&stream, &ours);
        let passed = |outcome: &Outcome| outcome.passed.len();
        if same(&ours.passed, &theirs.passed) || (passed(&ours), passed(&theirs)) != *wanted {
            wrong.push(format!("{name} ({why})\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "these are not as the table says:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn of_whatever_is_generated_we_pass_what_a_strict_parser_sees_and_no_more_than_haproxy() {
    let both = Both::start().await;
    let mut wrong = Vec::new();
    for seed in 0..generated::CASES {
        let odd = generated::stream(seed);
        let stream = with_last(&odd);
        let (ours, theirs) = both.outcomes(&stream).await;
        assert_plain(&stream, &ours);
        let due = generated::must_pass(requests(&stream, Lines::LfToo).0);
        // The table says why an absolute target may pass here and not there; HAProxy ends the connection at it.
        let absolute = odd.contains("http://b");
        let common = ours.passed.len().min(theirs.passed.len());
        let no_more = same(&ours.passed[..common], &theirs.passed[..common]) && common == ours.passed.len();
        let explained = same(&ours.passed, &due) && (no_more || absolute);
        if !same(&ours.passed, &theirs.passed) && !explained {
            wrong.push(format!(
                "seed {seed}: {odd:?}\n  ours   {ours:?}\n  theirs {theirs:?}\n  due {}",
                due.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
