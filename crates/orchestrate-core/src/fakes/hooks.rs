//! Hooks in the world: each is run once in an operation, and what came of it is remembered.

use std::collections::BTreeMap;

use super::{State, World, admit};
use crate::hooks::Hook;
use crate::ports::{Ended, ForgetHooks, HookRequest, PortResult};

#[derive(Clone, Default)]
pub(super) struct Hooks {
    ended: BTreeMap<(String, Hook), PortResult<Ended>>,
    /// `pre_deploy of 1.1`, in order.
    ran: Vec<String>,
    fails: BTreeMap<Hook, String>,
}

pub(super) fn run(state: &mut State, request: &HookRequest) -> PortResult<Ended> {
    admit(&mut state.site(&request.placement.environment).provider_fence, request.fence)?;
    let key = (request.of.clone(), request.hook);
    if let Some(ended) = state.hooks.ended.get(&key) {
        return ended.clone();
    }
    state.hooks.ran.push(format!("{} of {}", request.hook, request.placement.version));
    let failure = state.hooks.fails.get(&request.hook);
    let ended = Ended {
        success: failure.is_none(),
        how: if failure.is_some() { "exited with status 1".into() } else { "exited with status 0".into() },
        code: Some(i32::from(failure.is_some())),
        output: failure.cloned().unwrap_or_else(|| format!("{} is done", request.hook)),
    };
    state.hooks.ended.insert(key, Ok(ended.clone()));
    Ok(ended)
}

pub(super) fn forget(state: &mut State, request: &ForgetHooks) -> PortResult<()> {
    admit(&mut state.site(&request.environment).provider_fence, request.fence)?;
    state.hooks.ended.retain(|(of, _), _| request.but.as_ref() == Some(of));
    Ok(())
}

impl World {
    /// Of what came of hooks is kept, e.g. `d7`.
    pub fn hooks_kept(&self) -> Vec<String> {
        let mut kept: Vec<String> = self.lock().hooks.ended.keys().map(|(of, _)| of.clone()).collect();
        kept.dedup();
        kept
    }

    /// The hook fails from now on, with these words.
    pub fn hook_fails(&self, hook: Hook, says: &str) {
        self.lock().hooks.fails.insert(hook, says.into());
    }

    /// What was run so far, e.g. `pre_deploy of 1.1`.
    pub fn hooks_ran(&self) -> Vec<String> {
        self.lock().hooks.ran.clone()
    }
}
