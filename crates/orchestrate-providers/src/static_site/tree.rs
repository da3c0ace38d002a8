//! The files of a site, all known before the first request: what is not among them is not served, whatever is asked for.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use orchestrate_core::release::Digest;
use sha2::{Digest as _, Sha256};

/// The one directory whose name starts with a dot that is served, because it is made to be (RFC 8615).
const WELL_KNOWN: &str = ".well-known";
/// Ends of names that mean the same content in another coding, the best one first.
const CODINGS: &[(&str, &str)] = &[("br", ".br"), ("gzip", ".gz")];

/// By path, without a slash in front.
#[derive(Debug, Default)]
pub struct Tree {
    files: HashMap<String, Page>,
    directories: std::collections::HashSet<String>,
}

/// One file, as itself and in other codings.
#[derive(Debug)]
pub struct Page {
    pub plain: Content,
    pub coded: Vec<(&'static str, Content)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub path: PathBuf,
    pub size: u64,
    /// Of the bytes, so that every instance of a release, and every release with the same bytes, says the same.
    pub etag: String,
}

impl Tree {
    /// Reads every file once. Blocks.
    pub fn read(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let mut contents = HashMap::new();
        let mut tree = Self::default();
        tree.walk(&root, &root, "", &mut contents)?;
        for path in contents.keys() {
            let coded = CODINGS
                .iter()
                .filter_map(|(coding, end)| Some((*coding, contents.get(&format!("{path}{end}"))?.clone())));
            let page = Page { plain: contents[path].clone(), coded: coded.collect() };
            tree.files.insert(path.clone(), page);
        }
        Ok(tree)
    }

    pub fn file(&self, path: &str) -> Option<&Page> {
        self.files.get(path)
    }

    /// Whether it is the path of a directory, which ends without a slash.
    pub fn is_directory(&self, path: &str) -> bool {
        self.directories.contains(path)
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    fn walk(
        &mut self,
        root: &Path,
        directory: &Path,
        prefix: &str,
        contents: &mut HashMap<String, Content>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // A name that is not UTF-8 cannot be asked for.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') && !(prefix.is_empty() && name == WELL_KNOWN) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.walk(root, &entry.path(), &format!("{path}/"), contents)?;
                self.directories.insert(path);
            } else if let Some(file) = real_file(root, &entry.path(), kind.is_symlink()) {
                contents.insert(path, content(file)?);
            }
        }
        Ok(())
    }
}

/// The file itself; a link counts only if it leads to a file of the site that is served too.
fn real_file(root: &Path, path: &Path, is_link: bool) -> Option<PathBuf> {
    let real = if is_link { path.canonicalize().ok()? } else { path.to_owned() };
    let inside = real.strip_prefix(root).ok()?;
    let hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".") && part != WELL_KNOWN;
    (real.is_file() && !inside.iter().any(hidden)).then_some(real)
}

fn content(path: PathBuf) -> io::Result<Content> {
    let mut file = File::open(&path)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
    let digest = Digest::from_bytes(&hash.finalize());
    Ok(Content { path, size, etag: format!("\"{}\"", &digest.as_str()[..32]) })
}
