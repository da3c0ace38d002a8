//! `verify:` — how a release is judged once it has traffic.

use std::collections::{BTreeMap, BTreeSet};

use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::environment::{
    Comparison, EnvironmentSettings, Expected, HttpTest, LatencyLimits, LogPattern, MetricQuery, OnBad,
    OnNoData, ProcessType, Prometheus, SmokeTest, Verify, VersionCheck,
};
use orchestrate_core::measure::{Measure, Percent};
use orchestrate_core::name::is_plain_name;
use orchestrate_core::time::Span;

use super::keys;
use super::reader::{Field, Read, Section};
use super::values::{command, path, span, span_above_zero, web_address};

pub(super) const ON_BAD: &[(&str, OnBad)] = &[("rollback", OnBad::Rollback), ("notify", OnBad::Notify)];
pub(super) const ON_NO_DATA: &[(&str, OnNoData)] =
    &[("good", OnNoData::Good), ("bad", OnNoData::Bad), ("notify", OnNoData::Notify)];
pub(super) const METHODS: &[(&str, &str)] = &[
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("OPTIONS", "OPTIONS"),
];
const MOST_REQUESTS: u32 = 1_000_000;
/// What is looked at while the release bakes, so that it means nothing without a bake.
const WHILE_BAKING: &[&str] = &["max_error_rate", "latency", "compare", "smoke", "logs", "prometheus"];

type Processes = BTreeMap<String, ProcessType>;

pub(super) fn read(field: &Field<'_>, processes: &Processes) -> Read<Verify> {
    let section = field.section(keys::VERIFY)?;
    let mut verify = Verify::default();
    section.set("bake", &mut verify.bake, span)?;
    section.set("version", &mut verify.version, version)?;
    section.set("max_error_rate", &mut verify.max_error_rate, |field| percent(field).map(Some))?;
    section.set("latency", &mut verify.latency, |field| latency(field).map(Some))?;
    section.set("compare", &mut verify.compare, |field| {
        let section = field.section(keys::VERIFY_COMPARE)?;
        let points = percent(section.required("error_rate_worse_by")?)?;
        Ok(Some(Comparison { error_rate_worse_by: Some(points) }))
    })?;
    section.set("minimum_requests", &mut verify.minimum_requests, |field| {
        field.whole_number(1..=MOST_REQUESTS).map(|number| Some(number.into()))
    })?;
    section.set("smoke", &mut verify.smoke, |field| {
        named(
            field,
            "a list of smoke tests",
            |section, name| smoke(section, name, processes),
            keys::VERIFY_SMOKE,
        )
    })?;
    section.set("logs", &mut verify.logs, |field| {
        named(field, "a list of patterns", |section, name| log(section, name, processes), keys::VERIFY_LOG)
    })?;
    section.set("prometheus", &mut verify.prometheus, |field| prometheus(field).map(Some))?;
    section.set("on_bad", &mut verify.on_bad, |field| field.word(ON_BAD))?;
    section.set("on_no_data", &mut verify.on_no_data, |field| field.word(ON_NO_DATA))?;
    let is_deferred = section.get("bake").is_some_and(Field::is_deferred);
    for key in WHILE_BAKING.iter().filter(|_| verify.bake.is_zero() && !is_deferred) {
        if let Some(field) = section.get(key) {
            return Err(field.bad_key("it is looked at while a release bakes; add for example `bake: 30s`"));
        }
    }
    Ok(verify)
}

/// A release that is found bad at the end of its bake should find the one before still warm.
pub(super) fn refuse_long_bake(field: &Field<'_>, settings: &EnvironmentSettings) -> Read<()> {
    let (bake, warm_for) = (settings.verify.bake, settings.strategy.warm_for);
    let keeps_warm = match settings.strategy.kind {
        StrategyKind::BlueGreen | StrategyKind::Canary => !warm_for.is_zero(),
        StrategyKind::Recreate | StrategyKind::Rolling => false,
    };
    match field.section(keys::VERIFY)?.get("bake") {
        Some(field) if keeps_warm && bake > warm_for => {
            Err(field.bad_value(&format!(
                "the bake of {bake} is longer than `strategy.warm_for` ({warm_for}), so a release that turns out bad at its \
                 end could only be left by a cold start; make `warm_for` at least {bake}, or the bake shorter"
            )))
        }
        _ => Ok(()),
    }
}

