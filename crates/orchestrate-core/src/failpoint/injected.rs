//! The error of an effect that was made to fail, in the words of whoever would have failed.

use std::fmt;
use std::io;

use crate::database::Cause;
use crate::ports::{DeliveryError, PortError};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const SQLITE_IOERR: i32 = 10;
const SQLITE_FULL: i32 = 13;

/// An effect that a rule let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    pub(super) point: &'static str,
    /// For want of space, or else without a reason.
    pub(super) full: bool,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failpoint {}", self.point)?;
        if self.full { f.write_str(": no space left on device") } else { Ok(()) }
    }
}

impl Injected {
    pub fn told<T, E: MadeToFail>(self) -> Result<T, E> {
        Err(E::made(self))
    }
}

/// An error that an effect can be made to fail with. Not `From`, which would change what the compiler infers elsewhere.
pub trait MadeToFail {
    fn made(injected: Injected) -> Self;
}

impl MadeToFail for io::Error {
    fn made(injected: Injected) -> Self {
        Self::from_raw_os_error(if injected.full { ENOSPC } else { EIO })
    }
}

/// Whoever asked does not know whether it was done.
impl MadeToFail for PortError {
    fn made(injected: Injected) -> Self {
        match injected.full {
            true => Self::failed(injected.to_string()),
            false => Self::unreachable(injected.to_string()),
        }
    }
}

impl MadeToFail for DeliveryError {
    fn made(injected: Injected) -> Self {
        Self { message: injected.to_string(), retry: true, retry_after: None }
    }
}

impl MadeToFail for Cause {
    fn made(injected: Injected) -> Self {
        let (code, text) = match injected.full {
            true => (SQLITE_FULL, "database or disk is full"),
            false => (SQLITE_IOERR, "disk I/O error"),
        };
        Self::Sqlite(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(text.to_owned())))
    }
}
