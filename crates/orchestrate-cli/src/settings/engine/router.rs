//! `router:` of an environment.

use orchestrate_core::environment::RouterSettings;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<RouterSettings> {
    let _section = field.section(KEYS)?;
    Ok(RouterSettings::default())
}

pub fn schema() -> Value {
    mapping("What only the router in front of the service has to know.", &[], json!({}))
}
