//! What a collector cannot be, and what its answers mean.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::*;

fn problem(endpoint: &str, headers: &[(&str, &str)]) -> String {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), SecretText::new(*value))).collect();
    let collector =
        Collector { endpoint: endpoint.into(), headers, timeout: Span::from_secs(10), resource: Vec::new() };
    OtlpTracer::new(collector).err().unwrap_or_default()
}

#[test]
fn what_cannot_be_used_is_said_without_a_secret() {
    assert_eq!(problem("http://c:4318/v1/traces", &[("api-key", "hunter2")]), "");
    assert!(problem("collector", &[]).contains("no URL"));
    assert!(problem("collector:4318", &[]).contains("needs http or https"));
    assert!(problem("http://c", &[("no name", "hunter2")]).contains("`no name`"));
    let said = problem("http://c", &[("api-key", "hunter2\n")]);
    assert!(said.contains("api-key") && !said.contains("hunter2"), "{said}");
}

#[test]
fn only_what_is_about_one_trace_is_given_up() {
    let given_up = |code: &u16| !may_pass(StatusCode::from_u16(*code).unwrap());
    let codes = [307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 502, 503, 504];
    let all: Vec<u16> = codes.into_iter().filter(given_up).collect();
    assert_eq!(all, [400, 413, 422, 500]);
}

#[test]
fn an_acceptance_counts_unless_spans_were_left_out() {
    let answer = |rejected_spans, message: &str| {
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: message.into() };
        ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
    };
    // The last one is what a server of another kind says.
    for good in [Vec::new(), answer(0, "mind your manners"), b"{\"ok\":true}".to_vec()] {
        assert_eq!(judged(&good), Ok(()));
    }
    let error = judged(&answer(3, "too old\nby far")).unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.retry),
        ("the collector left 3 spans out: too old by far", false)
    );
}
