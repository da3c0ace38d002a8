//! A trace in the words of OTLP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use orchestrate_core::time::Timestamp;
use orchestrate_core::trace::{Trace, TraceSpan, Value};

/// The bits of `flags` that say that it is known whether the parent is another program's.
const KNOWS_WHOSE_PARENT: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

pub(super) fn of(trace: &Trace, resource: &[(String, String)]) -> ExportTraceServiceRequest {
    let resource = resource.iter().map(|(name, value)| pair(name, Any::StringValue(value.clone())));
    let scope = InstrumentationScope {
        name: "orchestrate".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let spans = trace.spans.iter().enumerate().map(|(index, span)| one(trace, span, index == 0)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource = Some(Resource { attributes: resource.collect(), ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn one(trace: &Trace, span: &TraceSpan, is_root: bool) -> Span {
    let remote = if is_root && span.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
    let link = |(trace, span): &([u8; 16], [u8; 8])| Link {
        trace_id: trace.to_vec(),
        span_id: span.to_vec(),
        ..Link::default()
    };
    Span {
        trace_id: trace.id.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: SAMPLED | KNOWS_WHOSE_PARENT | remote,
        name: span.name.clone(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(|(name, value)| pair(name, any(value))).collect(),
        links: span.links.iter().map(link).collect(),
        status: span
            .error
            .as_ref()
            .map(|message| Status { message: message.clone(), code: StatusCode::Error.into() }),
        ..Span::default()
    }
}

fn any(value: &Value) -> Any {
    match value {
        Value::Text(text) => Any::StringValue(text.clone()),
        Value::Int(number) => Any::IntValue(*number),
        Value::Bool(truth) => Any::BoolValue(*truth),
    }
}

fn pair(name: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0).saturating_mul(1_000_000)
}
