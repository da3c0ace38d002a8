//! What a JSON result must look like: these keys, each of this kind.

use serde_json::Value;

/// Compares an object with `key: kind` pairs. A kind is `string`, `number`, `boolean`, `array`, `object`, `time`
/// (RFC 3339, UTC, milliseconds), `a|b` for one of two words, or one of these followed by `?` where it may be null.
#[track_caller]
pub fn has_shape(value: &Value, shape: &[(&str, &str)]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = shape.iter().map(|(key, _)| *key).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "the keys of {value}");
    for (key, kind) in shape {
        assert!(is(&object[*key], kind), "{key} is no {kind}: {value}");
    }
}

fn is(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix('?') {
        return value.is_null() || is(value, kind);
    }
    match kind {
        "string" => value.is_string(),
        "number" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        "time" => value.as_str().is_some_and(is_time),
        words => value.as_str().is_some_and(|text| words.split('|').any(|word| word == text)),
    }
}

/// `2026-11-22T03:00:00.000Z`.
pub fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, wanted)| match wanted {
            'd' => c.is_ascii_digit(),
            literal => c == literal,
        })
}
