//! The part of the JSON Schema that `verify:` has.

use serde_json::{Value, json};

use super::schema::{NAME, SPAN, any_text, command, list, mapping, names, number, text, word};
use super::verify;

const PERCENT: &str = r"[0-9]{1,3}(?:\.[0-9]{1,4})? *%";
const HEADERS: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

pub(super) fn verify() -> Value {
    let version = mapping(
        "A page whose answer names the version that gave it.",
        &["path", "contains"],
        json!({
            "path": text("Asked with GET.", "/.*"),
            "contains": any_text("What the answer must contain; {version} is filled in."),
        }),
    );
    mapping(
        "How a release is judged once it has traffic.",
        &[],
        json!({
            "version": version,
            "bake": text("How long a new live release is watched before it counts as proven.", SPAN),
            "max_error_rate": text("The share of 5xx answers that is still good.", PERCENT),
            "latency": latency(),
            "compare": mapping("Limits that only the release before gives.", &["error_rate_worse_by"], json!({
                "error_rate_worse_by": text("How much higher its error rate may be, in percentage points.", PERCENT),
            })),
            "minimum_requests": number("Fewer requests say nothing about error rate and latency.", 1, 1_000_000),
            "smoke": list("What must work on the release itself.", smoke()),
            "logs": list("Lines of output that show a release to be bad.", log()),
            "prometheus": prometheus(),
            "on_bad": on_bad(),
            "on_no_data": on_no_data(),
        }),
    )
}

fn latency() -> Value {
    let limit = |share: &str| text(&format!("What {share} % of the answers must keep."), SPAN);
    let mut latency = mapping(
        "Percentiles that answers must keep.",
        &[],
        json!({
            "p50": limit("50"),
            "p90": limit("90"),
            "p95": limit("95"),
            "p99": limit("99"),
            "worse_by": {
                "description": "How many times the p95 of the release before is still good.",
                "type": "number",
                "minimum": 1,
            },
        }),
    );
    latency["minProperties"] = json!(1);
    latency
}

fn smoke() -> Value {
    let expect = mapping(
        "What the answer must be; all of it.",
        &[],
        json!({
            "status": number("Its status.", 100, 599),
            "contains": any_text("What its body must contain; {version} is filled in."),
            "header": headers("Headers that it must have."),
            "within": text("How long it may take.", SPAN),
        }),
    );
    let http = mapping(
        "One request to an instance of the release.",
        &["path"],
        json!({
            "process": text("The process type that is asked.", "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
            "path": text("What is asked for.", "/.*"),
            "method": word("How.", &names(verify::METHODS)),
            "headers": headers("Headers of the request."),
            "body": { "description": "The body of the request.", "type": "string" },
            "expect": expect,
        }),
    );
    mapping(
        "One smoke test: a command or a request.",
        &["name"],
        json!({
            "name": name(),
            "command": command(),
            "http": http,
            "timeout": text("How long it may take as a whole.", SPAN),
            "on_bad": on_bad(),
        }),
    )
}

fn log() -> Value {
    mapping(
        "One pattern.",
        &["name", "pattern"],
        json!({
            "name": name(),
            "process": text("The process type whose output is read; all, without it.", "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
            "pattern": any_text("A regular expression, looked for in each line."),
            "at_most": number("How many lines may match.", 0, 1_000_000),
            "on_bad": on_bad(),
        }),
    )
}

fn prometheus() -> Value {
    let limit = |description: &str| json!({ "description": description, "type": "number" });
    let query = mapping(
        "One query.",
        &["name", "query"],
        json!({
            "name": name(),
            "query": any_text("A PromQL expression; {version} and {environment} are filled in."),
            "at_most": limit("Above it, the release is bad."),
            "at_least": limit("Below it, the release is bad."),
            "on_bad": on_bad(),
            "on_no_data": on_no_data(),
        }),
    );
    let mut queries = list("What is asked.", query);
    queries["minItems"] = json!(1);
    mapping(
        "A Prometheus, and what is asked of it.",
        &["url", "queries"],
        json!({
            "url": text("Where it is.", "https?://.+"),
            "interval": text("The pause between two looks.", SPAN),
            "queries": queries,
        }),
    )
}

fn name() -> Value {
    json!({ "description": "As evidence names it.", "type": "string", "pattern": NAME })
}

fn headers(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "pattern": HEADERS },
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

fn on_bad() -> Value {
    word("What a bad finding leads to.", &names(verify::ON_BAD))
}

fn on_no_data() -> Value {
    word("What it leads to that there was nothing to go by.", &names(verify::ON_NO_DATA))
}
