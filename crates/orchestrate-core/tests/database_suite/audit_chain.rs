//! The audit trail as a chain: whoever alters, removes, moves or puts in a record is found out.

use orchestrate_core::Database;
use orchestrate_core::audit_chain::AuditHead;
use orchestrate_core::release::Digest;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use tokio::task::JoinSet;

use super::scene::{Fresh, Scene, name, settings, v};
use super::time;

/// So many random changes are tried on each database.
const CASES: usize = 120;

/// What somebody does to the table by hand. Numbers are taken modulo the length of the trail.
#[derive(Clone, Copy, Debug)]
enum Tampering {
    Alter {
        record: usize,
        column: usize,
    },
    /// With the hash that the changed record would have had in an honest trail of its own.
    AlterHash {
        record: usize,
    },
    Remove {
        first: usize,
        count: usize,
    },
    /// Cuts the end off.
    Truncate {
        count: usize,
    },
    /// The same, and the head set to what is left: only a head that was kept elsewhere shows it.
    TruncateWell {
        count: usize,
    },
    Swap {
        one: usize,
        other: usize,
    },
    PutIn {
        after: usize,
    },
    Head {
        id: i64,
    },
}

const COLUMNS: [&str; 6] = ["at", "environment", "actor", "action", "reason", "detail"];

fn tampering() -> impl proptest::strategy::Strategy<Value = Tampering> {
    let numbers = (0..8_usize, 0..1000_usize, 0..1000_usize);
    numbers.prop_map(|(kind, one, other)| match kind {
        0 => Tampering::Alter { record: one, column: other % COLUMNS.len() },
        1 => Tampering::AlterHash { record: one },
        2 => Tampering::Remove { first: one, count: 1 + other % 3 },
        3 => Tampering::Truncate { count: 1 + one % 5 },
        4 => Tampering::TruncateWell { count: 1 + one % 5 },
        5 => Tampering::Swap { one, other },
        6 => Tampering::PutIn { after: one },
        _ => Tampering::Head { id: i64::try_from(one).unwrap() },
    })
}

impl Tampering {
    /// The statements for a trail of so many records, numbered from 1.
    fn statements(self, length: usize) -> Vec<String> {
        let at = |number: usize| 1 + number % length;
        match self {
            Self::Alter { record, column } => {
                let (column, id) = (COLUMNS[column], at(record));
                vec![format!("UPDATE audit SET {column} = COALESCE({column}, '') || 'x' WHERE id = {id}")]
            }
            Self::AlterHash { record } => {
                let hash = Digest::of(b"forged");
                vec![format!("UPDATE audit SET actor = 'eve', hash = '{hash}' WHERE id = {}", at(record))]
            }
            Self::Remove { first, count } => {
                let first = at(first);
                vec![format!("DELETE FROM audit WHERE id >= {first} AND id < {}", first + count)]
            }
            Self::Truncate { count } => vec![format!("DELETE FROM audit WHERE id > {}", length - count)],
            Self::TruncateWell { count } => {
                let last = length - count;
                let head = format!(
                    "UPDATE audit_head SET id = {last}, hash = (SELECT hash FROM audit WHERE id = {last})"
                );
                [Self::Truncate { count }.statements(length), vec![head]].concat()
            }
            Self::Swap { one, other } => {
                let (one, other) = (at(one), if at(one) == at(other) { at(other + 1) } else { at(other) });
                [(one, 0), (other, one), (0, other)]
                    .map(|(from, to)| format!("UPDATE audit SET id = {to} WHERE id = {from}"))
                    .to_vec()
            }
            Self::PutIn { after } => vec![
                format!("UPDATE audit SET id = -id WHERE id > {}", at(after)),
                "UPDATE audit SET id = 1 - id WHERE id < 0".to_owned(),
                format!(
                    "INSERT INTO audit (id, at, environment, actor, action, reason, detail, hash) SELECT id + 1, at, \
                     environment, 'eve', action, reason, detail, hash FROM audit WHERE id = {}",
                    at(after)
                ),
            ],
            Self::Head { id } => {
                vec![format!("UPDATE audit_head SET id = {}", if id == length as i64 { id + 1 } else { id })]
            }
        }
    }
}

/// A trail of some length, with all that this program records.
async fn trail(fresh: &Fresh) -> (Scene, AuditHead) {
    let scene = Scene::new(fresh).await;
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    scene.db.hold(&scene.environment, &v("2.0"), "ada", "l'été, \"quoted\"\n2", time(1)).await.unwrap();
    let head = scene.db.audit_head().await.unwrap();
    (scene, head)
}