fn version(field: &Field<'_>) -> Read<Option<VersionCheck>> {
    let section = field.section(keys::VERIFY_VERSION)?;
    let contains = section.required("contains")?;
    let check = VersionCheck { path: path(section.required("path")?)?, contains: contains.text()? };
    if check.contains.is_empty() {
        return Err(contains.bad_value("every answer contains the empty text; write for example `{version}`"));
    }
    Ok(Some(check))
}

fn percent(field: &Field<'_>) -> Read<Percent> {
    field.parsed("a share in percent", str::parse)
}

fn latency(field: &Field<'_>) -> Read<LatencyLimits> {
    let section = field.section(keys::VERIFY_LATENCY)?;
    let mut limits = LatencyLimits::default();
    let limit = |field: &Field<'_>| span_above_zero(field).map(Some);
    section.set("p50", &mut limits.p50, limit)?;
    section.set("p90", &mut limits.p90, limit)?;
    section.set("p95", &mut limits.p95, limit)?;
    section.set("p99", &mut limits.p99, limit)?;
    section.set("worse_by", &mut limits.worse_by, |field| {
        let times = field.number()?;
        if times.get() < 1.0 {
            return Err(field.bad_value("it says how many times slower is still good, so it is at least 1"));
        }
        Ok(Some(times))
    })?;
    if limits == LatencyLimits::default() {
        return Err(field.bad_key("it has no limit; write for example `latency: { p95: 300ms }`"));
    }
    Ok(limits)
}

/// A list whose items have a name of their own, which evidence shows.
fn named<T>(
    field: &Field<'_>,
    expected: &str,
    read: impl Fn(&Section<'_>, String) -> Read<T>,
    known: &'static [&'static str],
) -> Read<Vec<T>> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for field in field.items(expected)? {
        let section = field.section(known)?;
        let name_field = section.required("name")?;
        let name = name_field.text()?;
        if !is_plain_name(&name) {
            return Err(name_field.bad_value(
                "a name starts with a letter or a digit, then has up to 62 of A-Z a-z 0-9 . _ -",
            ));
        }
        if !names.insert(name.clone()) {
            return Err(name_field.bad_value("another one has this name"));
        }
        all.push(read(&section, name)?);
    }
    Ok(all)
}

fn smoke(section: &Section<'_>, name: String, processes: &Processes) -> Read<SmokeTest> {
    let mut test = SmokeTest { name, command: None, http: None, timeout: Span::from_secs(10), on_bad: None };
    section.set("command", &mut test.command, |field| command(field).map(Some))?;
    section.set("http", &mut test.http, |field| http(field, processes).map(Some))?;
    section.set("timeout", &mut test.timeout, span_above_zero)?;
    section.set("on_bad", &mut test.on_bad, |field| field.word(ON_BAD).map(Some))?;
    if test.command.is_some() == test.http.is_some() {
        return Err(section.required("name")?.bad_key("a smoke test has one of `command` and `http`"));
    }
    Ok(test)
}

fn http(field: &Field<'_>, processes: &Processes) -> Read<HttpTest> {
    let section = field.section(keys::VERIFY_HTTP)?;
    let mut test = HttpTest {
        process: None,
        path: path(section.required("path")?)?,
        method: "GET".into(),
        headers: BTreeMap::new(),
        body: None,
        expect: Expected::default(),
    };
    section.set("process", &mut test.process, |field| process(field, processes, true).map(Some))?;
    section.set("method", &mut test.method, |field| field.word(METHODS).map(str::to_owned))?;
    section.set("headers", &mut test.headers, headers)?;
    section.set("body", &mut test.body, |field| field.text().map(Some))?;
    section.set("expect", &mut test.expect, expected)?;
    let routed = processes.values().any(|process| process.listen.is_some());
    if !routed {
        return Err(field.bad_key("no process type has a `listen`, so there is nobody to ask"));
    }
    Ok(test)
}

