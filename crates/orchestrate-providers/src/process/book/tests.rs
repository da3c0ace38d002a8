//! A torn record is set aside as it is, whatever its length.

use orchestrate_core::name::{ReleaseId, Version};
use orchestrate_core::slot::Slot;

use super::*;

fn fill(record: &mut Record) {
    let environment = EnvironmentName::new("production").unwrap();
    record.fences.insert(environment.clone(), Fence(3));
    let version = Version::new("1.0.0").unwrap();
    record.slots.push(SlotEntry {
        placement: Placement { environment, slot: Slot::Blue, release: ReleaseId(7), version },
        digest: Digest::of(b"it"),
        stop_timeout: Span::from_secs(3),
        instances: BTreeMap::new(),
    });
}

#[tokio::test]
async fn a_file_that_is_cut_at_any_length_is_set_aside_and_nothing_of_it_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instances.json");
    let book = Arc::new(Book::open(path.clone()).unwrap().book);
    book.update(fill).await.unwrap();
    let (whole, known) = (fs::read(&path).unwrap(), book.read(|record| record.slots.clone()));
    for length in 0..whole.len() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("instances.json");
        fs::write(&path, &whole[..length]).unwrap();
        let opened = Book::open(path.clone()).unwrap();
        let damage = opened.damage.unwrap_or_else(|| panic!("cut to {length} bytes: not noticed"));
        assert!(damage.contains(path.to_str().unwrap()), "{damage}");
        assert!(opened.book.read(|record| record.slots.is_empty() && record.fences.is_empty()));
        let aside = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<PathBuf> = aside.filter(|path| path.to_str().unwrap().contains("damaged")).collect();
        assert_eq!(fs::read(&aside[0]).unwrap(), &whole[..length]);
    }
    let again = Book::open(path).unwrap();
    assert_eq!((again.book.read(|record| record.slots.clone()), again.damage), (known, None));
}
