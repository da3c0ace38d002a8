//! Pure: from what was seen of a release to findings. Shares and percentiles are judged the same way: as the share of
//! answers that should have been better.

use super::statistics::{above, lower_bound, upper_bound};
use crate::environment::{LogPattern, MetricQuery, SmokeTest, Verify};
use crate::evidence::{Evidence, Finding};
use crate::measure::Measure;
use crate::ports::{Lines, Tally, share};

/// When it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The watch goes on: only what is certain counts.
    During,
    /// The watch is over: the limits count as they are written.
    End,
}

/// What was answered since the release got traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub release: Tally,
    /// The release before it: over the same minutes where it had traffic, else over the time before.
    pub before: Option<Tally>,
}

/// Some of the answers, out of all.
#[derive(Clone, Copy)]
struct Part {
    some: u64,
    all: u64,
}

impl Part {
    fn share(self) -> f64 {
        share(self.some, self.all).unwrap_or(0.0)
    }
}

/// Error rate and latency, each limit for itself.
pub fn traffic(verify: &Verify, seen: Option<&Traffic>, moment: Moment) -> Vec<Evidence> {
    let nothing = Traffic::default();
    let judge = Judge { verify, seen: seen.unwrap_or(&nothing), moment };
    let mut evidence = Vec::new();
    if let Some(limit) = verify.max_error_rate {
        evidence.push(judge.error_rate("error_rate", limit.share(), &format!("the {limit} allowed"), true));
    }
    if let Some(points) = verify.compare.as_ref().and_then(|compare| compare.error_rate_worse_by) {
        evidence.push(judge.error_rate_compared(points.share(), &points.to_string()));
    }
    if let Some(limits) = &verify.latency {
        for (name, kept, limit) in limits.limits() {
            let check = format!("latency_{name}");
            let micros = limit.as_millis().saturating_mul(1000);
            evidence.push(judge.latency(&check, kept, micros, &format!("longer than {limit}"), true));
        }
        if let Some(times) = limits.worse_by {
            evidence.push(judge.latency_compared(times));
        }
    }
    evidence
}

struct Judge<'a> {
    verify: &'a Verify,
    seen: &'a Traffic,
    moment: Moment,
}

