//! Settings of the router in front of an environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An HAProxy of the user's, which is told over its runtime API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSettings {
    /// Its stats socket: a path, or an address such as `127.0.0.1:9999`.
    pub haproxy: String,
    /// The backend in haproxy.cfg of each process type with a `listen` address.
    pub backends: BTreeMap<String, String>,
    /// The `server-state-file` of haproxy.cfg, which is written so that a reload loses nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_file: Option<PathBuf>,
}
