//! Signatures made by minisign: what is unpacked is a private copy whose bytes were verified, never the file itself, which
//! somebody could change meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use orchestrate_core::{Error, Result};

use super::error;

/// A signature has four lines.
const LARGEST: u64 = 16 * 1024;

/// Whose signature an artifact must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// As in the second line of a `minisign.pub`.
    pub public_key: String,
    /// The version that is being deployed: a signature may say for which one it was made.
    pub version: String,
}

/// Copies the artifact into `scratch` and returns the copy, if it is signed. Nothing else was touched before.
pub(super) fn verified_copy(path: &Path, signing: &Signing, scratch: &Path, most: u64) -> Result<PathBuf> {
    if !path.is_file() {
        return Err(missing(path, "a directory cannot be signed")
            .hint("pack it as .tar.gz and sign the archive: minisign -Sm ARTIFACT"));
    }
    let key = PublicKey::from_base64(&signing.public_key)
        .map_err(|cause| wrong(path, "the public key cannot be read").source(cause))?;
    let signature = read(path)?;
    let mut verifier = key.verify_stream(&signature).map_err(|cause| {
        wrong(path, "the signature was made with another key, or in the old way").source(cause)
    })?;
    let failed = |cause: io::Error| error::store(scratch, cause);
    fs::DirBuilder::new().mode(0o700).create(scratch).map_err(failed)?;
    let copy = scratch.join(path.file_name().unwrap_or_default());
    let mut from = File::open(path).map_err(|cause| error::unreadable(path, cause))?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy).map_err(failed)?;
    let (mut buffer, mut copied) = (vec![0; 256 * 1024], 0);
    loop {
        let read = from.read(&mut buffer).map_err(|cause| error::unreadable(path, cause))?;
        if read == 0 {
            break;
        }
        copied += read as u64;
        if copied > most {
            return Err(error::too_large(&path.display().to_string(), &format!("{most} bytes")));
        }
        verifier.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(failed)?;
    }
    verifier.finalize().map_err(|cause| wrong(path, "the signature is not of this file").source(cause))?;
    is_meant(path, &signature, signing)?;
    Ok(copy)
}

fn read(path: &Path) -> Result<Signature> {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    let beside = PathBuf::from(name);
    let about = fs::metadata(&beside).map_err(|cause| {
        missing(path, &format!("{} is not there", beside.display()))
            .hint(format!("sign it: minisign -Sm {}", path.display()))
            .source(cause)
    })?;
    let text = match about.is_file() && about.len() <= LARGEST {
        true => fs::read_to_string(&beside).ok(),
        false => None,
    };
    let signature = text.and_then(|text| Signature::decode(&text).ok());
    signature.ok_or_else(|| wrong(path, &format!("{} is no signature", beside.display())))
}

/// A trusted comment may say `version:V` and, as minisign writes it, `file:NAME`: an old artifact, signed as it is, does not
/// pass for a new one.
fn is_meant(path: &Path, signature: &Signature, signing: &Signing) -> Result<()> {
    let comment = signature.trusted_comment();
    let said = |key: &str| comment.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let other = |what: &str, said: &str| {
        let why = format!("its signature is for the {what} `{}`", said.escape_debug());
        Err(Error::refused("ORC-0310", format!("artifact {} is refused: {why}", path.display())).hint(
            format!(
                "deploy what was signed, or sign this: minisign -Sm {} -t 'version:{}'",
                path.display(),
                signing.version
            ),
        ))
    };
    match (said("version:"), said("file:")) {
        (Some(version), _) if version != signing.version => other("version", version),
        // The name of a file with blanks ends at the first one here; then it says nothing.
        (None, Some(file)) if file != name && !name.contains(' ') => other("file", file),
        _ => Ok(()),
    }
}

fn missing(path: &Path, why: &str) -> Error {
    Error::refused(
        "ORC-0308",
        format!("artifact {} is refused, because it has no signature: {why}", path.display()),
    )
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::refused("ORC-0309", format!("artifact {} is refused: {why}", path.display())).hint(
        "get it anew from where it was built; if the signing key was changed, change `signing.public_key`",
    )
}
