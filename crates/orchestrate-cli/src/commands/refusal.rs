//! What a command refuses before core is asked is recorded as well.

use orchestrate_core::Result;
use orchestrate_core::database::{Asked, Database};
use orchestrate_core::ports::{Clock as _, SystemClock};

/// Gives the result back, after its refusal was recorded.
pub async fn noted<T>(db: &Database, asked: Asked<'_>, result: Result<T>) -> Result<T> {
    db.noted(&asked, result, SystemClock.now()).await
}
