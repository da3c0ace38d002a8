//! `custom:` of an environment.

use orchestrate_core::environment::Custom;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<Custom> {
    let _section = field.section(KEYS)?;
    Ok(Custom::default())
}

pub fn schema() -> Value {
    mapping("What only `provider: custom` has to know.", &[], json!({}))
}
