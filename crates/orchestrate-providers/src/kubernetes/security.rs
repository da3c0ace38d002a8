//! What containers may do, and what is to be done where a cluster's admission does not let them in.

use orchestrate_core::confinement::Confinement;
use orchestrate_core::environment::Security;
use orchestrate_core::ports::{PortError, PortResult};
use serde_json::{Map, Value, json};

/// The security context of a container, if anything is said of it.
pub(super) fn context(security: Option<&Security>, confinement: &Confinement) -> PortResult<Option<Value>> {
    let mut context = security.map(of_settings).unwrap_or_default();
    if let Some(user) = &confinement.user {
        let numbers = user
            .split_once(':')
            .and_then(|(user, group)| Some((user.parse::<i64>().ok()?, group.parse::<i64>().ok()?)));
        let (user, group) = numbers.ok_or_else(|| {
            PortError::failed(format!("a cluster does not know the user {user}; write UID:GID"))
        })?;
        context.insert("runAsUser".into(), user.into());
        context.insert("runAsGroup".into(), group.into());
    }
    if confinement.forbids_new_privileges() {
        context.insert("allowPrivilegeEscalation".into(), false.into());
    }
    Ok(Some(context).filter(|context| !context.is_empty()).map(Value::Object))
}

fn of_settings(security: &Security) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert("runAsNonRoot".into(), security.run_as_non_root.into());
    context.insert("allowPrivilegeEscalation".into(), security.allow_privilege_escalation.into());
    context.insert("seccompProfile".into(), json!({ "type": security.seccomp_profile.as_str() }));
    let ids = [("runAsUser", security.run_as_user), ("runAsGroup", security.run_as_group)];
    context.extend(ids.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?.into()))));
    let mut capabilities = Map::new();
    for (key, names) in [("drop", &security.drop_capabilities), ("add", &security.add_capabilities)] {
        if !names.is_empty() {
            capabilities.insert(key.into(), json!(names));
        }
    }
    if !capabilities.is_empty() {
        context.insert("capabilities".into(), capabilities.into());
    }
    if security.read_only_root_filesystem {
        context.insert("readOnlyRootFilesystem".into(), true.into());
    }
    context
}

/// Why a cluster did not let something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The right is missing.
    Rights,
    Quota,
    /// The namespace enforces a pod security standard.
    PodSecurity,
    /// A policy of the cluster's own.
    Policy,
    /// Something else, which its words say: a limit, an account that is not there.
    Other,
}

impl Denial {
    /// By the cluster's own words: its answer has the same status and the same reason in all of these cases.
    pub fn read(message: &str) -> Self {
        if message.contains("exceeded quota") {
            Self::Quota
        } else if message.contains("violates PodSecurity") {
            Self::PodSecurity
        } else if message.contains("denied the request") || message.contains("denied request") {
            Self::Policy
        } else if message.contains(" cannot ") {
            Self::Rights
        } else {
            Self::Other
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Rights => "what rights are needed: deploy/kubernetes/rbac.yaml",
            Self::Quota => "see what is used: kubectl describe resourcequota",
            Self::PodSecurity => {
                "have pods pass the standard `restricted`: write `kubernetes: { security: {} }`, and `run_as_user` in it \
                 where the image runs as root"
            }
            Self::Policy => "a policy of the cluster refuses it; ask who looks after the cluster",
            Self::Other => "correct what the cluster names, in its settings or in those of the environment",
        }
    }
}

/// What a node says of a container that would be root and may not.
pub(super) fn is_root(message: &str) -> bool {
    message.contains("runAsNonRoot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_told_by_the_words_of_the_cluster() {
        for (message, denial) in [
            (
                "deployments.apps \"x\" is forbidden: User \"ci\" cannot patch resource \"deployments\" in API group \"apps\"",
                Denial::Rights,
            ),
            ("pods \"x\" is forbidden: exceeded quota: compute, requested: pods=1", Denial::Quota),
            (
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
                Denial::PodSecurity,
            ),
            ("pods \"x\" is forbidden: maximum cpu usage per Container is 1, but limit is 2", Denial::Other),
            (
                "pods \"x\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found",
                Denial::Other,
            ),
            ("admission webhook \"policy.example\" denied the request: no latest", Denial::Policy),
            (
                "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                Denial::Policy,
            ),
        ] {
            assert_eq!(Denial::read(message), denial, "{message}");
        }
    }

    #[test]
    fn what_is_said_of_a_user_goes_before_the_settings() {
        let security = Security { run_as_user: Some(7), ..Security::default() };
        let confinement = Confinement { user: Some("1001:1002".into()), ..Confinement::default() };
        let context = context(Some(&security), &confinement).unwrap().unwrap();
        assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&1001.into(), &1002.into()));
        assert_eq!(super::context(None, &Confinement::default()).unwrap(), None);
    }
}
