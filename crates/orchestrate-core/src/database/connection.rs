//! Who may use which connection: a few are opened as they are needed and kept for the next one who asks.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connect::DatabaseUrl;
use super::row::{Cause, store_error};
use super::session::Session;
use super::sql::query;
use super::{audit, postgres, sqlite};
use crate::error::Result;
use crate::failpoint;

/// How long a connection is waited for while all are in use.
const PATIENCE: Duration = Duration::from_secs(15);

/// Gives out connections; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: DatabaseUrl,
    place: sqlite::Place,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    /// How many transactions of this program wrote notices.
    notices: watch::Sender<u64>,
    #[cfg(test)]
    disk: std::sync::OnceLock<Arc<super::disk::Disk>>,
}

impl Source {
    /// With only one connection its user does one thing after another, and has nothing to do while SQLite works.
    pub(super) fn new(url: DatabaseUrl, connections: u32) -> Self {
        let place = if connections == 1 { sqlite::Place::Here } else { sqlite::Place::Aside };
        let free = Arc::new(Semaphore::new(connections as usize));
        let shared = Shared {
            url,
            place,
            free,
            idle: Mutex::default(),
            notices: watch::Sender::new(0),
            #[cfg(test)]
            disk: Default::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    #[cfg(test)]
    pub(super) fn put_on(&self, disk: &Arc<super::disk::Disk>) {
        self.shared.disk.get_or_init(|| Arc::clone(disk));
    }

    /// Changes whenever notices were written.
    pub(super) fn notices(&self) -> watch::Receiver<u64> {
        self.shared.notices.subscribe()
    }

    /// A connection for the statements of one caller. With only one, others wait until it is dropped.
    pub(super) async fn get(&self) -> Result<Connection> {
        self.try_get().await.map_err(store_error)
    }

    pub(super) async fn try_get(&self) -> Result<Connection, Cause> {
        let waiting = tokio::time::timeout(PATIENCE, Arc::clone(&self.shared.free).acquire_owned());
        let permit = waiting.await.map_err(|_| Cause::Gone)?.map_err(|_| Cause::Gone)?;
        let idle = self.shared.idle().pop();
        let session = match (idle, &self.shared.url) {
            (Some(session), _) => session,
            (None, DatabaseUrl::Sqlite(path)) => {
                Session::Sqlite(sqlite::Session::open(path, self.shared.place).await?)
            }
            (None, DatabaseUrl::Postgres(url)) => Session::Postgres(postgres::Session::open(url).await?),
        };
        let connection =
            Connection { session: Some(session), shared: Arc::clone(&self.shared), _permit: permit };
        #[cfg(test)]
        let connection = connection.on_its_disk().await?;
        Ok(connection)
    }

    /// Lets the connections go; whoever waits for one is told that the database does not answer.
    pub(super) async fn close(&self) {
        self.shared.free.close();
        let idle = std::mem::take(&mut *self.shared.idle());
        for session in idle {
            session.close().await;
        }
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that somebody uses.
pub(crate) struct Connection {
    /// Empty only while it is dropped.
    session: Option<Session>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

#[cfg(test)]
impl Connection {
    async fn on_its_disk(mut self) -> Result<Self, Cause> {
        if let Some(disk) = self.shared.disk.get().cloned() {
            disk.bear(&mut self).await?;
        }
        Ok(self)
    }
}

const THERE: &str = "a connection is there as long as it is used";

impl Deref for Connection {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "it is taken out only when it is dropped")]
    fn deref(&self) -> &Session {
        self.session.as_ref().expect(THERE)
    }
}

impl DerefMut for Connection {
    #[expect(clippy::expect_used, reason = "it is taken out only when it is dropped")]
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect(THERE)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(Session::is_idle)
            && !self.shared.free.is_closed()
        {
            self.shared.idle().push(session);
        }
    }
}

/// A transaction. Dropped without an end, its connection is closed, which undoes what was written.
pub(crate) struct Tx {
    connection: Connection,
    /// What goes into the audit trail when it commits.
    pub(super) audit: Vec<audit::Pending>,
    /// Whether it writes notices.
    pub(super) tells: bool,
    ended: bool,
}

impl Tx {
    /// `statement` begins it.
    pub async fn begin(source: &Source, statement: &'static str) -> Result<Self> {
        let connection = source.get().await?;
        let mut tx = Self { connection, audit: Vec::new(), tells: false, ended: false };
        let began = failpoint!("database/begin", query(statement).try_execute(&mut tx).await);
        began.map_err(store_error)?;
        Ok(tx)
    }

    pub async fn commit(mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.audit);
        audit::append(&mut self, entries).await?;
        #[cfg(test)]
        let disk = self.connection.shared.disk.get().cloned();
        let told = self.tells.then(|| self.connection.shared.notices.clone());
        failpoint!("database/commit", self.end("COMMIT").await).map_err(store_error)?;
        #[cfg(test)]
        disk.map_or(Ok(()), |disk| disk.answer()).map_err(store_error)?;
        if let Some(told) = told {
            told.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    pub async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await.map_err(store_error)
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Cause> {
        query(statement).try_execute(&mut self).await?;
        // Now the connection may be used again.
        self.ended = true;
        Ok(())
    }
}

impl Deref for Tx {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.session = None;
        }
    }
}
