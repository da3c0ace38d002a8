//! The collector of traces, by the environment variables that every exporter of OpenTelemetry knows.

use std::sync::Arc;

use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_notify::{Collector, OtlpTracer};
use orchestrate_server::Traces;

use crate::{host, program};

/// Where a collector of the same machine listens, if traces are wanted and nobody says where to.
const DEFAULT: &str = "http://localhost:4318";
const TIMEOUT_MS: u64 = 10_000;

/// A value that cannot be read is told, and keeps no daemon from its work.
pub fn traces() -> Traces {
    let named = |name: &str| std::env::var(name).ok();
    match collector(&named) {
        Ok(None) => Traces::Off,
        Ok(Some(collector)) => match OtlpTracer::new(collector) {
            Ok(tracer) => Traces::To { place: tracer.place(), tracer: Arc::new(tracer) },
            Err(why) => Traces::Unusable(why),
        },
        Err(why) => Traces::Unusable(why),
    }
}

type Named<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An empty variable is as good as none.
fn set(named: Named<'_>, name: &str) -> Option<String> {
    named(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What is said for traces alone counts more than what is said for everything.
fn either(named: Named<'_>, part: &str) -> Option<String> {
    let of_traces = set(named, &format!("OTEL_EXPORTER_OTLP_TRACES_{part}"));
    of_traces.or_else(|| set(named, &format!("OTEL_EXPORTER_OTLP_{part}")))
}

fn collector(named: Named<'_>) -> Result<Option<Collector>, String> {
    if set(named, "OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let exporter = set(named, "OTEL_TRACES_EXPORTER");
    let wanted = match exporter.as_deref() {
        None => false,
        Some("none") => return Ok(None),
        Some(list) if list.split(',').any(|one| one.trim() == "otlp") => true,
        Some(list) => return Err(format!("OTEL_TRACES_EXPORTER is `{list}`; there is only otlp here")),
    };
    let Some(endpoint) = endpoint(named).or_else(|| wanted.then(|| of_traces(DEFAULT))) else {
        return Ok(None);
    };
    if let Some(protocol) = either(named, "PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`; there is only http/protobuf here"));
    }
    let timeout = match either(named, "TIMEOUT") {
        None => TIMEOUT_MS,
        Some(text) => text.parse().ok().filter(|ms| *ms > 0).ok_or_else(|| {
            format!("OTEL_EXPORTER_OTLP_TIMEOUT is `{text}`; write milliseconds, for example 10000")
        })?,
    };
    let headers = either(named, "HEADERS").unwrap_or_default();
    let headers = pairs(&headers, "OTEL_EXPORTER_OTLP_HEADERS")?;
    let headers = headers.into_iter().map(|(name, value)| (name, SecretText::new(value))).collect();
    let timeout = Span::from_millis(timeout);
    Ok(Some(Collector { endpoint, headers, timeout, resource: resource(named)? }))
}

/// The one for traces is taken as it stands; below the one for everything, traces have a path of their own.
fn endpoint(named: Named<'_>) -> Option<String> {
    let of_everything = || set(named, "OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| of_traces(&base));
    set(named, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(of_everything)
}

fn of_traces(base: &str) -> String {
    format!("{}/v1/traces", base.trim_end_matches('/'))
}

/// Whose traces they are: ours, unless somebody says otherwise.
fn resource(named: Named<'_>) -> Result<Vec<(String, String)>, String> {
    let said = set(named, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut all = pairs(&said, "OTEL_RESOURCE_ATTRIBUTES")?;
    if let Some(name) = set(named, "OTEL_SERVICE_NAME") {
        all.retain(|(known, _)| known != "service.name");
        all.push(("service.name".into(), name));
    }
    let ours = [
        ("service.name", "orchestrate".to_owned()),
        ("service.version", program::version().to_owned()),
        ("host.name", host::name()),
    ];
    for (name, value) in ours {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), value));
        }
    }
    Ok(all)
}

/// `name=value,name=value`, with `%2C` for what would separate them. A message repeats no value: there are secrets in some.
fn pairs(text: &str, variable: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).enumerate();
    let pair = |(index, part): (usize, &str)| {
        let wrong = || format!("part {} of {variable} is not name=value", index + 1);
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let name = decoded(name).filter(|name| !name.is_empty()).ok_or_else(wrong)?;
        Ok((name, decoded(value).ok_or_else(wrong)?))
    };
    parts.map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text.trim()).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        collector(&find)
    }

    fn endpoint_of(variables: &[(&str, &str)]) -> Option<String> {
        read(variables).unwrap().map(|collector| collector.endpoint)
    }

    #[test]
    fn where_to_is_what_the_specification_of_the_exporter_says() {
        let (all, own) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let is = |variables: &[(&str, &str)], wanted: Option<&str>| {
            assert_eq!(endpoint_of(variables).as_deref(), wanted, "{variables:?}");
        };
        is(&[], None);
        is(&[(all, "")], None);
        is(&[(all, "http://c:4318")], Some("http://c:4318/v1/traces"));
        is(&[(all, "http://c:4318/otlp/")], Some("http://c:4318/otlp/v1/traces"));
        is(&[(own, "http://c/x"), (all, "http://d")], Some("http://c/x"));
        is(&[("OTEL_TRACES_EXPORTER", "otlp")], Some("http://localhost:4318/v1/traces"));
        is(&[("OTEL_TRACES_EXPORTER", "none"), (all, "http://c")], None);
        is(&[("OTEL_SDK_DISABLED", "TRUE"), (all, "http://c")], None);
    }

    #[test]
    fn headers_and_names_are_read_and_decoded() {
        let found = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", " api-key = a%2Cb%3D , x=1=2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_SERVICE_NAME", "deployments"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=shop"),
        ]);
        let found = found.unwrap().unwrap();
        let headers: Vec<_> =
            found.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("api-key", "a,b="), ("x", "1=2")]);
        assert_eq!(found.timeout, Span::from_millis(2_500));
        let of = |name: &str| found.resource.iter().find(|(known, _)| known == name).unwrap().1.as_str();
        assert_eq!((of("service.name"), of("team")), ("deployments", "shop"));
        assert_eq!(found.resource.iter().filter(|(name, _)| name == "service.name").count(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_told_without_a_secret() {
        let with = |name: &str, value: &str| {
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), (name, value)]).err().unwrap()
        };
        assert!(with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").contains("http/protobuf"));
        assert!(with("OTEL_TRACES_EXPORTER", "zipkin").contains("only otlp"));
        assert!(with("OTEL_EXPORTER_OTLP_TIMEOUT", "soon").contains("milliseconds"));
        let said = with("OTEL_EXPORTER_OTLP_HEADERS", "x=1,hunter2");
        assert!(said.contains("part 2") && !said.contains("hunter2"), "{said}");
    }
}
