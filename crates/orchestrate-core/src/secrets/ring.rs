//! The keys at hand, and who has them: mostly one; two while a rotation is on its way.

use async_trait::async_trait;

use super::{SecretKey, SecretText, unreadable};
use crate::error::Result;

/// Where keys are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Where they are kept.
    Usual,
    /// The same, and where there is no key yet, one is made: somebody is about to seal the first secret.
    OrMake,
    /// Once more, and in every place where one may be: the usual one did not do.
    Everywhere,
}

/// Whoever keeps the keys of a home.
#[async_trait]
pub trait KeySource: Send + Sync {
    async fn keys(&self, look: Look) -> Result<KeyRing>;
}

/// Keys, the newest first.
#[derive(Clone)]
pub struct KeyRing {
    newest: SecretKey,
    others: Vec<SecretKey>,
}

impl KeyRing {
    pub fn new(newest: SecretKey) -> Self {
        Self { newest, others: Vec::new() }
    }

    /// With another key that may have sealed what is read.
    #[must_use]
    pub fn and(mut self, other: SecretKey) -> Self {
        self.others.push(other);
        self
    }

    /// With all keys of another ring.
    #[must_use]
    pub fn and_all(mut self, other: Self) -> Self {
        self.others.push(other.newest);
        self.others.extend(other.others);
        self
    }

    pub fn newest(&self) -> &SecretKey {
        &self.newest
    }

    pub fn find(&self, fingerprint: &str) -> Option<&SecretKey> {
        self.all().find(|key| key.fingerprint() == fingerprint)
    }

    /// The value that one of these keys sealed under `label`.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<SecretText> {
        self.all().find_map(|key| key.open(label, sealed).ok()).ok_or_else(|| unreadable(label))
    }

    fn all(&self) -> impl Iterator<Item = &SecretKey> {
        std::iter::once(&self.newest).chain(&self.others)
    }
}

#[async_trait]
impl KeySource for KeyRing {
    async fn keys(&self, _: Look) -> Result<KeyRing> {
        Ok(self.clone())
    }
}

#[async_trait]
impl KeySource for SecretKey {
    async fn keys(&self, _: Look) -> Result<KeyRing> {
        Ok(KeyRing::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_ring_opens_what_it_sealed() {
        let [old, new, other] = std::array::from_fn(|_| SecretKey::generate().unwrap());
        let sealed = old.seal("a/B/1", &SecretText::new("hunter2")).unwrap();
        let ring = KeyRing::new(new.clone()).and(old.clone());
        assert_eq!(ring.open("a/B/1", &sealed).unwrap().expose(), "hunter2");
        assert_eq!(ring.open("a/B/2", &sealed).unwrap_err().code(), "ORC-0211");
        assert!(KeyRing::new(new.clone()).open("a/B/1", &sealed).is_err());
        assert!(ring.find(&old.fingerprint()).is_some() && ring.find(&other.fingerprint()).is_none());
        assert!(KeyRing::new(other).and_all(ring).find(&new.fingerprint()).is_some());
    }
}
