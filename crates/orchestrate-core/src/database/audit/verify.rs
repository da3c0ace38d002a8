//! Reading the chain from its beginning: what was altered, removed, put in or moved does not follow any more.

use serde::Serialize;

use super::append::{chain_older, content, opt_hash, page};
use crate::audit_chain::{AuditHead, beginning};
use crate::database::row::{Row, damaged};
use crate::database::sql::query;
use crate::database::{Database, Tx};
use crate::error::Result;
use crate::release::Digest;

/// How many records are read at a time.
const PAGE: usize = 1000;
/// How many findings are told one by one; one break of the chain may be seen in many records.
const MOST: usize = 20;

/// What is wrong with the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// The first record at which it shows.
    pub id: i64,
    pub message: String,
}

/// What reading the whole trail showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub records: u64,
    /// The newest record that is there.
    pub head: AuditHead,
    pub findings: Vec<AuditFinding>,
}

impl Database {
    /// Reads the whole trail, as it was at one moment. With `kept`, also whether the record of that hash is still in it.
    pub async fn verify_audit(&self, kept: Option<&Digest>) -> Result<Verified> {
        chain_older(self).await?;
        let mut tx = self.begin_reading().await?;
        let (mut reading, mut after) = (Reading::new(kept), i64::MIN);
        loop {
            let rows = page(&mut tx, after, PAGE).await?;
            if rows.is_empty() {
                break;
            }
            rows.iter().for_each(|row| reading.take(row));
            after = reading.head.id;
        }
        reading.end(&stored_head(&mut tx).await?);
        tx.rollback().await?;
        let Reading { records, head, findings, .. } = reading;
        Ok(Verified { records, head, findings })
    }
}

async fn stored_head(tx: &mut Tx) -> Result<Option<(i64, String)>> {
    let row = query("SELECT id, hash FROM audit_head").fetch_optional(tx).await?;
    row.map(|row| Ok((row.int("id")?, row.text("hash")?))).transpose()
}

struct Reading<'a> {
    records: u64,
    head: AuditHead,
    findings: Vec<AuditFinding>,
    /// The hash that is looked for, until it is found.
    kept: Option<&'a Digest>,
}

impl<'a> Reading<'a> {
    fn new(kept: Option<&'a Digest>) -> Self {
        let head = AuditHead { id: 0, hash: beginning(), at: None };
        let kept = kept.filter(|kept| **kept != head.hash);
        Self { records: 0, head, findings: Vec::new(), kept }
    }

    fn find(&mut self, id: i64, message: String) {
        if self.findings.len() < MOST {
            self.findings.push(AuditFinding { id, message });
        }
    }

    fn take(&mut self, row: &Row) {
        self.records += 1;
        let before = self.head.clone();
        // Without a number there is no going on after it; the database itself sees to it that each has one.
        let id = row.int("id").unwrap_or(before.id + 1);
        match follows(row, &before.hash) {
            Ok(hash) => self.head.hash = hash,
            Err(Broken { stored, message }) => {
                self.find(id, message);
                // What comes after is measured by what is stored, so that one break is told once.
                self.head.hash = stored.unwrap_or(before.hash);
            }
        }
        (self.head.id, self.head.at) = (id, row.time("at").ok());
        if self.kept == Some(&self.head.hash) {
            self.kept = None;
        }
    }

    fn end(&mut self, stored: &Option<(i64, String)>) {
        let AuditHead { id, hash, .. } = self.head.clone();
        match stored {
            Some((head, at)) if *head == id && *at == hash.as_str() => {}
            Some((head, _)) if *head > id => {
                self.find(id + 1, format!("records {} to {head} are missing at the end", id + 1));
            }
            Some((head, _)) => {
                self.find(
                    id,
                    format!("the trail ends with record {id}, its head is record {head} with another hash"),
                );
            }
            None => self.find(id, "the head of the trail is missing".to_owned()),
        }
        if let Some(kept) = self.kept {
            self.find(
                id,
                format!("no record has the hash {kept}: the one that had it was altered or removed"),
            );
        }
    }
}

struct Broken {
    stored: Option<Digest>,
    message: String,
}

/// The hash of the record if it follows the one before.
fn follows(row: &Row, before: &Digest) -> Result<Digest, Broken> {
    let stored = opt_hash(row).ok().flatten();
    let read = content(row).and_then(|content| {
        stored.clone().ok_or_else(|| damaged("it has no hash")).map(|stored| (content, stored))
    });
    match read {
        Ok((content, hash)) if content.hash(before) == hash => Ok(hash),
        Ok((content, _)) => {
            let id = content.id;
            let message = format!(
                "record {id} does not follow the one before it: it was altered or put in, or one before it was removed or moved"
            );
            Err(Broken { stored, message })
        }
        Err(error) => {
            let id = row.int("id").unwrap_or_default();
            Err(Broken { stored, message: format!("record {id} was not written by orchestrate: {error}") })
        }
    }
}
