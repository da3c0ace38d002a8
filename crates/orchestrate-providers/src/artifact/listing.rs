//! The canonical listing of a tree, whose SHA-256 is the artifact's digest: a line an entry, sorted by path.
//!
//! Only what decides how the tree runs is in it: kind, executable or not, size, content, link target.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use orchestrate_core::release::Digest;

/// The first line, so that a later form of listing cannot be taken for this one.
const HEADER: &str = "orchestrate-tree 1";

/// One entry of a tree; its path is the key it is kept under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { executable: bool, size: u64, content: Digest },
    Link { target: Vec<u8> },
}

/// Relative paths, `/` between their parts, as bytes: file names need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

impl Listing {
    pub fn digest(&self) -> Digest {
        Digest::of(self.encode().as_bytes())
    }

    /// The size of all files.
    pub fn size(&self) -> u64 {
        let size = |entry: &Entry| if let Entry::File { size, .. } = entry { *size } else { 0 };
        self.entries.values().map(size).sum()
    }

    pub fn encode(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (path, entry) in &self.entries {
            let path = escape(path);
            // Writing to a String cannot fail.
            let _ = match entry {
                Entry::Directory => writeln!(text, "d {path}"),
                Entry::Link { target } => writeln!(text, "l {path} {}", escape(target)),
                Entry::File { executable, size, content } => {
                    writeln!(text, "{} {path} {size} {content}", if *executable { 'x' } else { 'f' })
                }
            };
        }
        text
    }

    /// The listing that `text` encodes, or nothing where it is not one.
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let entries = lines.map(decode_line).collect::<Option<_>>()?;
        Some(Self { entries })
    }
}

fn decode_line(line: &str) -> Option<(Vec<u8>, Entry)> {
    let parts: Vec<&str> = line.split(' ').collect();
    let entry = match parts[..] {
        ["d", _] => Entry::Directory,
        ["l", _, target] => Entry::Link { target: unescape(target)? },
        [kind @ ("f" | "x"), _, size, content] => Entry::File {
            executable: kind == "x",
            size: size.parse().ok()?,
            content: Digest::try_from(content.to_owned()).ok()?,
        },
        _ => return None,
    };
    Some((unescape(parts.get(1)?)?, entry))
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_reads_back_whatever_its_paths_are() {
        let mut listing = Listing::default();
        let content = Digest::of(b"x");
        for name in [&b"a b"[..], b"%41", b"line\nbreak", b"\xff\xfe", b"d/\xc3\xa4"] {
            let entry = Entry::File { executable: name.len() > 3, size: 1, content: content.clone() };
            listing.entries.insert(name.to_vec(), entry);
        }
        listing.entries.insert(b"d".to_vec(), Entry::Directory);
        listing.entries.insert(b"l".to_vec(), Entry::Link { target: b"a b".to_vec() });
        assert_eq!(Listing::decode(&listing.encode()), Some(listing));
    }

    #[test]
    fn what_is_not_a_listing_is_not_read_as_one() {
        for text in ["", "orchestrate-tree 2\n", "orchestrate-tree 1\nd", "orchestrate-tree 1\nf a 1 beef\n"]
        {
            assert_eq!(Listing::decode(text), None, "{text:?}");
        }
    }
}
