//! As whom a command of a release runs, and within which limits. Sealed with the release.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a command of a release is not allowed. Nothing here: it runs as orchestrate does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Confinement {
    /// The user as whom it runs: a name of this machine's, or `UID:GID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Whether it may not gain rights by programs with the set-user-ID bit; with a user, it may not unless this is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privs: Option<bool>,
}

/// What the kernel gives at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of private memory that one process may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Files that one process may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Processes and threads that its user may have on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

impl Limits {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Confinement {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub fn forbids_new_privileges(&self) -> bool {
        self.no_new_privs.unwrap_or(self.user.is_some())
    }

    /// With what `general` says wherever this says nothing.
    #[must_use]
    pub fn or(self, general: &Self) -> Self {
        let (own, other) = (self.limits, general.limits);
        Self {
            user: self.user.or_else(|| general.user.clone()),
            limits: Limits {
                memory: own.memory.or(other.memory),
                files: own.files.or(other.files),
                processes: own.processes.or(other.processes),
            },
            no_new_privs: self.no_new_privs.or(general.no_new_privs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_type_says_goes_before_what_its_environment_says() {
        let general = Confinement {
            user: Some("shop".into()),
            limits: Limits { memory: Some(1), files: Some(2), processes: None },
            no_new_privs: None,
        };
        let own = Confinement {
            user: None,
            limits: Limits { memory: Some(9), files: None, processes: Some(3) },
            no_new_privs: Some(false),
        };
        let both = own.or(&general);
        assert_eq!(both.user.as_deref(), Some("shop"));
        assert_eq!(both.limits, Limits { memory: Some(9), files: Some(2), processes: Some(3) });
        assert!(!both.forbids_new_privileges());
        assert!(general.forbids_new_privileges(), "with a user, unless it is said");
        assert!(!Confinement::default().forbids_new_privileges());
    }
}
