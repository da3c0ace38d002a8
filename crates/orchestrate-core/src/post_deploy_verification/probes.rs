//! The checks that take a while: smoke tests, output, metrics. Each runs beside the watch and says what it saw.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Subject;
use crate::environment::{HttpTest, LogPattern, MetricQuery, Prometheus, SmokeTest};
use crate::measure::Measure;
use crate::ports::{
    Answer, CountLines, Instance, InstanceState, Lines, Metric, OneOff, PortError, PortErrorKind, PortResult,
    Ports, Probe,
};
use crate::time::{Span, Timestamp};

/// What a check saw, with its place in the settings.
pub(super) enum Seen {
    Smoke(usize, Result<String, String>),
    Log(usize, LogSeen),
    Metric(usize, MetricSeen),
}

#[derive(Clone, Debug)]
pub(super) struct LogSeen {
    pub now: Result<Lines, String>,
    pub before: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct MetricSeen {
    pub now: Result<Option<Measure>, String>,
    /// As it was before the deployment, once that is known.
    pub before: Option<Measure>,
}

/// How long one answer of a metrics system may take.
const METRIC_TIMEOUT: Span = Span::from_secs(5);

/// Whoever carries a check out must end it in time; this is for one that does not.
async fn in_time<T>(limit: Span, call: impl Future<Output = PortResult<T>>) -> PortResult<T> {
    let longest = limit.duration() + Duration::from_secs(5);
    tokio::time::timeout(longest, call).await.unwrap_or_else(|_| {
        Err(PortError::new(PortErrorKind::TimedOut, format!("it did not end within {limit}")))
    })
}

pub(super) async fn smoke(ports: &Ports, subject: &Subject, test: &SmokeTest) -> Result<String, String> {
    match (&test.http, &test.command) {
        (Some(http), _) => request(ports, subject, test, http).await,
        (None, Some(command)) => run(ports, subject, test, command).await,
        (None, None) => Ok("it has nothing to do".into()),
    }
}

async fn request(
    ports: &Ports,
    subject: &Subject,
    test: &SmokeTest,
    http: &HttpTest,
) -> Result<String, String> {
    let instance = routed_instance(ports, subject, http.process.as_deref()).await?;
    let address = instance.address.ok_or_else(|| format!("{} takes no requests", instance.id))?;
    let probe = Probe {
        address,
        method: http.method.clone(),
        path: http.path.clone(),
        headers: http.headers.clone(),
        body: http.body.clone(),
        timeout: test.timeout,
    };
    let asked = format!("{} {} of {}", http.method, http.path, instance.id);
    let answer = in_time(test.timeout, ports.witness.request(&probe)).await;
    let answer = answer.map_err(|error| format!("{asked}: {error}"))?;
    match unexpected(http, subject.release.version.as_str(), &answer) {
        None => Ok(format!("{asked} answered {} in {} ms", answer.status, answer.micros / 1000)),
        Some(why) => Err(format!("{asked} {why}")),
    }
}

/// The first ready instance of the process type: its own address, because the live one may give another release.
async fn routed_instance(
    ports: &Ports,
    subject: &Subject,
    process: Option<&str>,
) -> Result<Instance, String> {
    let routed: Vec<&str> = subject.release.contents.routed().map(|(name, ..)| name).collect();
    let main = routed.iter().find(|name| **name == "web").or(routed.first()).copied();
    let process = process.or(main).ok_or("no process type takes requests")?;
    let instances = ports.provider.instances(&subject.environment).await;
    let instances = instances.map_err(|error| format!("its instances cannot be seen: {error}"))?;
    let placement = subject.placement();
    instances
        .into_iter()
        .filter(|instance| instance.placement == placement && instance.process == process)
        .find(|instance| instance.state == InstanceState::Ready)
        .ok_or_else(|| format!("no instance of {process} is ready"))
}

/// What is not as it should be, if anything.
fn unexpected(http: &HttpTest, version: &str, answer: &Answer) -> Option<String> {
    let expect = &http.expect;
    if answer.status != expect.status {
        return Some(format!("answered {} instead of {}", answer.status, expect.status));
    }
    if let Some(text) = &expect.contains {
        let text = text.replace("{version}", version);
        if !answer.body.contains(&text) {
            return Some(format!("did not contain `{text}`"));
        }
    }
    for (name, value) in &expect.header {
        match answer.headers.get(&name.to_ascii_lowercase()) {
            Some(found) if found == value => {}
            Some(found) => return Some(format!("had `{name}: {found}` instead of `{value}`")),
            None => return Some(format!("had no header `{name}`")),
        }
    }
    let within = expect.within.filter(|within| answer.micros > within.as_millis().saturating_mul(1000))?;
    Some(format!("took {} ms, longer than {within}", answer.micros / 1000))
}

async fn run(
    ports: &Ports,
    subject: &Subject,
    test: &SmokeTest,
    command: &[String],
) -> Result<String, String> {
    let mut variables = BTreeMap::new();
    if let Ok(instance) = routed_instance(ports, subject, None).await
        && let Some(address) = instance.address
    {
        variables.insert("ORCHESTRATE_ADDRESS".to_owned(), address.to_string());
    }
    let one_off = OneOff {
        placement: subject.placement(),
        name: test.name.clone(),
        command: command.to_vec(),
        variables,
        timeout: test.timeout,
    };
    let ended =
        in_time(test.timeout, ports.witness.run(&one_off)).await.map_err(|error| match error.detail {
            Some(detail) => format!("{}: {detail}", error.message),
            None => error.message,
        })?;
    let said = ended.output.trim();
    match (ended.success, said.is_empty()) {
        (true, _) => Ok(format!("`{}` {}", command.join(" "), ended.how)),
        (false, true) => Err(format!("`{}` {}", command.join(" "), ended.how)),
        (false, false) => Err(format!("`{}` {}: {said}", command.join(" "), ended.how)),
    }
}

pub(super) async fn log(ports: &Ports, subject: &Subject, pattern: &LogPattern) -> LogSeen {
    let count = |placement| {
        let request =
            CountLines { placement, process: pattern.process.clone(), pattern: pattern.pattern.clone() };
        async move { ports.witness.count_lines(&request).await }
    };
    let now = count(subject.placement()).await.map_err(|error| error.message);
    let suspicious = now.as_ref().is_ok_and(|lines| lines.matches > pattern.at_most);
    let before = match &subject.before {
        Some(before) if suspicious => count(before.clone()).await.ok().map(|lines| lines.matches),
        Some(_) | None => None,
    };
    LogSeen { now, before }
}

pub(super) async fn metric(
    ports: &Ports,
    subject: &Subject,
    prometheus: &Prometheus,
    query: &MetricQuery,
    known_before: Option<Measure>,
) -> MetricSeen {
    let expression = query
        .query
        .replace("{version}", subject.release.version.as_str())
        .replace("{environment}", subject.environment.as_str());
    let ask = |query: String, at: Option<Timestamp>| {
        let metric = Metric { url: prometheus.url.clone(), query, at, timeout: METRIC_TIMEOUT };
        async move {
            let value = in_time(METRIC_TIMEOUT, ports.witness.metric(&metric)).await;
            value.map(|value| value.and_then(Measure::new)).map_err(|error| error.message)
        }
    };
    let now = ask(expression, None).await;
    if known_before.is_some() {
        return MetricSeen { now, before: known_before };
    }
    // The same question about the release before, at the last moment when nothing was changed yet.
    let version = subject.before.as_ref().map_or(&subject.release.version, |before| &before.version);
    let expression = query
        .query
        .replace("{version}", version.as_str())
        .replace("{environment}", subject.environment.as_str());
    let before = ask(expression, Some(subject.since)).await.ok().flatten();
    MetricSeen { now, before }
}
