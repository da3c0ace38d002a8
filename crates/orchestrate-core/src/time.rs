//! Instants as the records keep them, and spans as the config file writes them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, RFC 3339 in UTC with milliseconds: `2026-11-22T03:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z; out-of-range values are clamped.
    pub fn from_millis(millis: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The system's wall clock, cut to milliseconds.
    pub fn system_now() -> Self {
        Self::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    /// Milliseconds from `earlier` to `self`; zero if the clock went back.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.as_millis() - earlier.as_millis()).unwrap_or(0)
    }

    /// Its day in UTC: `2026-11-22`.
    pub fn date(self) -> String {
        self.to_string().chars().take(10).collect()
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.as_millis().saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(|time: jiff::Timestamp| Self::from_millis(time.as_millisecond()))
            .map_err(|error: jiff::Error| format!("`{text}` is not an RFC 3339 time: {error}"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A span of time as people write it: `100ms`, `30s`, `15m`, `1h30m`, `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub const fn duration(self) -> Duration {
        self.0
    }

    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is not a span of time; write for example `100ms`, `30s`, `15m` or `1h30m`");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let size = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?.1;
            millis = number.checked_mul(size).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
            rest = &rest[letters..];
        }
        // A hundred years: anything longer is a typing error, and would overflow the arithmetic on instants.
        if millis > 100 * 366 * 86_400_000 {
            return Err(format!("`{text}` is longer than a hundred years"));
        }
        Ok(Self::from_millis(millis))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
            "description": "A span of time: 100ms, 30s, 15m, 1h30m, 7d."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_as_they_were_written() {
        for text in ["100ms", "30s", "15m", "1h30m", "7d", "0s", "1m1s500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "1m30s");
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for text in ["", "5", "s", "5 s", "5w", "-1s", "99999999999999999999s", "9999999d", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_millisecond_is_cut_off_where_it_comes_in() {
        let time: Timestamp = "2026-11-22T03:00:00.0009Z".parse().unwrap();
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }

    #[test]
    fn a_timestamp_has_milliseconds_and_a_z() {
        let time = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.000Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }
}
