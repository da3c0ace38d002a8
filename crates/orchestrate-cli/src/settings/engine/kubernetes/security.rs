//! `kubernetes.security`: what containers may do.

use orchestrate_core::environment::{EnvironmentSettings, Seccomp, Security};
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::{boolean, list, mapping, number, text, word};

pub const KEYS: &[&str] = &[
    "run_as_non_root",
    "run_as_user",
    "run_as_group",
    "seccomp_profile",
    "allow_privilege_escalation",
    "drop_capabilities",
    "add_capabilities",
    "read_only_root_filesystem",
];

const PROFILES: &[(&str, Seccomp)] =
    &[("RuntimeDefault", Seccomp::RuntimeDefault), ("Unconfined", Seccomp::Unconfined)];
const LARGEST_ID: u32 = 2_147_483_647;
const CAPABILITY: &str = "[A-Z][A-Z_]*";

pub fn read(field: &Field<'_>) -> Read<Security> {
    let section = field.section(KEYS)?;
    let mut security = Security::default();
    let id = |field: &Field<'_>| field.whole_number(0..=LARGEST_ID).map(Some);
    section.set("run_as_non_root", &mut security.run_as_non_root, Field::boolean)?;
    section.set("run_as_user", &mut security.run_as_user, id)?;
    section.set("run_as_group", &mut security.run_as_group, id)?;
    section.set("seccomp_profile", &mut security.seccomp_profile, |field| field.word(PROFILES))?;
    section.set("allow_privilege_escalation", &mut security.allow_privilege_escalation, Field::boolean)?;
    section.set("drop_capabilities", &mut security.drop_capabilities, capabilities)?;
    section.set("add_capabilities", &mut security.add_capabilities, capabilities)?;
    section.set("read_only_root_filesystem", &mut security.read_only_root_filesystem, Field::boolean)?;
    match section.get("run_as_user").filter(|_| security.run_as_user == Some(0) && security.run_as_non_root) {
        Some(field) => {
            Err(field.bad_value("0 is root; write another number, or `run_as_non_root: false` beside it"))
        }
        None => Ok(security),
    }
}

/// What other keys of the environment say otherwise.
pub fn refuse(field: &Field<'_>, settings: &EnvironmentSettings, security: &Security) -> Read<()> {
    let forbids = settings.processes.values().any(|process| process.confinement.no_new_privs == Some(true));
    match forbids && security.allow_privilege_escalation {
        true => Err(field.bad_key(
            "`allow_privilege_escalation: true` contradicts `no_new_privs: true`; write one of them",
        )),
        false => Ok(()),
    }
}

fn capabilities(field: &Field<'_>) -> Read<Vec<String>> {
    let one = |field: &Field<'_>| {
        field.parsed("the name of a capability", |text| {
            let fits = text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
                && !text.starts_with("CAP_");
            match fits {
                true => Ok(text.to_owned()),
                false => Err("is not one as a cluster names it, for example `NET_BIND_SERVICE`".into()),
            }
        })
    };
    field.items("a list of capabilities")?.iter().map(one).collect()
}

pub fn schema() -> Value {
    let profiles: Vec<&str> = PROFILES.iter().map(|(profile, _)| *profile).collect();
    let capabilities = |description: &str| list(description, text("Its name, without CAP_.", CAPABILITY));
    mapping(
        "What containers may do; what is not said is as the pod security standard `restricted` asks for it.",
        &[],
        json!({
            "run_as_non_root": boolean("Whether a node refuses to run it as root; true, if it is not said."),
            "run_as_user": number("The number of the user; the image's own, if there is none.", 0, LARGEST_ID),
            "run_as_group": number("The number of the group.", 0, LARGEST_ID),
            "seccomp_profile": word("Which calls of the kernel are let through.", &profiles),
            "allow_privilege_escalation": boolean("Whether it may gain rights; false, if it is not said."),
            "drop_capabilities": capabilities("What it loses; [ALL], if it is not said."),
            "add_capabilities": capabilities("What it keeps all the same."),
            "read_only_root_filesystem": boolean("Whether it cannot write to its own files."),
        }),
    )
}
