//! A rotation that is cut off anywhere leaves a home that reads all its secrets.

use std::collections::BTreeMap;

use orchestrate_core::database::DatabaseUrl;
use orchestrate_core::secrets::SecretText;

use super::*;
use crate::home::Home;

struct Scene {
    keys: HomeKeys,
    db: Database,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(&dir.path().join("home"))).unwrap();
        home.prepare().unwrap();
        let db = Database::open(&DatabaseUrl::Sqlite(home.database())).await.unwrap();
        let scene = Self { path: home.path("key"), keys: HomeKeys::new(home), db, _dir: dir };
        scene.keep("hunter1").await;
        scene.keep("hunter2").await;
        scene
    }

    async fn keep(&self, value: &str) -> i64 {
        let values = BTreeMap::from([("A".to_owned(), SecretText::new(value))]);
        let kept = self.db.keep_secrets(&self.keys, "environment/p", &values, "ada", SystemClock.now()).await;
        kept.unwrap()["A"]
    }

    async fn value(&self, version: i64) -> String {
        let value = self.db.secret(&self.keys, "environment/p", "A", version).await.unwrap();
        value.expose().to_owned()
    }

    async fn all_can_be_read(&self, when: &str) {
        assert_eq!([self.value(1).await, self.value(2).await], ["hunter1", "hunter2"], "{when}");
        assert_eq!(self.keep("hunter2").await, 2, "{when}: equal values keep their version");
    }

    fn key(&self) -> String {
        file::read_one(&self.path).unwrap().fingerprint()
    }
}

#[tokio::test]
async fn cut_off_anywhere_it_leaves_every_secret_readable_and_is_finished_by_the_next() {
    for cut in ["nothing", "prepared", "resealed", "installed"] {
        let scene = Scene::new().await;
        let before = scene.key();
        if cut != "nothing" {
            let fresh = prepare(&scene.path).unwrap();
            if cut != "prepared" {
                let ring = scene.keys.keys(Look::Everywhere).await.unwrap();
                let now = SystemClock.now();
                let done = scene.db.reseal_secrets(&ring, &fresh, false, "ada", now).await.unwrap();
                assert_eq!(done, Resealed { resealed: 2, unreadable: vec![] });
            }
            if cut == "installed" {
                install(&scene.path).unwrap();
            }
        }
        scene.all_can_be_read(cut).await;
        let rotated = rotate(&scene.keys, &scene.db, false, "ada").await.unwrap();
        scene.all_can_be_read("rotated again").await;
        assert_eq!(rotated.key, scene.key());
        assert_eq!(scene.db.sealing_key().await.unwrap(), Some(scene.key()));
        assert_ne!(scene.key(), before);
        assert!(!file::next(&scene.path).exists());
        let old = SecretKey::generate().unwrap();
        assert!(scene.db.secret(&old, "environment/p", "A", 1).await.is_err());
    }
}

#[tokio::test]
async fn who_read_the_key_before_a_rotation_reads_and_seals_after_it() {
    let scene = Scene::new().await;
    let stale = file::read(&scene.path).unwrap();
    rotate(&scene.keys, &scene.db, false, "ada").await.unwrap();
    let late = Late { stale, keys: &scene.keys };
    let found = scene.db.secret(&late, "environment/p", "A", 2).await.unwrap();
    assert_eq!(found.expose(), "hunter2");
    let values = BTreeMap::from([("A".to_owned(), SecretText::new("hunter3"))]);
    scene.db.keep_secrets(&late, "environment/p", &values, "ada", SystemClock.now()).await.unwrap();
    assert_eq!(scene.value(3).await, "hunter3", "sealed with the new key");
    assert_eq!(scene.db.sealing_key().await.unwrap(), Some(scene.key()));
}

/// Has looked at the key before the rotation, and looks again only when it is told to.
struct Late<'a> {
    stale: orchestrate_core::secrets::KeyRing,
    keys: &'a HomeKeys,
}

#[async_trait::async_trait]
impl orchestrate_core::secrets::KeySource for Late<'_> {
    async fn keys(&self, look: Look) -> Result<orchestrate_core::secrets::KeyRing> {
        match look {
            Look::Everywhere => self.keys.keys(look).await,
            Look::Usual | Look::OrMake => Ok(self.stale.clone()),
        }
    }
}

