//! The routes' file, as a crash, a full disk or somebody's editor may leave it.

use super::control::{registry, runtime};
use super::keep_on_loopback;
use crate::saved::load;

/// What is no state is moved aside, whole; what is one is taken, and written as the same again.
pub fn saved(input: &[u8]) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("proxy.json");
    std::fs::write(&path, input).unwrap();
    let (mut saved, set_aside) = load(&path).unwrap();
    if let Some(aside) = set_aside {
        assert_eq!(std::fs::read(aside).unwrap(), input);
        assert!(!path.exists() && saved.environments.is_empty());
        return;
    }
    for environment in saved.environments.values_mut() {
        environment.placed.iter_mut().for_each(|placed| keep_on_loopback(&mut placed.backends));
    }
    let names: Vec<_> = saved.environments.keys().cloned().collect();
    runtime().block_on(async {
        let registry = registry(&path, saved);
        for name in &names {
            assert!(registry.observe(name).slots.iter().all(|slot| slot.weight <= 100));
            registry.counts(name);
        }
        registry.hello();
        registry.persisted().await.unwrap();
    });
    let (again, set_aside) = load(&path).unwrap();
    assert_eq!(set_aside, None);
    assert!(again.environments.keys().eq(&names));
}
