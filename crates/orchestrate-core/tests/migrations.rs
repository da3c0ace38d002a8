//! Migrations expand and do not contract: what an older program reads and writes is still there after them.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeMap;
use std::path::Path;

/// What stands above a statement that takes something away, with the release since which no program uses it.
const AGREED: &str = "-- contract: unused since ";

#[derive(Debug, PartialEq, Eq)]
struct Statement {
    agreed: bool,
    /// In upper case, with single spaces.
    sql: String,
}

/// The statements of a file. A function's or a trigger's body ends no statement.
fn statements(text: &str) -> Vec<Statement> {
    let (mut all, mut sql, mut agreed, mut quoted) = (Vec::new(), String::new(), false, false);
    for line in text.lines() {
        agreed |= line.trim().starts_with(AGREED);
        let code = line.split("--").next().unwrap_or_default();
        quoted ^= code.matches("$$").count() % 2 == 1;
        sql.push_str(&code.to_uppercase());
        sql.push(' ');
        let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_trigger = words.contains(" TRIGGER ") && words.contains(" BEGIN ") && !words.contains("$$");
        let inside = quoted || (is_trigger && !words.ends_with("END;"));
        if code.trim_end().ends_with(';') && !inside {
            all.push(Statement { agreed, sql: words });
            (sql, agreed) = (String::new(), false);
        }
    }
    assert!(sql.trim().is_empty(), "a statement without an end: {sql}");
    all
}

/// What an older program would miss, or could not write any more.
fn takes_away(sql: &str) -> Option<&'static str> {
    let has = |words: &str| format!(" {sql} ").contains(&format!(" {words} "));
    // What is made in this migration is known to nobody yet.
    let made = sql.starts_with("CREATE ");
    let needed = |part: &str| part.contains(" NOT NULL") && !part.contains(" DEFAULT ");
    match () {
        () if made => None,
        () if has("DROP") => Some("it drops something"),
        () if has("RENAME") => Some("it renames something"),
        () if has("ALTER COLUMN") => Some("it changes a column"),
        () if has("TRUNCATE") || sql.starts_with("DELETE ") => Some("it deletes rows"),
        () if has("ADD CONSTRAINT") => Some("it forbids what an older program may write"),
        () if sql.split("ADD COLUMN").skip(1).any(|part| needed(part.split(',').next().unwrap_or(part))) => {
            Some("an older program does not fill the new column")
        }
        () => None,
    }
}

fn files(directory: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(directory);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let scripts = entries.filter(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn no_migration_takes_away_what_an_older_program_uses() {
    for directory in ["migrations", "migrations/postgres"] {
        let files = files(directory);
        assert!(files.len() >= 25, "{directory} is not read");
        for (name, text) in files {
            for statement in statements(&text) {
                let wrong = takes_away(&statement.sql).filter(|_| !statement.agreed);
                assert_eq!(
                    wrong, None,
                    "{directory}/{name}: {}\nsee CONTRIBUTING.md, A migration",
                    statement.sql
                );
            }
        }
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |directory| files(directory).into_keys().collect::<Vec<_>>();
    assert_eq!(names("migrations"), names("migrations/postgres"));
}

#[test]
fn what_takes_something_away_is_seen() {
    for (sql, seen) in [
        ("DROP TABLE holds;", true),
        ("ALTER TABLE holds\n  DROP COLUMN reason;", true),
        ("ALTER TABLE holds RENAME COLUMN reason TO why;", true),
        ("ALTER TABLE holds RENAME TO held;", true),
        ("ALTER TABLE holds ALTER COLUMN reason TYPE INTEGER;", true),
        ("DELETE FROM holds;", true),
        ("ALTER TABLE holds ADD COLUMN why TEXT NOT NULL;", true),
        ("ALTER TABLE holds ADD COLUMN why TEXT NOT NULL DEFAULT '';", false),
        ("ALTER TABLE holds ADD COLUMN why TEXT;", false),
        ("CREATE TABLE drops (drop_id INTEGER NOT NULL); -- DROP TABLE holds;", false),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\nEND;\nDROP INDEX i;", true),
    ] {
        let found = statements(sql).iter().any(|one| takes_away(&one.sql).is_some());
        assert_eq!(found, seen, "{sql}");
    }
    let agreed = statements("-- contract: unused since 0.3.0\nDROP TABLE old;\nDROP TABLE young;");
    assert_eq!(agreed.iter().map(|one| one.agreed).collect::<Vec<_>>(), [true, false]);
}