#[tokio::test]
async fn a_secret_that_no_key_opens_stops_it_unless_it_is_left_behind() {
    let scene = Scene::new().await;
    let before = scene.key();
    fs::remove_file(&scene.path).unwrap();
    file::create(&scene.path).unwrap();
    let mine = scene.key();
    let refused = rotate(&scene.keys, &scene.db, false, "ada").await.err().unwrap();
    assert_eq!(refused.code(), "ORC-0234");
    assert_eq!((scene.key(), scene.db.sealing_key().await.unwrap()), (mine, Some(before)));
    let rotated = rotate(&scene.keys, &scene.db, true, "ada").await.unwrap();
    assert_eq!(rotated.resealed.unreadable, ["environment/p/A/1", "environment/p/A/2"]);
    assert_eq!(scene.db.sealing_key().await.unwrap(), Some(scene.key()));
}

#[tokio::test]
async fn two_at_once_are_one_and_a_refusal() {
    let scene = Scene::new().await;
    let _turn = turn(&scene.keys).unwrap();
    let refused = rotate(&scene.keys, &scene.db, false, "ada").await.err().unwrap();
    assert_eq!(refused.code(), "ORC-0215");
}

/// Cuts a file at every length, and says what becomes of the home each time; then the file is whole again.
async fn torn(scene: &Scene, path: &Path, mut then: impl AsyncFnMut(&Scene, &str)) {
    let whole = fs::read(path).unwrap();
    for length in 0..whole.len() {
        fs::write(path, &whole[..length]).unwrap();
        then(scene, &format!("{} cut to {length} bytes", path.display())).await;
        assert_eq!(fs::read(path).unwrap(), whole[..length], "it was touched");
    }
    fs::write(path, whole).unwrap();
}

async fn refusal(scene: &Scene) -> Error {
    scene.db.secret(&scene.keys, "environment/p", "A", 1).await.err().unwrap()
}

#[tokio::test]
async fn a_torn_key_is_named_and_no_other_one_is_made() {
    let scene = Scene::new().await;
    torn(&scene, &scene.path, async |scene: &Scene, when: &str| {
        let found = [
            refusal(scene).await,
            scene.keys.keys(Look::OrMake).await.err().unwrap(),
            rotate(&scene.keys, &scene.db, false, "ada").await.err().unwrap(),
        ];
        for error in found {
            assert_eq!(error.code(), "ORC-0210", "{when}");
            assert!(error.message().contains(&scene.path.display().to_string()), "{error}");
        }
        assert!(!file::next(&scene.path).exists(), "{when}: a key was prepared");
    })
    .await;
    scene.all_can_be_read("the key is whole again").await;
}

#[tokio::test]
async fn a_torn_next_key_is_not_replaced_while_it_may_be_in_use() {
    for resealed in [false, true] {
        let scene = Scene::new().await;
        let fresh = prepare(&scene.path).unwrap();
        if resealed {
            let ring = scene.keys.keys(Look::Everywhere).await.unwrap();
            scene.db.reseal_secrets(&ring, &fresh, false, "ada", SystemClock.now()).await.unwrap();
        }
        let next = file::next(&scene.path);
        torn(&scene, &next, async |scene: &Scene, when: &str| {
            match resealed {
                true => assert_eq!(refusal(scene).await.code(), "ORC-0211", "{when}"),
                false => scene.all_can_be_read(when).await,
            }
            for skip in [false, true] {
                let error = rotate(&scene.keys, &scene.db, skip, "ada").await.err().unwrap();
                assert_eq!(error.code(), "ORC-0210", "{when}");
                assert!(error.message().contains("key.next"), "{error}");
            }
        })
        .await;
        scene.all_can_be_read("the next key is whole again").await;
        // Nor does one that only cannot be read at the moment.
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(rotate(&scene.keys, &scene.db, true, "ada").await.err().unwrap().code(), "ORC-0205");
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        rotate(&scene.keys, &scene.db, false, "ada").await.unwrap();
        scene.all_can_be_read("rotated").await;
    }
}
