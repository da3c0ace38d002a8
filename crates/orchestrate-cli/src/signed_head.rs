//! The head of the audit trail as a file: signed with a key that is derived from the home's (Ed25519).

use std::path::Path;

use orchestrate_core::audit_chain::AuditHead;
use orchestrate_core::release::Digest;
use orchestrate_core::secrets::SecretKey;
use orchestrate_core::{Error, Result};
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// What `audit head --format json` prints and `audit verify --head FILE` reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptHead {
    #[serde(flatten)]
    pub head: AuditHead,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl KeptHead {
    pub fn unsigned(head: AuditHead) -> Self {
        Self { head, public_key: None, signature: None }
    }

    pub fn signed(head: AuditHead, key: &SecretKey) -> Result<Self> {
        let pair = pair(key)?;
        let signature = hex(pair.sign(&signed_text(&head)).as_ref());
        Ok(Self { head, public_key: Some(hex(pair.public_key().as_ref())), signature: Some(signature) })
    }

    /// From a hash, or from the name of a file.
    pub fn read(text: &str) -> Result<Self> {
        if let Ok(hash) = Digest::try_from(text.to_ascii_lowercase()) {
            return Ok(Self::unsigned(AuditHead { id: 0, hash, at: None }));
        }
        let unusable = |why: String| {
            Error::usage("ORC-0412", format!("{text} is no head of an audit trail: {why}")).hint(
                "give a hash of 64 digits, or the file that this wrote: orchestrate audit head --format json",
            )
        };
        let content =
            std::fs::read_to_string(Path::new(text)).map_err(|error| unusable(error.to_string()))?;
        serde_json::from_str(&content).map_err(|error| unusable(error.to_string()))
    }

    /// Who signed it: `wanted`, or else this home. None if nobody did and nobody was to.
    pub fn signer(
        &self,
        wanted: Option<&str>,
        home: impl FnOnce() -> Result<SecretKey>,
    ) -> Result<Option<&str>> {
        let (Some(key), Some(signature)) = (&self.public_key, &self.signature) else {
            return match wanted {
                Some(_) => Err(invalid("the head is not signed")),
                None => Ok(None),
            };
        };
        let wanted = match wanted {
            Some(wanted) => wanted.to_ascii_lowercase(),
            None => hex(pair(&home()?)?.public_key().as_ref()),
        };
        if wanted != *key {
            return Err(invalid(&format!("the head is signed by {key}, not by {wanted}")).hint(
                "if that is whom you trust, say so: orchestrate audit verify --head FILE --public-key HEX",
            ));
        }
        let (key_bytes, bytes) = (from_hex(key), from_hex(signature));
        let holds = key_bytes.zip(bytes).is_some_and(|(key, signature)| {
            UnparsedPublicKey::new(&ED25519, key).verify(&signed_text(&self.head), &signature).is_ok()
        });
        if holds {
            Ok(Some(key))
        } else {
            Err(invalid("the signature of the head does not hold: it was altered"))
        }
    }
}

fn invalid(message: &str) -> Error {
    Error::needs_attention("ORC-0411", message)
        .hint("the trail was not looked at; without the head it can be: orchestrate audit verify")
}

fn signed_text(head: &AuditHead) -> Vec<u8> {
    let at = head.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    format!("orchestrate audit head\n{}\n{}\n{at}\n", head.id, head.hash).into_bytes()
}

/// A key for this one purpose: knowing it tells nothing of the key that secrets are encrypted with.
fn pair(key: &SecretKey) -> Result<Ed25519KeyPair> {
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), b"orchestrate audit head");
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
        .map_err(|error| Error::bug(format!("no signing key can be made: {error}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> AuditHead {
        AuditHead { id: 7, hash: Digest::of(b"x"), at: "2026-11-22T14:12:01.807Z".parse().ok() }
    }

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_was_signed_is_known_again_and_nothing_else() {
        let signed = KeptHead::signed(head(), &key(1)).unwrap();
        let public = signed.public_key.clone().unwrap();
        assert_eq!(signed.signer(None, || Ok(key(1))).unwrap(), Some(public.as_str()));
        assert_eq!(signed.signer(Some(&public), || unreachable!()).unwrap(), Some(public.as_str()));
        assert_eq!(signed.signer(None, || Ok(key(2))).unwrap_err().code(), "ORC-0411");
        let alter: [fn(&mut KeptHead); 5] = [
            |kept| kept.head.id = 8,
            |kept| kept.head.hash = Digest::of(b"y"),
            |kept| kept.head.at = None,
            |kept| kept.signature = Some("00".repeat(64)),
            |kept| kept.signature = Some("zz".into()),
        ];
        for alter in alter {
            let mut altered = KeptHead::signed(head(), &key(1)).unwrap();
            alter(&mut altered);
            assert_eq!(altered.signer(None, || Ok(key(1))).unwrap_err().code(), "ORC-0411", "{altered:?}");
        }
    }

    #[test]
    fn an_unsigned_head_is_taken_unless_a_signer_is_named() {
        let kept = KeptHead::unsigned(head());
        assert_eq!(kept.signer(None, || unreachable!()).unwrap(), None);
        assert_eq!(kept.signer(Some("00"), || unreachable!()).unwrap_err().code(), "ORC-0411");
        assert_eq!(KeptHead::read(&"0A".repeat(32)).unwrap().head.hash.as_str(), "0a".repeat(32));
        assert_eq!(KeptHead::read("/nowhere").unwrap_err().code(), "ORC-0412");
    }
}
