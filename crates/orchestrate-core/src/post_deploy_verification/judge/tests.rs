//! The judge, number by number.

use super::*;
use crate::environment::{Comparison, LatencyLimits, OnBad, OnNoData};
use crate::evidence::Consequence;
use crate::ports::Bucket;
use crate::time::Span;

fn tally(requests: u64, errors: u64) -> Tally {
    Tally { requests, errors, latency: vec![Bucket { over: 0, up_to: 999, count: requests }] }
}

/// So many answers of a millisecond, so many of half a second.
fn slow(fast: u64, slow: u64) -> Tally {
    let latency = vec![
        Bucket { over: 0, up_to: 999, count: fast },
        Bucket { over: 458_751, up_to: 524_287, count: slow },
    ];
    Tally { requests: fast + slow, errors: 0, latency }
}

fn rate(limit: &str) -> Verify {
    Verify { max_error_rate: Some(limit.parse().unwrap()), ..Verify::default() }
}

fn p95(limit: u64) -> Verify {
    let latency = LatencyLimits { p95: Some(Span::from_millis(limit)), ..LatencyLimits::default() };
    Verify { latency: Some(latency), ..Verify::default() }
}

fn one(verify: &Verify, release: Tally, before: Option<Tally>, moment: Moment) -> Evidence {
    let mut found = traffic(verify, Some(&Traffic { release, before }), moment);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn forty_percent_of_errors_is_certain_after_fifty_requests() {
    let found = one(&rate("1%"), tally(50, 20), None, Moment::During);
    assert_eq!((found.finding, found.consequence), (Finding::Bad, Consequence::Rollback));
    assert_eq!(found.text, "40 % of 50 answers were errors, more than the 1% allowed");
    assert_eq!((found.value, found.limit), (Measure::new(40.0), Measure::new(1.0)));
    assert_eq!((found.requests, found.check.as_str()), (Some(50), "error_rate"));
    let found = one(&rate("1%"), tally(49, 49), None, Moment::During);
    assert_eq!(found.finding, Finding::NoData, "fewer than the minimum say nothing");
    assert_eq!(found.text, "49 answers are too few to say anything, 50 are needed");
}

#[test]
fn one_error_among_the_first_fifty_is_not_certain_but_counts_at_the_end() {
    assert_eq!(one(&rate("1%"), tally(50, 1), None, Moment::During).finding, Finding::Good);
    assert_eq!(one(&rate("1%"), tally(50, 1), None, Moment::End).finding, Finding::Bad);
    assert_eq!(one(&rate("1%"), tally(100, 1), None, Moment::End).finding, Finding::Good, "just the limit");
    assert_eq!(one(&rate("1%"), tally(2_000, 40), None, Moment::During).finding, Finding::Bad);
    assert_eq!(one(&rate("100%"), tally(100, 100), None, Moment::End).finding, Finding::Good);
    assert_eq!(one(&rate("0%"), tally(100, 1), None, Moment::End).finding, Finding::Bad);
}

#[test]
fn what_was_so_before_does_not_condemn_what_came_after() {
    let before = Some(tally(400, 40));
    for moment in [Moment::During, Moment::End] {
        let found = one(&rate("1%"), tally(400, 44), before.clone(), moment);
        assert_eq!(found.finding, Finding::Good, "{found:?}");
        assert_eq!(found.before, Measure::new(10.0));
        let found = one(&rate("1%"), tally(400, 160), before.clone(), moment);
        assert_eq!(found.finding, Finding::Bad, "it is surely worse: {found:?}");
    }
    let few = Some(tally(10, 10));
    assert_eq!(one(&rate("1%"), tally(50, 20), few, Moment::During).finding, Finding::Bad, "ten say nothing");
}

#[test]
fn an_error_rate_can_be_compared_with_the_release_before() {
    let compare = Comparison { error_rate_worse_by: Some("1%".parse().unwrap()) };
    let verify = Verify { compare: Some(compare), ..Verify::default() };
    let before = Some(tally(1_000, 50));
    assert_eq!(one(&verify, tally(1_000, 59), before.clone(), Moment::End).finding, Finding::Good);
    let found = one(&verify, tally(1_000, 61), before.clone(), Moment::End);
    assert_eq!((found.finding, found.limit), (Finding::Bad, Measure::new(6.0)));
    assert_eq!(one(&verify, tally(1_000, 61), before, Moment::During).finding, Finding::Good);
    assert_eq!(one(&verify, tally(1_000, 900), None, Moment::End).finding, Finding::NoData);
}

#[test]
fn a_router_without_times_says_nothing_of_latency() {
    let untimed = |requests| Tally { requests, errors: 0, latency: Vec::new() };
    let found = one(&p95(300), untimed(1_000), Some(slow(1_000, 0)), Moment::End);
    assert_eq!(found.finding, Finding::NoData);
    assert_eq!(found.text, "the router does not tell how long answers took");
    let latency = LatencyLimits { worse_by: Measure::new(1.5), ..LatencyLimits::default() };
    let verify = Verify { latency: Some(latency), ..Verify::default() };
    assert_eq!(one(&verify, untimed(1_000), Some(untimed(1_000)), Moment::End).finding, Finding::NoData);
}

#[test]
fn latency_is_the_share_of_answers_that_are_too_slow() {
    assert_eq!(one(&p95(300), slow(950, 50), None, Moment::End).finding, Finding::Good, "just 5 %");
    let found = one(&p95(300), slow(940, 60), None, Moment::End);
    assert_eq!(found.finding, Finding::Bad);
    assert_eq!(found.text, "6 % of 1000 answers took longer than 300ms, 5 % allowed");
    assert_eq!((found.value, found.limit), (Measure::new(524.287), Measure::new(300.0)));
    assert_eq!(one(&p95(300), slow(940, 60), None, Moment::During).finding, Finding::Good, "not certain");
    assert_eq!(one(&p95(300), slow(40, 20), None, Moment::During).finding, Finding::Bad);
    assert_eq!(one(&p95(300), slow(940, 60), Some(slow(90, 10)), Moment::End).finding, Finding::Good);
    assert_eq!(
        one(&p95(500), slow(0, 100), None, Moment::End).finding,
        Finding::Good,
        "a bucket that reaches below"
    );
}

#[test]
fn latency_can_be_compared_with_the_release_before() {
    let latency = LatencyLimits { worse_by: Measure::new(1.5), ..LatencyLimits::default() };
    let verify = Verify { latency: Some(latency), ..Verify::default() };
    assert_eq!(one(&verify, slow(50, 50), Some(slow(100, 0)), Moment::During).finding, Finding::Bad);
    assert_eq!(one(&verify, slow(100, 0), Some(slow(100, 0)), Moment::End).finding, Finding::Good);
    assert_eq!(one(&verify, slow(0, 100), Some(slow(0, 100)), Moment::End).finding, Finding::Good);
    assert_eq!(one(&verify, slow(0, 100), None, Moment::End).finding, Finding::NoData);
}

#[test]
fn each_finding_has_its_own_consequence() {
    let few = |verify: &Verify| one(verify, tally(1, 0), None, Moment::End).consequence;
    let mut verify = rate("1%");
    assert_eq!(few(&verify), Consequence::None);
    verify.on_no_data = OnNoData::Notify;
    assert_eq!(few(&verify), Consequence::Notify);
    verify.on_no_data = OnNoData::Bad;
    assert_eq!(few(&verify), Consequence::Rollback);
    verify.on_bad = OnBad::Notify;
    assert_eq!(few(&verify), Consequence::Notify);
    assert_eq!(one(&verify, tally(100, 50), None, Moment::End).consequence, Consequence::Notify);
    assert_eq!(traffic(&verify, None, Moment::End)[0].finding, Finding::NoData, "nobody counted");
}

#[test]
fn output_is_bad_above_its_limit_and_above_what_was_printed_before() {
    let pattern = LogPattern {
        name: "panics".into(),
        process: None,
        pattern: "panicked".into(),
        at_most: 2,
        on_bad: None,
    };
    let lines = |matches| Ok(Lines { matches, first: Some("it panicked".into()) });
    let judged = |seen, before| log(&Verify::default(), &pattern, &seen, before);
    assert_eq!(judged(lines(2), None).finding, Finding::Good);
    let found = judged(lines(3), None);
    assert_eq!((found.finding, found.check.as_str()), (Finding::Bad, "log panics"));
    assert_eq!(found.text, "3 lines match panics, 2 allowed: it panicked");
    assert_eq!(judged(lines(3), Some(3)).finding, Finding::Good);
    assert_eq!(judged(lines(4), Some(3)).finding, Finding::Bad);
    assert_eq!(judged(Err("gone".into()), None).finding, Finding::NoData);
}

#[test]
fn a_metric_is_bad_beyond_its_limits_unless_it_was_so_before() {
    let query = |at_most, at_least: Option<f64>| MetricQuery {
        name: "queue".into(),
        query: "queue".into(),
        at_most: Measure::new(at_most),
        at_least: at_least.and_then(Measure::new),
        on_bad: None,
        on_no_data: Some(OnNoData::Notify),
    };
    let judged = |value: Option<f64>, before: Option<f64>| {
        let seen = Ok(value.and_then(Measure::new));
        metric(&Verify::default(), &query(10.0, Some(1.0)), &seen, before.and_then(Measure::new))
    };
    assert_eq!(judged(Some(10.0), None).finding, Finding::Good);
    assert_eq!(judged(Some(10.5), None).text, "queue is 10.5, above 10");
    assert_eq!(judged(Some(0.5), Some(5.0)).text, "queue is 0.5, below 1");
    assert_eq!(judged(Some(12.0), Some(11.0)).finding, Finding::Good, "it fired already");
    assert_eq!(judged(Some(12.0), Some(11.0)).text, "queue is 12, above 10, but it was 11 before");
    let found = judged(None, None);
    assert_eq!((found.finding, found.consequence), (Finding::NoData, Consequence::Notify));
    let found = metric(&Verify::default(), &query(1.0, None), &Err("no answer".into()), None);
    assert_eq!(found.text, "queue cannot be asked: no answer");
}