fn expected(field: &Field<'_>) -> Read<Expected> {
    let section = field.section(keys::VERIFY_EXPECT)?;
    let mut expect = Expected::default();
    section.set("status", &mut expect.status, |field| {
        field.whole_number(100..=599).map(|status| u16::try_from(status).unwrap_or(200))
    })?;
    section.set("contains", &mut expect.contains, |field| field.text().map(Some))?;
    section.set("header", &mut expect.header, headers)?;
    section.set("within", &mut expect.within, |field| span_above_zero(field).map(Some))?;
    Ok(expect)
}

fn headers(field: &Field<'_>) -> Read<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for (name, field) in field.entries()? {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err(field.bad_key("this is not the name of a header"));
        }
        let value = field.loose_text()?;
        if value.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(field.bad_value("a header has printable ASCII letters only"));
        }
        headers.insert(name.to_owned(), value);
    }
    Ok(headers)
}

fn process(field: &Field<'_>, processes: &Processes, routed: bool) -> Read<String> {
    let name = field.text()?;
    match processes.get(&name) {
        _ if field.is_deferred() => Ok(name),
        None => Err(field.bad_value("this environment has no such process type")),
        Some(process) if routed && process.listen.is_none() => {
            Err(field.bad_value("this process type has no `listen`, so it takes no requests"))
        }
        Some(_) => Ok(name),
    }
}

fn log(section: &Section<'_>, name: String, processes: &Processes) -> Read<LogPattern> {
    let field = section.required("pattern")?;
    let mut pattern = LogPattern { name, process: None, pattern: field.text()?, at_most: 0, on_bad: None };
    if !field.is_deferred() {
        regular_expression(field, &pattern.pattern)?;
    }
    section.set("process", &mut pattern.process, |field| process(field, processes, false).map(Some))?;
    section
        .set("at_most", &mut pattern.at_most, |field| field.whole_number(0..=MOST_REQUESTS).map(u64::from))?;
    section.set("on_bad", &mut pattern.on_bad, |field| field.word(ON_BAD).map(Some))?;
    Ok(pattern)
}

fn regular_expression(field: &Field<'_>, pattern: &str) -> Read<()> {
    let regex = regex::bytes::Regex::new(pattern).map_err(|error| {
        // The last line says what is wrong; those before it show the pattern, which the snippet does already.
        let text = error.to_string();
        let what = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        field.bad_value(&format!("the pattern is not a regular expression: {what}"))
    })?;
    if regex.is_match(b"") {
        return Err(field.bad_value("the pattern matches every line, also an empty one"));
    }
    Ok(())
}

fn prometheus(field: &Field<'_>) -> Read<Prometheus> {
    let section = field.section(keys::VERIFY_PROMETHEUS)?;
    let list = section.required("queries")?;
    let queries = named(list, "a list of queries", query, keys::VERIFY_QUERY)?;
    if queries.is_empty() {
        return Err(list.bad_key("at least one query is needed"));
    }
    let url = web_address(section.required("url")?)?;
    let mut prometheus = Prometheus { url, interval: Span::from_secs(5), queries };
    section.set("interval", &mut prometheus.interval, span_above_zero)?;
    Ok(prometheus)
}

fn query(section: &Section<'_>, name: String) -> Read<MetricQuery> {
    let field = section.required("query")?;
    let mut query = MetricQuery {
        name,
        query: field.text()?,
        at_most: None,
        at_least: None,
        on_bad: None,
        on_no_data: None,
    };
    if query.query.trim().is_empty() {
        return Err(field.bad_value("the query is empty"));
    }
    let limit = |field: &Field<'_>| -> Read<Option<Measure>> { field.number().map(Some) };
    section.set("at_most", &mut query.at_most, limit)?;
    section.set("at_least", &mut query.at_least, limit)?;
    section.set("on_bad", &mut query.on_bad, |field| field.word(ON_BAD).map(Some))?;
    section.set("on_no_data", &mut query.on_no_data, |field| field.word(ON_NO_DATA).map(Some))?;
    if query.at_most.is_none() && query.at_least.is_none() {
        return Err(field.bad_key("it has no limit; add `at_most` or `at_least`"));
    }
    Ok(query)
}
