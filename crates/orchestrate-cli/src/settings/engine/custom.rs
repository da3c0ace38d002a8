//! `custom:` of an environment.

use orchestrate_core::environment::{Custom, CustomTimeouts, EnvironmentSettings};
use serde_json::{Value, json};

use crate::settings::keys;
use crate::settings::reader::{Field, Read};
use crate::settings::schema::{SPAN, command as command_schema, mapping, text};
use crate::settings::values::{command, span_above_zero};

pub fn read(field: &Field<'_>, settings: &EnvironmentSettings) -> Read<Custom> {
    let section = field.section(keys::CUSTOM)?;
    let mut custom = Custom {
        start: command(section.required("start")?)?,
        stop: command(section.required("stop")?)?,
        status: command(section.required("status")?)?,
        ..Custom::default()
    };
    section.set("deploy", &mut custom.deploy, command)?;
    section.set("health", &mut custom.health, command)?;
    section.set("switch", &mut custom.switch, command)?;
    section.set("timeouts", &mut custom.timeouts, timeouts)?;
    if let Some(field) = section.get("switch") {
        if settings.url.is_none() {
            return Err(field.bad_key(
                "whether a switch took place is seen at the environment's `url`; write for example \
                 `url: https://shop.example`",
            ));
        }
        custom.url.clone_from(&settings.url);
    }
    Ok(custom)
}

fn timeouts(field: &Field<'_>) -> Read<CustomTimeouts> {
    let section = field.section(keys::CUSTOM_TIMEOUTS)?;
    let mut timeouts = CustomTimeouts::default();
    section.set("deploy", &mut timeouts.deploy, span_above_zero)?;
    section.set("start", &mut timeouts.start, span_above_zero)?;
    section.set("health", &mut timeouts.health, span_above_zero)?;
    section.set("switch", &mut timeouts.switch, span_above_zero)?;
    section.set("stop", &mut timeouts.stop, span_above_zero)?;
    section.set("status", &mut timeouts.status, span_above_zero)?;
    Ok(timeouts)
}

pub fn schema() -> Value {
    let limit = |verb: &str| text(&format!("After this long `{verb}` is ended."), SPAN);
    let commands: serde_json::Map<String, Value> = keys::CUSTOM
        .iter()
        .filter(|key| **key != "timeouts")
        .map(|key| ((*key).to_owned(), command_schema()))
        .collect();
    let limits: serde_json::Map<String, Value> =
        keys::CUSTOM_TIMEOUTS.iter().map(|key| ((*key).to_owned(), limit(key))).collect();
    let mut properties = Value::Object(commands);
    properties["timeouts"] = mapping("How long each command may take.", &[], json!(limits));
    mapping(
        "The commands that run releases, and what they are asked is on stdin.",
        &["start", "stop", "status"],
        properties,
    )
}
