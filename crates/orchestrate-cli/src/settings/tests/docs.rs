//! `docs/configuration.md` names every key, and its example loads.

use super::read;
use crate::settings::engine::kubernetes;
use crate::settings::{engine, environment, keys, notifications, policy, strategy};

const PAGE: &str = include_str!("../../../../../docs/configuration.md");

#[test]
fn the_page_names_every_key_and_every_word() {
    let all = [
        keys::FILE,
        keys::RELEASE,
        keys::GIT,
        keys::SCHEMA,
        keys::ENVIRONMENT,
        keys::PROCESS,
        keys::LIMITS,
        keys::SIGNING,
        keys::STRATEGY,
        keys::STICKY,
        keys::HEALTH_CHECK,
        keys::VERIFY,
        keys::VERIFY_VERSION,
        keys::VERIFY_LATENCY,
        keys::VERIFY_COMPARE,
        keys::VERIFY_SMOKE,
        keys::VERIFY_HTTP,
        keys::VERIFY_EXPECT,
        keys::VERIFY_LOG,
        keys::VERIFY_PROMETHEUS,
        keys::VERIFY_QUERY,
        keys::ROLLBACK,
        keys::CHECK,
        keys::WINDOW,
        keys::APPROVAL,
        keys::FREEZE,
        keys::RETENTION,
        keys::HOOKS,
        keys::HOOK_POST_DEPLOY,
        keys::CUSTOM,
        keys::CUSTOM_TIMEOUTS,
        keys::STATIC,
        keys::WEBHOOK,
        keys::SLACK,
        keys::TEAMS,
        keys::PAGERDUTY,
        keys::EMAIL,
        keys::CDEVENTS,
        keys::COMMAND,
        engine::router::KEYS,
        engine::docker::KEYS,
        engine::swarm::KEYS,
        kubernetes::KEYS,
        kubernetes::RESOURCES,
        kubernetes::AMOUNTS,
        kubernetes::security::KEYS,
    ];
    let words = environment::TYPES.iter().map(|(word, _)| *word);
    let words = words.chain(strategy::STRATEGIES.iter().map(|(word, _)| *word));
    let words = words.chain(environment::DAYS.iter().map(|(word, _)| *word));
    let words = words.chain(policy::IN_FREEZE.iter().map(|(word, _)| *word));
    let words = words.chain(notifications::KINDS.iter().map(|(word, _)| *word));
    let words = words.chain(notifications::OUTCOMES.iter().map(|(word, _)| *word));
    let words = words.chain(notifications::TYPES.iter().map(|(word, _)| *word));
    for word in all.into_iter().flatten().copied().chain(words) {
        let named = PAGE.contains(&format!("`{word}`")) || PAGE.contains(&format!(".{word}`"));
        assert!(named, "{word} is not on the page");
    }
}

#[test]
fn the_example_of_the_page_loads() {
    let example = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(read(example).map(|file| file.service), Ok("shop".into()));
}
