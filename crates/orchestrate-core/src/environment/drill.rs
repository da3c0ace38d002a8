//! Whether rollbacks are rehearsed in an environment, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

/// Kept as it was written: a program that knows fewer time zones must still be able to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrillPolicy {
    /// Whether drills are allowed where the type is `production`.
    pub production: bool,
    /// When the daemon drills by itself: five fields of cron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule by its IANA name; UTC without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

impl DrillPolicy {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// When it recurs, if it does by itself.
    pub fn recurs(&self) -> Result<Option<Schedule>, String> {
        let Some(pattern) = &self.schedule else { return Ok(None) };
        Schedule::new(pattern, self.time_zone.as_deref()).map(Some)
    }
}