impl Judge<'_> {
    fn error_rate(&self, check: &str, allowed: f64, limit: &str, excuse: bool) -> Evidence {
        let errors = |tally: &Tally| Part { some: tally.errors, all: tally.requests };
        let (now, before) = (errors(&self.seen.release), self.before().map(errors));
        let Some(finding) = self.finding(now, before.filter(|_| excuse), allowed) else {
            return self.too_few(check);
        };
        let text = format!(
            "{} of {} answers were errors, {} {limit}{}",
            percent(now.share()),
            now.all,
            if now.share() > allowed { "more than" } else { "within" },
            before.map_or_else(String::new, |part| format!(
                "; {} of {} before",
                percent(part.share()),
                part.all
            )),
        );
        let mut evidence = self.evidence(check, finding, text);
        evidence.value = Measure::percent(now.share());
        evidence.limit = Measure::percent(allowed);
        evidence.before = before.and_then(|part| Measure::percent(part.share()));
        evidence
    }

    fn error_rate_compared(&self, points: f64, named: &str) -> Evidence {
        const CHECK: &str = "error_rate_compared";
        let Some(before) = self.before() else { return self.no_before(CHECK) };
        let allowed = share(before.errors, before.requests).unwrap_or(0.0) + points;
        self.error_rate(CHECK, allowed, &format!("that of the release before and {named}"), false)
    }

    fn latency(&self, check: &str, kept: f64, micros: u64, limit: &str, excuse: bool) -> Evidence {
        if self.seen.release.requests > 0 && self.seen.release.latency.is_empty() {
            return self.not_timed(check);
        }
        let slow = |tally: &Tally| Part { some: tally.slower_than(micros), all: tally.requests };
        let (now, before) = (slow(&self.seen.release), self.before().map(slow));
        let allowed = 1.0 - kept;
        let Some(finding) = self.finding(now, before.filter(|_| excuse), allowed) else {
            return self.too_few(check);
        };
        let text = format!(
            "{} of {} answers took {limit}, {} allowed{}",
            percent(now.share()),
            now.all,
            percent(allowed),
            before.map_or_else(String::new, |part| format!(
                "; {} of {} before",
                percent(part.share()),
                part.all
            )),
        );
        let mut evidence = self.evidence(check, finding, text);
        evidence.value = self.seen.release.quantile(kept).and_then(millis);
        evidence.limit = millis(micros);
        evidence.before = self.before().and_then(|tally| tally.quantile(kept)).and_then(millis);
        evidence
    }

    fn latency_compared(&self, times: Measure) -> Evidence {
        const CHECK: &str = "latency_compared";
        let Some(p95) = self.before().and_then(|tally| tally.quantile(0.95)) else {
            return self.no_before(CHECK);
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "hours in microseconds are far below 2^53, and the factor is above zero"
        )]
        let limit = (p95 as f64 * times.get()) as u64;
        let named = format!("longer than {times} times the p95 of the release before");
        self.latency(CHECK, 0.95, limit, &named, false)
    }

    /// None: too few answers to say anything. `excuse`: how it was before, if that may excuse it.
    fn finding(&self, now: Part, excuse: Option<Part>, allowed: f64) -> Option<Finding> {
        if now.all < self.verify.minimum_requests().max(1) {
            return None;
        }
        let exceeds = match self.moment {
            Moment::During => lower_bound(now.some, now.all) > allowed,
            Moment::End => above(now.share(), allowed),
        };
        // What was wrong before the release came is held against it only if it is surely worse by now.
        let excused = excuse.is_some_and(|before| {
            above(before.share(), allowed)
                && lower_bound(now.some, now.all) <= upper_bound(before.some, before.all)
        });
        Some(if exceeds && !excused { Finding::Bad } else { Finding::Good })
    }

    fn before(&self) -> Option<&Tally> {
        let enough = |tally: &&Tally| tally.requests >= self.verify.minimum_requests().max(1);
        self.seen.before.as_ref().filter(enough)
    }

    fn too_few(&self, check: &str) -> Evidence {
        let (seen, needed) = (self.seen.release.requests, self.verify.minimum_requests());
        self.evidence(
            check,
            Finding::NoData,
            format!("{seen} answers are too few to say anything, {needed} are needed"),
        )
    }

    /// Not every router has the times of single answers; that nothing was slow must not be read from that.
    fn not_timed(&self, check: &str) -> Evidence {
        self.evidence(check, Finding::NoData, "the router does not tell how long answers took".into())
    }

    fn no_before(&self, check: &str) -> Evidence {
        self.evidence(check, Finding::NoData, "the release before had too few answers to compare with".into())
    }

    fn evidence(&self, check: &str, finding: Finding, text: String) -> Evidence {
        let leads = finding.leads_to(self.verify.on_bad, self.verify.on_no_data);
        let mut evidence = Evidence::new(check, finding, leads, text);
        evidence.requests = Some(self.seen.release.requests);
        evidence
    }
}

fn percent(share: f64) -> String {
    Measure::percent(share).map_or_else(String::new, |measure| format!("{measure} %"))
}

#[expect(clippy::cast_precision_loss, reason = "hours in microseconds are far below 2^53")]
fn millis(micros: u64) -> Option<Measure> {
    Measure::new(micros as f64 / 1000.0)
}

/// A test that ended: what it saw, or why it failed.
pub fn smoke(verify: &Verify, test: &SmokeTest, seen: &std::result::Result<String, String>) -> Evidence {
    let (finding, text) = match seen {
        Ok(saw) => (Finding::Good, saw.clone()),
        Err(why) => (Finding::Bad, format!("{}{why}", smoke_failed(test))),
    };
    let leads = finding.leads_to(test.on_bad.unwrap_or(verify.on_bad), verify.on_no_data);
    Evidence::new(smoke_check(test), finding, leads, text)
}

