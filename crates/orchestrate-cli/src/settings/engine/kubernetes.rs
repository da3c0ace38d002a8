//! `kubernetes:` of an environment.

use orchestrate_core::environment::Kubernetes;
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::mapping;

/// The keys that it knows.
const KEYS: &[&str] = &[];

pub fn read(field: &Field<'_>) -> Read<Kubernetes> {
    let _section = field.section(KEYS)?;
    Ok(Kubernetes::default())
}

pub fn schema() -> Value {
    mapping("What only `provider: kubernetes` has to know.", &[], json!({}))
}
