//! `signing:` of the config file: whose signature an artifact must have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys;
use super::reader::{Field, Read};

/// The bytes of a minisign public key: two for the algorithm, eight for the key's number, the key.
const KEY_BYTES: usize = 42;

/// The public key, as in the second line of a `minisign.pub`.
pub(super) fn read(field: &Field<'_>) -> Read<String> {
    let section = field.section(keys::SIGNING)?;
    section.required("public_key")?.parsed("a public key", |text| {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        if bytes.len() == KEY_BYTES && bytes.starts_with(b"Ed") {
            return Ok(text.to_owned());
        }
        Err("is not a public key of minisign; write the second line of `minisign.pub`, which starts with `RW`".into())
    })
}
