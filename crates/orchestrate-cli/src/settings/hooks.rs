//! `hooks:` of an environment: commands that are run once in an operation.

use orchestrate_core::hooks::{Hook, HookCommand, Hooks, IfItFails};

use super::keys;
use super::reader::{Field, Read};
use super::values::{command, span_above_zero};

pub(super) const IF_IT_FAILS: &[(&str, IfItFails)] =
    &[("rollback", IfItFails::Rollback), ("ignore", IfItFails::Ignore)];

pub(super) fn hooks(field: &Field<'_>) -> Read<Hooks> {
    let section = field.section(keys::HOOKS)?;
    let mut hooks = Hooks::new();
    for hook in Hook::ALL {
        if let Some(field) = section.get(hook.as_str()) {
            hooks.insert(hook, one(field, hook)?);
        }
    }
    Ok(hooks)
}

fn one(field: &Field<'_>, hook: Hook) -> Read<HookCommand> {
    let known = if hook == Hook::PostDeploy { keys::HOOK_POST_DEPLOY } else { keys::HOOK };
    let section = field.section(known)?;
    // Through serde, for core's own default of the timeout.
    let written = serde_json::json!({ "command": command(section.required("command")?)? });
    let mut read: HookCommand =
        serde_json::from_value(written).map_err(|error| field.bad_value(&error.to_string()))?;
    section.set("timeout", &mut read.timeout, span_above_zero)?;
    section.set("on_failure", &mut read.on_failure, |field| field.word(IF_IT_FAILS))?;
    Ok(read)
}
