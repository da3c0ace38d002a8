//! `swarm:` of an environment.

use orchestrate_core::environment::Swarm;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<Swarm> {
    let _section = field.section(KEYS)?;
    Ok(Swarm::default())
}

pub fn schema() -> Value {
    mapping("What only `provider: swarm` has to know.", &[], json!({}))
}
