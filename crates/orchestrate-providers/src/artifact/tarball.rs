//! Tar archives, compressed or not, read as a stream that is stopped as soon as it is too large.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use orchestrate_core::Result;
use tar::EntryType;

use super::error;
use super::tree::{OverLimit, TreeWriter};

/// What long names and extended attributes of one entry may take: the tar reader keeps them in memory.
const HEADER_ALLOWANCE: u64 = 1 << 20;
const BLOCK: u64 = 512;

pub(super) fn unpack_gzip(packed: impl Read, tree: &mut TreeWriter) -> Result<()> {
    unpack(MultiGzDecoder::new(BufReader::with_capacity(128 * 1024, packed)), tree)
}

pub(super) fn unpack_zstd(packed: impl Read, tree: &mut TreeWriter) -> Result<()> {
    let mut decoder = zstd::Decoder::new(packed).map_err(|cause| tree.broken(&cause))?;
    // 128 MiB, what `zstd -d` takes without being asked; a header may otherwise claim gigabytes of memory.
    decoder.window_log_max(27).map_err(|cause| tree.broken(&cause))?;
    unpack(decoder, tree)
}

pub(super) fn unpack(stream: impl Read, tree: &mut TreeWriter) -> Result<()> {
    let gauge = Rc::new(Gauge::default());
    let mut archive = tar::Archive::new(Metered { inner: stream, gauge: Rc::clone(&gauge) });
    let mut entries = archive.entries().map_err(|cause| tree.broken(&cause))?;
    loop {
        gauge.allowance.set(HEADER_ALLOWANCE);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|cause| tree.broken(&cause))?;
        gauge.allowance.set(tree.limits.bytes.saturating_add(HEADER_ALLOWANCE));
        unpack_entry(&mut entry, tree)?;
        // Whatever is left of it would otherwise be read under the header's allowance.
        io::copy(&mut entry, &mut io::sink()).map_err(|cause| tree.broken(&cause))?;
    }
    gauge.allowance.set(tree.limits.bytes);
    // To the very end: the checksum of a compressed stream comes last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|cause| tree.broken(&cause))?;
    if gauge.zeros.get() < BLOCK {
        return Err(error::unusable(&tree.origin, "it is truncated: the mark of its end is missing")
            .hint("build or copy it again"));
    }
    Ok(())
}

fn unpack_entry<R: Read>(entry: &mut tar::Entry<'_, R>, tree: &mut TreeWriter) -> Result<()> {
    let name = entry.path_bytes().into_owned();
    let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
    let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
    match entry.header().entry_type() {
        // Old archives mark a directory by its last slash only.
        EntryType::Regular if name.ends_with(b"/") => tree.directory(&name),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            tree.file(&name, executable, entry)
        }
        EntryType::Directory => tree.directory(&name),
        EntryType::Symlink => tree.symlink(&name, &target),
        EntryType::Link => tree.hard_link(&name, &target),
        // `git archive` puts the commit here.
        EntryType::XGlobalHeader => Ok(()),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Err(tree.special(&name)),
        other => {
            let kind = char::from(other.as_byte()).escape_default().to_string();
            Err(error::unusable(&tree.origin, &format!("it has an entry of unknown kind `{kind}`")))
        }
    }
}

#[derive(Default)]
struct Gauge {
    /// How many more bytes may be read before the next entry.
    allowance: Cell<u64>,
    /// How many zero bytes the stream ended in so far.
    zeros: Cell<u64>,
}

struct Metered<R> {
    inner: R,
    gauge: Rc<Gauge>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.gauge.allowance.get().checked_sub(read as u64);
        self.gauge.allowance.set(left.ok_or_else(|| io::Error::other(OverLimit))?);
        let zeros = buffer[..read].iter().rev().take_while(|byte| **byte == 0).count();
        let before = if zeros == read { self.gauge.zeros.get() } else { 0 };
        self.gauge.zeros.set(before.saturating_add(zeros as u64));
        Ok(read)
    }
}
