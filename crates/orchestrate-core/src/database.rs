//! State on SQLite and PostgreSQL: the same methods, the same SQL, one file an aggregate.

pub(crate) mod approvals;
pub(crate) mod audit;
pub mod backup;
mod check;
mod connect;
mod connection;
mod dependencies;
pub(crate) mod deployments;
#[cfg(test)]
pub(crate) mod disk;
pub(crate) mod drills;
mod duties;
pub(crate) mod environments;
pub(crate) mod groups;
pub(crate) mod holds;
pub(crate) mod leases;
mod locker;
pub(crate) mod operations;
pub(crate) mod outbox;
mod policies;
mod postgres;
mod readiness;
mod refusals;
pub(crate) mod releases;
mod report;
pub(crate) mod restored;
pub(crate) mod rollbacks;
pub(crate) mod rollouts;
mod row;
mod secrets;
mod session;
pub(crate) mod sites;
pub(crate) mod slots;
mod sql;
mod sqlite;
mod tally;
mod tokens;
mod traces;
mod url;

pub use approvals::Say;
pub use audit::{AuditFinding, AuditRecord, Verified};
pub use check::Checked;
pub use connect::DatabaseUrl;
pub use environments::EnvironmentRecord;
pub use environments::Live;
pub use holds::HoldRecord;
pub(crate) use leases::lost as lease_lost;
pub use leases::{Holder, Lease};
pub use operations::{OperationRecord, OperationStatus};
pub use outbox::{FailedAttempt, Flush, NewNotice, OutboxRecord, OutboxStatus};
pub use readiness::ReadinessRecord;
pub use refusals::Asked;
pub use secrets::{Resealed, SecretRecord};
pub use sites::{Adopted, Site, SiteRecord};
pub use tally::{DeploymentCount, RollbackCount};
pub use tokens::NewToken;
pub use traces::{TraceCount, TraceState};

#[cfg(feature = "failpoints")]
pub(crate) use row::Cause;
pub(crate) use sql::query;

use crate::error::Result;

/// A handle to the state, cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    source: connection::Source,
    backend: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Sqlite,
    Postgres,
}

pub(crate) use connection::Tx;

impl Database {
    /// Starts a transaction that will write: on SQLite it takes the write lock at once, so it cannot fail half-way.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        let statement = match self.backend {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN",
        };
        Tx::begin(&self.source, statement).await
    }

    /// Starts a transaction that only reads, and sees the database as it is at one moment.
    async fn begin_reading(&self) -> Result<Tx> {
        let statement = match self.backend {
            Backend::Sqlite => "BEGIN",
            Backend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Tx::begin(&self.source, statement).await
    }

    async fn connection(&self) -> Result<connection::Connection> {
        self.source.get().await
    }

    /// Closes the connections; on SQLite the last one to close folds the write-ahead log back.
    pub async fn close(&self) {
        self.source.close().await;
    }

    /// Whether homes on several machines may share it.
    pub fn is_shared(&self) -> bool {
        self.backend == Backend::Postgres
    }

    /// The database's own time in milliseconds, as an expression: also within a transaction that began long ago.
    fn clock(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
            Backend::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// A word for people: `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgres",
        }
    }
}

pub(crate) async fn commit(tx: Tx) -> Result<()> {
    tx.commit().await
}
