//! What of a home still runs, as anybody can see it: by the names that its instances carry.

use std::path::Path;

use super::command::INSTANCE_VARIABLE;
use super::proc_table;
use super::shared::home_mark;

/// The pids of this home's instances, whether or not a daemon knows of them.
pub fn running_instances(home: &Path) -> Vec<u32> {
    let mark = home_mark(home);
    // As `Shared::new_token` makes it, and a run at the end: `blue-web-1.RELEASE.HOMEtoken.RUN`.
    let ours = |name: &str| name.rsplit('.').nth(1).is_some_and(|token| token.starts_with(&mark));
    let bearers = proc_table::bearers(INSTANCE_VARIABLE).into_iter();
    let bearers = bearers.filter(|bearer| bearer.variable(INSTANCE_VARIABLE).is_some_and(ours));
    bearers.map(|bearer| bearer.mark.pid).collect()
}
