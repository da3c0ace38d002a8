//! The keys of the home's secrets: in a file, or printed by a command. What was proven right once is remembered in the
//! home, so that a daemon, or a command in another shell, finds the same keys.

mod command;
mod file;
mod rotate;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::secrets::{KeyRing, KeySource, Look};
use orchestrate_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use rotate::rotate;

use crate::home::Home;

pub const FILE: &str = "ORCHESTRATE_KEY_FILE";
pub const COMMAND: &str = "ORCHESTRATE_KEY_COMMAND";
/// The name of the key's file in the home, and of what is remembered of another place.
const IN_HOME: &str = "key";
const REMEMBERED: &str = "key-source.json";

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    File(PathBuf),
    /// A program and its arguments; its output is the key.
    Command(Vec<String>),
}

impl Place {
    /// What the environment of this program says, if it says anything.
    fn named() -> Result<Option<Self>> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match (set(FILE), set(COMMAND)) {
            (Some(_), Some(_)) => Err(Error::usage("ORC-0236", format!("{FILE} and {COMMAND} are both set"))
                .hint(format!("keep one of the two: unset {FILE}"))),
            (Some(path), None) => {
                let path = PathBuf::from(path);
                // A daemon works in another directory.
                Ok(Some(Self::File(std::path::absolute(&path).unwrap_or(path))))
            }
            (None, Some(text)) => command::words(&text.to_string_lossy()).map(Self::Command).map(Some),
            (None, None) => Ok(None),
        }
    }

    async fn read(&self) -> Result<KeyRing> {
        match self {
            Self::File(path) => file::read(path),
            Self::Command(words) => command::run(words).await,
        }
    }
}

/// The keys of one home.
pub struct HomeKeys {
    home: Home,
    /// What a command printed: asking it again for every instance would make a vault part of every start.
    printed: Mutex<Option<(Place, KeyRing)>>,
}

impl HomeKeys {
    pub fn new(home: Home) -> Self {
        Self { home, printed: Mutex::default() }
    }

    /// Where this home's keys are: as the environment says, as it was remembered, else in the home.
    pub fn place(&self) -> Result<Place> {
        match Place::named()? {
            Some(place) => Ok(place),
            None => Ok(self.remembered()?.unwrap_or_else(|| self.in_home())),
        }
    }

    /// Whether there is a key where it should be; a command's is there until it is asked for.
    pub fn may_be_there(&self) -> Result<bool> {
        Ok(match self.place()? {
            Place::File(path) => file::is_there(&path),
            Place::Command(_) => true,
        })
    }

    /// Remembers what the environment says, once it was shown to have the key that secrets are sealed with.
    pub async fn remember(&self, db: &Database) -> Result<()> {
        // What is wrong with it is told to whoever needs a key.
        let Ok(Some(place)) = Place::named() else { return Ok(()) };
        // What cannot be read is written anew.
        if self.remembered().ok().flatten().as_ref() == Some(&place) {
            return Ok(());
        }
        let (Some(wanted), Ok(ring)) = (db.sealing_key().await?, place.read().await) else { return Ok(()) };
        if ring.find(&wanted).is_none() {
            return Ok(());
        }
        let text = serde_json::to_vec(&place).map_err(|error| Error::bug(error.to_string()))?;
        let path = self.home.path(REMEMBERED);
        file::replace(&path, &text).map_err(|cause| file::unusable(&path, cause))
    }

    fn in_home(&self) -> Place {
        Place::File(self.home.path(IN_HOME))
    }

    fn remembered(&self) -> Result<Option<Place>> {
        let path = self.home.path(REMEMBERED);
        let forgotten = |cause: std::io::Error| {
            let message = format!("where the key is was kept in {}, which cannot be read", path.display());
            Error::refused("ORC-0237", message).source(cause).hint(format!(
                "name its place again, it is remembered then: {FILE}=/the/key orchestrate doctor; or, if the key is in the \
                 home: rm {}",
                path.display()
            ))
        };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| forgotten(cause.into())),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(forgotten(cause)),
        }
    }

    async fn at(&self, place: &Place) -> Result<KeyRing> {
        let known = |keys: &Self| keys.printed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (place, known(self)) {
            (Place::Command(_), Some((of, ring))) if of == *place => Ok(ring),
            (Place::Command(_), _) => self.anew(place).await,
            (Place::File(_), _) => place.read().await,
        }
    }

    async fn anew(&self, place: &Place) -> Result<KeyRing> {
        let ring = place.read().await?;
        if let Place::Command(_) = place {
            let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
            *printed = Some((place.clone(), ring.clone()));
        }
        Ok(ring)
    }

    /// Every key that can be found; the first place's error, if there is none.
    async fn everywhere(&self) -> Result<KeyRing> {
        let first = self.place()?;
        let mut found = self.anew(&first).await;
        for place in self.remembered().ok().flatten().into_iter().chain([self.in_home()]) {
            if place == first {
                continue;
            }
            if let Ok(ring) = place.read().await {
                found = Ok(match found {
                    Ok(known) => known.and_all(ring),
                    Err(_) => ring,
                });
            }
        }
        found
    }
}

#[async_trait]
impl KeySource for HomeKeys {
    async fn keys(&self, look: Look) -> Result<KeyRing> {
        match (look, self.place()?) {
            (Look::Usual, place) => self.at(&place).await,
            (Look::OrMake, Place::File(path)) if !file::is_there(&path) => file::create(&path),
            (Look::OrMake, place) => self.at(&place).await,
            (Look::Everywhere, _) => self.everywhere().await,
        }
    }
}
