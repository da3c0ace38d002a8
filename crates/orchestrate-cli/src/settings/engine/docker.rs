//! `docker:` of an environment.

use orchestrate_core::environment::Docker;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<Docker> {
    let _section = field.section(KEYS)?;
    Ok(Docker::default())
}

pub fn schema() -> Value {
    mapping("What only `provider: docker` has to know.", &[], json!({}))
}
