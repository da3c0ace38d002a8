//! Counts lines that containers printed and that match, since they were started.

use orchestrate_core::ports::{CountLines, Lines, PortError, PortResult};
use regex::Regex;

use super::api::Kind;
use super::live;
use super::names::PROCESS;
use super::provider::Shared;

/// More than this of an old log is not read: what matters is its end.
const MOST_LINES: u32 = 100_000;
/// What a person reads of a line.
const SHOWN: usize = 200;

pub(super) async fn count(shared: &Shared, request: &CountLines) -> PortResult<Lines> {
    let pattern = Regex::new(&request.pattern).map_err(|error| {
        PortError::failed(format!("`{}` is not a regular expression: {error}", request.pattern))
    })?;
    let site = shared.site_of(&request.placement).await?;
    let selector = site.names.selector_of(&request.placement);
    let (pods, _) = site.cluster.list(Kind::Pod, &selector).await?;
    let mut all = Lines::default();
    for pod in pods.iter().filter(|pod| live::counts(pod)) {
        let Some(process) = pod.annotation(PROCESS) else { continue };
        // A container that never ran has printed nothing.
        let ran = live::container(pod).is_some_and(|one| one.0.pointer("/state/waiting").is_none());
        if !ran || request.process.as_deref().is_some_and(|wanted| wanted != process) {
            continue;
        }
        let query = format!("container={}&tailLines={MOST_LINES}", live::container_of(pod));
        let log = site.cluster.log(pod.name(), &query).await?;
        for line in log.lines().filter(|line| pattern.is_match(line)) {
            all.matches += 1;
            all.first.get_or_insert_with(|| line.chars().take(SHOWN).collect());
        }
    }
    Ok(all)
}
