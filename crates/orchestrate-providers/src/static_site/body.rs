//! A part of a file as the body of an answer, read bit by bit.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

const CHUNK: u64 = 64 * 1024;

/// What is still to be sent: a part of a file, or a short text of ours.
pub struct FileBody {
    file: Option<Arc<File>>,
    text: Bytes,
    at: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    pub fn empty() -> Self {
        Self::text("")
    }

    pub fn text(text: &str) -> Self {
        let text = Bytes::copy_from_slice(text.as_bytes());
        Self { file: None, at: 0, left: text.len() as u64, text, reading: None }
    }

    /// So many bytes of the file, from `at` on.
    pub async fn open(path: &Path, at: u64, count: u64) -> io::Result<Self> {
        let path = path.to_owned();
        let file = spawn_blocking(move || File::open(path)).await.map_err(io::Error::other)??;
        Ok(Self { file: Some(Arc::new(file)), text: Bytes::new(), at, left: count, reading: None })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Some(file) = self.file.clone() else {
            self.left = 0;
            return Poll::Ready(Some(Ok(Frame::data(self.text.clone()))));
        };
        let (at, count) = (self.at, self.left.min(CHUNK));
        let reading = self.reading.get_or_insert_with(|| spawn_blocking(move || read(&file, at, count)));
        let bytes = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten();
        self.reading = None;
        if let Ok(bytes) = &bytes {
            self.at += bytes.len() as u64;
            self.left -= bytes.len() as u64;
        }
        Poll::Ready(Some(bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn read(file: &File, at: u64, count: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer.into())
}
