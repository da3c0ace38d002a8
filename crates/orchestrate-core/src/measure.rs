//! Numbers that settings limit and evidence shows: measured values, and shares in percent.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A measured value or its limit. Never NaN, so that two of them can be compared.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Measure(f64);

impl Eq for Measure {}

impl Measure {
    /// None for NaN and what is infinite: neither can be written as JSON.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    pub const fn get(self) -> f64 {
        self.0
    }

    /// A share as percent, to a hundredth.
    pub fn percent(share: f64) -> Option<Self> {
        Self::new((share * 10_000.0).round() / 100.0)
    }
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom("it is not a finite number"))
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // More digits than these are noise to a person.
        let rounded = format!("{:.4}", self.0);
        f.write_str(rounded.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A share in percent, kept to a ten-thousandth of a percent: `1%`, `0.25%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

/// Units of [`Percent`] in one percent.
const UNIT: u32 = 10_000;

impl Percent {
    /// As a share between 0 and 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(UNIT) / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "is not a share in percent; write for example `1%` or `0.5%`".to_owned();
        let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 4 || whole.len() > 3 {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let part: u32 = format!("{part:0<4}").parse().map_err(|_| wrong())?;
        match whole * UNIT + part {
            units if units <= 100 * UNIT => Ok(Self(units)),
            _ => Err("is more than everything; write at most `100%`".into()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / UNIT, self.0 % UNIT);
        if part == 0 {
            return write!(f, "{whole}%");
        }
        let part = format!("{part:04}");
        write!(f, "{whole}.{}%", part.trim_end_matches('0'))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(|problem| serde::de::Error::custom(format!("`{text}` {problem}")))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})? *%$",
            "description": "A share in percent: 1%, 0.5%."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_read_back_as_they_were_written() {
        for text in ["1%", "0.5%", "0.0001%", "100%", "12.34%", "0%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        assert!(("40%".parse::<Percent>().unwrap().share() - 0.4).abs() < 1e-12);
        assert_eq!("1 %".parse::<Percent>().unwrap().to_string(), "1%");
    }

    #[test]
    fn what_is_not_a_percent_is_refused() {
        for text in ["", "1", "%", "-1%", "1,5%", "0.00001%", "100.1%", "1000%", ".5%", "1.%", "1e2%", "+1%"]
        {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_measure_is_a_finite_number_and_reads_short() {
        assert_eq!(Measure::new(f64::NAN), None);
        assert_eq!(Measure::new(f64::INFINITY), None);
        assert_eq!(Measure::new(0.05).unwrap().to_string(), "0.05");
        assert_eq!(Measure::new(300.0).unwrap().to_string(), "300");
        assert_eq!(Measure::percent(0.403_22).unwrap().to_string(), "40.32");
    }
}