pub(super) async fn without_guards(fresh: &Fresh) {
    let on = if fresh.dir.is_some() { "" } else { " ON audit" };
    for trigger in ["audit_is_chained", "audit_stays", "audit_is_kept"] {
        fresh.sql(&format!("DROP TRIGGER {trigger}{on}")).await;
    }
}

async fn is_intact(db: &Database, kept: Option<&AuditHead>) -> bool {
    let found = db.verify_audit(kept.map(|head| &head.hash)).await.unwrap();
    found.findings.is_empty()
}

pub async fn any_tampering_with_the_trail_is_found(fresh: Fresh) {
    let (scene, head) = trail(&fresh).await;
    let length = usize::try_from(head.id).unwrap();
    assert!(length > 10 && is_intact(&scene.db, Some(&head)).await);
    without_guards(&fresh).await;
    for copy in ["audit", "audit_head"] {
        fresh.sql(&format!("CREATE TABLE {copy}_copy AS SELECT * FROM {copy}")).await;
    }
    let mut runner = TestRunner::deterministic();
    for _ in 0..CASES {
        let case = tampering().new_tree(&mut runner).unwrap().current();
        for statement in case.statements(length) {
            fresh.sql(&statement).await;
        }
        // A well cut end can only be seen by who kept a head.
        let inside = is_intact(&scene.db, None).await;
        assert_eq!(inside, matches!(case, Tampering::TruncateWell { .. }), "{case:?}");
        assert!(!is_intact(&scene.db, Some(&head)).await, "{case:?}");
        for copy in ["audit", "audit_head"] {
            fresh.sql(&format!("DELETE FROM {copy}")).await;
            fresh.sql(&format!("INSERT INTO {copy} SELECT * FROM {copy}_copy")).await;
        }
        assert!(is_intact(&scene.db, Some(&head)).await, "after {case:?}");
    }
    scene.end(fresh).await;
}

pub async fn a_break_is_told_once_and_at_its_place(fresh: Fresh) {
    let (scene, head) = trail(&fresh).await;
    without_guards(&fresh).await;
    fresh.sql("UPDATE audit SET reason = 'another' WHERE id = 5").await;
    let found = scene.db.verify_audit(Some(&head.hash)).await.unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), [5]);
    assert_eq!((i64::try_from(found.records).unwrap(), &found.head), (head.id, &head));
    scene.end(fresh).await;
}

pub async fn a_slip_of_the_hand_is_refused(fresh: Fresh) {
    let (scene, head) = trail(&fresh).await;
    let mut connection = fresh.connect().await;
    for slip in [
        "UPDATE audit SET actor = 'eve' WHERE id = 3",
        "DELETE FROM audit WHERE id = 3",
        // As a program from before the chain writes.
        "INSERT INTO audit (at, environment, actor, action, detail) VALUES ('x', 'production', 'eve', 'x', '{}')",
    ] {
        let refused = sqlx::query(slip).execute(&mut connection).await.unwrap_err().to_string();
        let expected = if slip.starts_with("INSERT") { "newer orchestrate" } else { "only added" };
        assert!(refused.contains(expected), "{refused}");
    }
    drop(connection);
    assert!(is_intact(&scene.db, Some(&head)).await);
    scene.end(fresh).await;
}

pub async fn what_is_older_than_the_chain_comes_into_it(fresh: Fresh) {
    let (scene, head) = trail(&fresh).await;
    without_guards(&fresh).await;
    // As the migration leaves it when the program dies right after it.
    fresh.sql("UPDATE audit SET hash = NULL").await;
    fresh.sql("UPDATE audit_head SET id = 0, hash = NULL, at = NULL").await;
    scene.db.unhold(&scene.environment, &v("2.0"), "ada", None, time(2)).await.unwrap();
    let found = scene.db.verify_audit(Some(&head.hash)).await.unwrap();
    assert_eq!((found.findings.as_slice(), found.head.id), (&[][..], head.id + 1));
    scene.end(fresh).await;
}

pub async fn many_that_write_at_once_make_one_chain(fresh: Fresh) {
    let db = fresh.open().await;
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        // Each is a program of its own, with connections of its own.
        let db = fresh.open().await;
        tasks.spawn(async move {
            let place = name(&format!("place-{writer}"));
            db.apply_environment(&place, "shop", &settings(), &[], "ada", time(0)).await.unwrap();
            for number in 0..10 {
                db.hold(&place, &v(&format!("1.{number}")), "ada", "why", time(number)).await.unwrap();
            }
            db.close().await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let found = db.verify_audit(None).await.unwrap();
    assert_eq!((found.records, found.head.id, found.findings.len()), (88, 88, 0));
    fresh.clear_up(db).await;
}
