//! Secret values: masked in every output, wiped from memory, encrypted where they are kept (XChaCha20-Poly1305).

mod ring;

pub use ring::{KeyRing, KeySource, Look};

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, Result};

/// A secret value. Its `Debug` is masked, it has no `Display` and no `Serialize`, and its memory is wiped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value itself; whoever calls this must not print or log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The key that a home's secrets are encrypted with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Error::bug(format!("no randomness: {error}")))?;
        Ok(Self(bytes))
    }

    /// From the 32 bytes of a key file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| {
            Error::usage("ORC-0210", format!("a key has {KEY_BYTES} bytes, this one has {}", bytes.len()))
                .hint("restore the key file from a backup; without it the sealed secrets cannot be read")
        })?;
        Ok(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells keys apart and says nothing of the key: sixteen hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"orchestrate key fingerprint");
        hash.update(self.0);
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Encrypts `value`, bound to `label`, so that one secret's ciphertext cannot stand in for another's.
    pub fn seal(&self, label: &str, value: &SecretText) -> Result<Vec<u8>> {
        let mut sealed = vec![0; NONCE_BYTES];
        getrandom::fill(&mut sealed).map_err(|error| Error::bug(format!("no randomness: {error}")))?;
        let nonce =
            XNonce::try_from(sealed.as_slice()).map_err(|_| Error::bug("a nonce of the wrong length"))?;
        let payload = Payload { msg: value.expose().as_bytes(), aad: label.as_bytes() };
        let text = self
            .cipher()
            .encrypt(&nonce, payload)
            .map_err(|_| Error::bug("a secret could not be encrypted"))?;
        sealed.extend(text);
        Ok(sealed)
    }

    /// The value that was sealed under `label`; an error where key, label or bytes are not what they were.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<SecretText> {
        let unreadable = || unreadable(label);
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(unreadable)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| unreadable())?;
        let payload = Payload { msg: text, aad: label.as_bytes() };
        let bytes = self.cipher().decrypt(&nonce, payload).map_err(|_| unreadable())?;
        String::from_utf8(bytes).map(SecretText::new).map_err(|error| {
            error.into_bytes().zeroize();
            unreadable()
        })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

fn unreadable(label: &str) -> Error {
    Error::refused("ORC-0211", format!("the secret {label} cannot be decrypted"))
        .hint("the key at hand is not the one the secret was sealed with; restore that one from a backup, or, where several homes \
               share a database, have all of them use one key: ORCHESTRATE_KEY_FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_under_its_own_key_and_label() {
        let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let sealed = key.seal("production/DB_PASSWORD/1", &SecretText::new("hunter2")).unwrap();
        assert_eq!(key.open("production/DB_PASSWORD/1", &sealed).unwrap().expose(), "hunter2");
        assert!(key.open("production/DB_PASSWORD/2", &sealed).is_err());
        assert!(other.open("production/DB_PASSWORD/1", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(key.open("production/DB_PASSWORD/1", &sealed[..cut]).is_err());
        }
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert!(!format!("{:?}", SecretText::new("hunter2")).contains("hunter2"));
    }
}
