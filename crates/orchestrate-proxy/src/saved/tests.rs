//! A torn file of routes is set aside as it is, whatever its length.

use orchestrate_core::name::{ReleaseId, Version};
use orchestrate_core::slot::Slot;

use super::*;

fn routes() -> Saved {
    let environment = EnvironmentName::new("production").unwrap();
    let placement = Placement {
        environment: environment.clone(),
        slot: Slot::Blue,
        release: ReleaseId(7),
        version: Version::new("1.0.0").unwrap(),
    };
    let placed = vec![SavedPlaced { placement, weight: 100, backends: Vec::new() }];
    let saved = SavedEnvironment { fence: Some(Fence(3)), placed, rules: None };
    Saved::new(BTreeMap::from([(environment, saved)]))
}

#[test]
fn a_file_that_is_cut_at_any_length_is_set_aside_and_nothing_of_it_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.json");
    let whole = serde_json::to_vec_pretty(&routes()).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (saved, aside) = load(&path).unwrap();
        assert_eq!(saved, Saved::default(), "cut to {length} bytes");
        let aside = aside.unwrap_or_else(|| panic!("cut to {length} bytes: not set aside"));
        assert_eq!(std::fs::read(aside).unwrap(), &whole[..length]);
        assert!(!path.exists());
    }
    replace(&path, &whole).unwrap();
    assert_eq!(load(&path).unwrap(), (routes(), None));
}