/// What a smoke test saw, read back from what is on record of it.
pub fn smoke_seen(test: &SmokeTest, known: &[Evidence]) -> Option<std::result::Result<String, String>> {
    let check = smoke_check(test);
    let Evidence { finding, text, .. } = known.iter().find(|one| one.check == check)?;
    let why = || text.strip_prefix(&smoke_failed(test)).unwrap_or(text).to_owned();
    match finding {
        Finding::Good => Some(Ok(text.clone())),
        Finding::Bad => Some(Err(why())),
        Finding::NoData => None,
    }
}

fn smoke_check(test: &SmokeTest) -> String {
    format!("smoke {}", test.name)
}

fn smoke_failed(test: &SmokeTest) -> String {
    format!("the smoke test {} failed: ", test.name)
}

/// Lines of the release's output, beside those of the release before.
pub fn log(
    verify: &Verify,
    pattern: &LogPattern,
    seen: &std::result::Result<Lines, String>,
    before: Option<u64>,
) -> Evidence {
    let allowed = pattern.at_most;
    let first = |lines: &Lines| lines.first.as_ref().map_or_else(String::new, |line| format!(": {line}"));
    let (finding, text) = match seen {
        Err(why) => (Finding::NoData, format!("the output cannot be read: {why}")),
        Ok(lines) if lines.matches <= allowed => {
            (Finding::Good, format!("{} lines match, {allowed} allowed", lines.matches))
        }
        Ok(lines) => match before.filter(|before| lines.matches <= *before) {
            Some(before) => (
                Finding::Good,
                format!("{} lines match, but the release before printed {before} of them", lines.matches),
            ),
            None => {
                let lines_match = if lines.matches == 1 {
                    "1 line matches".into()
                } else {
                    format!("{} lines match", lines.matches)
                };
                (Finding::Bad, format!("{lines_match} {}, {allowed} allowed{}", pattern.name, first(lines)))
            }
        },
    };
    let leads = finding.leads_to(pattern.on_bad.unwrap_or(verify.on_bad), verify.on_no_data);
    let mut evidence = Evidence::new(format!("log {}", pattern.name), finding, leads, text);
    let measure = |count: u64| Measure::new(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    evidence.value = seen.as_ref().ok().and_then(|lines| measure(lines.matches));
    evidence.limit = measure(allowed);
    evidence.before = before.and_then(measure);
    evidence
}

/// A metric, beside what it was before the deployment began.
pub fn metric(
    verify: &Verify,
    query: &MetricQuery,
    seen: &std::result::Result<Option<Measure>, String>,
    before: Option<Measure>,
) -> Evidence {
    let violated = |value: Measure| {
        query.at_most.filter(|limit| value > *limit).map(|limit| (limit, format!("above {limit}"))).or_else(
            || query.at_least.filter(|limit| value < *limit).map(|limit| (limit, format!("below {limit}"))),
        )
    };
    let value = seen.as_ref().ok().copied().flatten();
    let broken = value.and_then(violated);
    let (finding, text) = match (seen, value, &broken) {
        (Err(why), ..) => (Finding::NoData, format!("{} cannot be asked: {why}", query.name)),
        (Ok(_), None, _) => (Finding::NoData, format!("{} has no value", query.name)),
        (Ok(_), Some(value), None) => (Finding::Good, format!("{} is {value}", query.name)),
        (Ok(_), Some(value), Some((_, how))) => match before.filter(|before| violated(*before).is_some()) {
            Some(before) => {
                (Finding::Good, format!("{} is {value}, {how}, but it was {before} before", query.name))
            }
            None => (Finding::Bad, format!("{} is {value}, {how}", query.name)),
        },
    };
    let on_no_data = query.on_no_data.unwrap_or(verify.on_no_data);
    let leads = finding.leads_to(query.on_bad.unwrap_or(verify.on_bad), on_no_data);
    let mut evidence = Evidence::new(format!("prometheus {}", query.name), finding, leads, text);
    (evidence.value, evidence.before) = (value, before);
    evidence.limit = broken.map(|(limit, _)| limit).or(query.at_most).or(query.at_least);
    evidence
}

#[cfg(test)]
mod tests;
