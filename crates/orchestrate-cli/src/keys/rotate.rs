//! Another key for the home's secrets. At every instant the keys on disk open every secret: the next key is on disk before
//! the secrets are sealed with it, and the one before gives way only after that.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use orchestrate_core::database::{Database, Resealed};
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::secrets::{KeySource as _, Look, SecretKey};
use orchestrate_core::{Error, Result, failpoint};
use rustix::fs::{FlockOperation, flock};

use super::{HomeKeys, Place, file};

/// What became of the keys.
pub struct Rotated {
    pub resealed: Resealed,
    /// The key that secrets are sealed with now, by its fingerprint.
    pub key: String,
}

/// A key in a file is replaced by a new one. A command's newest key takes the place of its older ones.
pub async fn rotate(keys: &HomeKeys, db: &Database, skip: bool, actor: &str) -> Result<Rotated> {
    let _turn = turn(keys)?;
    let (place, now) = (keys.place()?, SystemClock.now());
    let (resealed, key) = match &place {
        Place::File(path) => {
            finish_earlier(path, db).await?;
            if skip && !file::is_there(path) {
                // Who says so knows that it is lost for good.
                file::create(path)?;
            }
            let ring = keys.keys(Look::Everywhere).await?;
            let fresh = prepare(path)?;
            let resealed = db.reseal_secrets(&ring, &fresh, skip, actor, now).await?;
            install(path)?;
            (resealed, fresh.fingerprint())
        }
        Place::Command(_) => {
            let newest = place.read().await?.newest().clone();
            let ring = keys.keys(Look::Everywhere).await?;
            (db.reseal_secrets(&ring, &newest, skip, actor, now).await?, newest.fingerprint())
        }
    };
    keys.remember(db).await?;
    Ok(Rotated { resealed, key })
}

/// Whoever changes the keys of a home does so alone.
fn turn(keys: &HomeKeys) -> Result<File> {
    let path = keys.home.path("key.lock");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|cause| file::unusable(&path, cause))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::refused("ORC-0215", "another rotation of this home's key is on its way")
            .hint("wait for its end, then look: orchestrate doctor")),
    }
}

/// What a rotation that was cut off has left: a key that is in use by now, or one that never came into use.
async fn finish_earlier(path: &Path, db: &Database) -> Result<()> {
    let next = file::next(path);
    if !file::is_there(&next) {
        return Ok(());
    }
    // What cannot be read may be the key that everything is sealed with: it must not give way to another one.
    let coming = file::read_one(&next)?;
    if db.sealing_key().await? == Some(coming.fingerprint()) {
        return install(path);
    }
    failpoint!("key/forget", fs::remove_file(&next)).map_err(|cause| file::unusable(&next, cause))
}

fn prepare(path: &Path) -> Result<SecretKey> {
    let (key, next) = (SecretKey::generate()?, file::next(path));
    file::replace(&next, key.as_bytes()).map_err(|cause| file::unusable(&next, cause))?;
    Ok(key)
}

fn install(path: &Path) -> Result<()> {
    let rename = failpoint!("key/install", fs::rename(file::next(path), path));
    let moved = rename.and_then(|()| file::sync_directory(path));
    moved.map_err(|cause| file::unusable(path, cause))
}

#[cfg(test)]
mod tests;
