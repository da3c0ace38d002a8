//! SQLite, called directly: a statement takes microseconds, and handing it to another thread takes more than that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::locker;
use super::row::{Cause, Cell, Row};
use super::sql::{Query, Value};

/// `busy_timeout` is 0 because a lock is awaited here, where the rest of the program goes on meanwhile.
const SETTINGS: &str = "PRAGMA busy_timeout = 0; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA foreign_keys = ON;";

/// So many prepared statements are kept, which is about all that there are: to prepare one takes longer than to run it.
const STATEMENTS: usize = 128;

/// How long another program's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause; each next one is twice as long, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Where statements run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the caller's thread: a command has nothing else to do meanwhile.
    Here,
    /// On a thread for what blocks: a daemon goes on while the disk is slow.
    Aside,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// None while a statement runs aside, and for good if its caller went away meanwhile.
    connection: Option<Connection>,
    place: Place,
}

impl Session {
    pub async fn open(path: &Path, place: Place) -> Result<Self, Cause> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut session = Self { connection: Some(connection), place };
        session.patiently(|connection| connection.execute_batch(SETTINGS)).await?;
        Ok(session)
    }

    /// Whether it can be given to the next one: nothing is half done on it.
    pub fn is_idle(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_autocommit)
    }

    pub async fn execute(&mut self, query: Arc<Query>) -> Result<u64, Cause> {
        self.patiently(move |connection| {
            let mut statement = connection.prepare_cached(&query.sql)?;
            bind(&mut statement, &query.values)?;
            let changed = statement.raw_execute()?;
            Ok(u64::try_from(changed).unwrap_or(u64::MAX))
        })
        .await
    }

    pub async fn fetch_all(&mut self, query: Arc<Query>) -> Result<Vec<Row>, Cause> {
        self.patiently(move |connection| {
            let mut statement = connection.prepare_cached(&query.sql)?;
            bind(&mut statement, &query.values)?;
            let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
            let mut rows = statement.raw_query();
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = (0..columns.len()).map(|index| cell(index, row.get_ref(index)?));
                all.push(Row::new(Arc::clone(&columns), cells.collect::<rusqlite::Result<_>>()?));
            }
            Ok(all)
        })
        .await
    }

    /// Tries again while another program has the lock. Within a transaction there is nothing to wait for: it has the lock.
    async fn patiently<T: Send + 'static>(
        &mut self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Clone + Send + 'static,
    ) -> Result<T, Cause> {
        let (mut pause, mut waited) = (PAUSE, Duration::ZERO);
        loop {
            let waits = self.is_idle() && waited < PATIENCE;
            match self.run(work.clone()).await {
                Err(Cause::Sqlite(error)) if waits && is_busy(&error) => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Cause::Sqlite(error)) if is_busy(&error) => return Err(self.locked(error)),
                result => return result,
            }
        }
    }

    fn locked(&self, error: rusqlite::Error) -> Cause {
        let path = self.connection.as_ref().and_then(Connection::path);
        Cause::Locked { error, by: path.and_then(|path| locker::find(Path::new(path))) }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Cause> {
        let connection = self.connection.take().ok_or(Cause::Gone)?;
        let both = move || {
            let result = work(&connection);
            (connection, result)
        };
        let (connection, result) = match self.place {
            Place::Here => both(),
            Place::Aside => tokio::task::spawn_blocking(both).await.map_err(|_| Cause::Gone)?,
        };
        self.connection = Some(connection);
        Ok(result?)
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// SQLite takes `$2` for a name and numbers names as they come, so each is bound by its name.
fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let number = statement.parameter_name(index).and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        match value.ok_or(rusqlite::Error::InvalidParameterCount(index, values.len()))? {
            Value::Int(value) => statement.raw_bind_parameter(index, value)?,
            Value::Text(value) => statement.raw_bind_parameter(index, value)?,
            Value::Bytes(value) => statement.raw_bind_parameter(index, value)?,
        }
    }
    Ok(())
}

fn cell(index: usize, value: ValueRef<'_>) -> rusqlite::Result<Cell> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Text(text) => Cell::Text(
            std::str::from_utf8(text).map_err(|error| rusqlite::Error::Utf8Error(index, error))?.to_owned(),
        ),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_owned()),
        ValueRef::Real(_) => {
            return Err(rusqlite::Error::InvalidColumnType(index, String::new(), Type::Real));
        }
    })
}
