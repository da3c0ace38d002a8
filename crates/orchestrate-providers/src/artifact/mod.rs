//! Artifacts, kept once each under the SHA-256 of their content: `<home>/artifacts/<digest>/{listing,tree}`.
//!
//! The listing is the digest's pre-image, so whatever is read later is held against it file by file.

mod directory;
mod discard;
mod error;
mod git;
mod incoming;
mod listing;
mod restore;
mod signature;
mod tarball;
mod tree;
mod zipfile;

use std::fs;
use std::path::{Path, PathBuf};

use orchestrate_core::Result;
use orchestrate_core::release::{Artifact, Digest};

pub use restore::free_space;
pub use signature::Signing;

use incoming::Incoming;
use listing::Listing;
use tree::TreeWriter;

/// What an artifact may at most be, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArtifactLimits {
    /// The size of all files together.
    pub bytes: u64,
    /// The number of files, directories and links.
    pub entries: usize,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self { bytes: 2 << 30, entries: 200_000 }
    }
}

/// The artifacts of one home. Several processes may use the same home at once.
#[derive(Debug)]
pub struct ArtifactStore {
    directory: PathBuf,
    limits: ArtifactLimits,
}

impl ArtifactStore {
    /// Touches nothing until it is used.
    pub fn new(home: &Path, limits: ArtifactLimits) -> Self {
        Self { directory: home.join("artifacts"), limits }
    }

    /// Takes in a directory, a `.tar.gz`, `.tar.zst`, `.tar` or `.zip`, or one executable file. Blocks.
    ///
    /// With `signing`, only an archive or an executable that has the signature is unpacked.
    pub fn take_in_path(&self, path: &Path, signing: Option<&Signing>) -> Result<Artifact> {
        let about = fs::metadata(path).map_err(|cause| error::unreadable(path, cause))?;
        let incoming = Incoming::begin(&self.directory)?;
        let verified = match signing {
            Some(signing) => {
                Some(signature::verified_copy(path, signing, &incoming.scratch(), self.limits.bytes)?)
            }
            None => None,
        };
        let mut tree = TreeWriter::new(incoming.tree(), path.display().to_string(), self.limits);
        if about.is_dir() {
            self.refuse_own_parent(path)?;
            directory::copy(path, &mut tree)?;
        } else if about.is_file() {
            take_in_file(verified.as_deref().unwrap_or(path), &mut tree)?;
        } else {
            return Err(error::unusable(&path.display().to_string(), "it is neither a directory nor a file"));
        }
        let listing = tree.finish()?;
        let artifact = self.keep(incoming, listing, path.display().to_string(), None)?;
        Ok(Artifact { signed_by: signing.map(|signing| signing.public_key.clone()), ..artifact })
    }

    /// Whether the file has the signature that it must have to be taken in. Keeps nothing. Blocks.
    pub fn check_signature(&self, path: &Path, signing: &Signing) -> Result<()> {
        let incoming = Incoming::begin(&self.directory)?;
        signature::verified_copy(path, signing, &incoming.scratch(), self.limits.bytes).map(drop)
    }

    /// Takes in the tree of a tag or commit of a git repository, by means of the `git` command. Blocks.
    ///
    /// `repository` is a local path, or anything that `git clone` takes.
    pub fn take_in_git(&self, repository: &str, reference: &str) -> Result<Artifact> {
        let incoming = Incoming::begin(&self.directory)?;
        let origin = format!("git {repository} {reference}");
        let mut tree = TreeWriter::new(incoming.tree(), origin.clone(), self.limits);
        let commit = git::unpack(repository, reference, &incoming.scratch(), &mut tree)?;
        let listing = tree.finish()?;
        self.keep(incoming, listing, origin, Some(commit))
    }

    /// Whether an artifact of this digest was taken in. Says nothing about its bytes.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.listing_path(digest).is_file()
    }

    /// The text of one small file of an artifact that was taken in; none if it has no such file.
    pub fn read(&self, digest: &Digest, name: &str) -> Result<Option<String>> {
        const LARGEST: u64 = 1024 * 1024;
        let path = self.tree_path(digest).join(name);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() && about.len() <= LARGEST => {}
            Ok(_) => return Err(error::unusable(name, "it is not a file of at most 1 MiB")),
            Err(_) => return Ok(None),
        }
        fs::read_to_string(&path).map(Some).map_err(|cause| error::unreadable(&path, cause))
    }

    /// Moves what was unpacked into its place, unless equal content is there already and still intact.
    fn keep(
        &self,
        incoming: Incoming,
        listing: Listing,
        origin: String,
        commit: Option<git::Commit>,
    ) -> Result<Artifact> {
        let digest = listing.digest();
        let (commit, committed_at) = commit.map_or((None, None), |commit| (Some(commit.id), commit.at));
        let size = listing.size();
        let artifact = Artifact { digest, origin, size, commit, committed_at, signed_by: None, image: None };
        let place = self.directory.join(artifact.digest.as_str());
        if self.touch(&artifact.digest).map_err(|cause| error::store(&place, cause))? {
            return Ok(artifact);
        }
        incoming.install(&listing, &place, || self.verify(&artifact.digest).is_ok())?;
        Ok(artifact)
    }

    /// A directory that holds this store would be copied into itself for ever.
    fn refuse_own_parent(&self, path: &Path) -> Result<()> {
        let real = |path: &Path| path.canonicalize().map_err(|cause| error::unreadable(path, cause));
        if real(&self.directory)?.starts_with(real(path)?) {
            let why = format!("it holds orchestrate's own home, {}", self.directory.display());
            return Err(error::unusable(&path.display().to_string(), &why)
                .hint("build the artifact in a directory of its own, or choose another --home"));
        }
        Ok(())
    }

    fn listing_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.as_str()).join("listing")
    }

    fn tree_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.as_str()).join("tree")
    }
}

fn take_in_file(path: &Path, tree: &mut TreeWriter) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let has = |endings: &[&str]| endings.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending));
    let open = || fs::File::open(path).map_err(|cause| error::unreadable(path, cause));
    if has(&[".tar.gz", ".tgz"]) {
        tarball::unpack_gzip(open()?, tree)
    } else if has(&[".tar.zst", ".tar.zstd", ".tzst"]) {
        tarball::unpack_zstd(open()?, tree)
    } else if has(&[".tar"]) {
        tarball::unpack(open()?, tree)
    } else if has(&[".zip"]) {
        zipfile::unpack(open()?, tree)
    } else if has(&[".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".7z", ".rar", ".gz", ".zst", ".xz", ".bz2"]) {
        Err(error::unusable(&path.display().to_string(), "this kind of archive is not supported")
            .hint("pack it as .tar.gz, .tar.zst or .zip"))
    } else {
        directory::copy_executable(path, tree)
    }
}
