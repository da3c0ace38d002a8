//! `static:` of an environment.

use orchestrate_core::environment::Static;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<Static> {
    let _section = field.section(KEYS)?;
    Ok(Static::default())
}

pub fn schema() -> Value {
    mapping("What only `provider: static` has to know.", &[], json!({}))
}
