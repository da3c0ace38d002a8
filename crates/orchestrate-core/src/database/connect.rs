//! Opening the state: where it is, its settings, and its schema.

use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};
use tokio::sync::mpsc;

use super::connection::Source;
use super::row::store_error;
use super::{Backend, Database};
use crate::error::{Error, Result};

static SQLITE: Migrator = sqlx::migrate!("../../migrations");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                        PRAGMA busy_timeout = 5000;";

/// Where the state is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    /// The URL may hold a password, so it is never shown whole.
    Postgres(String),
}

impl DatabaseUrl {
    /// From `--database-url`: `postgres://…`, `postgresql://…`, `sqlite://PATH` or `sqlite:PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(Error::usage("ORC-0203", "the database URL is neither postgres:// nor sqlite://").hint(
                "write for example --database-url postgres://user@host/orchestrate, or --db-path FILE",
            )),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                write!(f, "postgres://{}", host.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Database {
    /// Opens the state and brings its schema up to date; refuses a schema newer than this program.
    pub async fn open(url: &DatabaseUrl) -> Result<Self> {
        Self::open_with(url, 8).await
    }

    /// The same, with at most so many connections: a command that does one thing after another needs one.
    pub async fn open_with(url: &DatabaseUrl, connections: u32) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let backend = match url {
            DatabaseUrl::Sqlite(path) => {
                create_private(path)?;
                Backend::Sqlite
            }
            DatabaseUrl::Postgres(_) => Backend::Postgres,
        };
        let database =
            Self { source: Source::new(connect(url, backend, connections).await?, connections), backend };
        database.migrate(url).await?;
        Ok(database)
    }

    /// Asks SQLite whether the file is whole; PostgreSQL looks after its own.
    pub async fn check_integrity(&self) -> Result<()> {
        if self.backend == Backend::Postgres {
            return Ok(());
        }
        let row = sqlx::query("PRAGMA quick_check(1)")
            .fetch_one(&mut *self.connection().await?)
            .await
            .map_err(store_error)?;
        let found: String = row.try_get(0).map_err(store_error)?;
        if found == "ok" { Ok(()) } else { Err(super::row::damaged(found)) }
    }

    async fn migrate(&self, url: &DatabaseUrl) -> Result<()> {
        let migrator = match self.backend {
            Backend::Sqlite => &SQLITE,
            Backend::Postgres => &POSTGRES,
        };
        let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
        // Two programs may meet on an empty database; the one that comes second finds the work done.
        for attempt in 0.. {
            let found = self.schema_version().await?;
            if found == known {
                return Ok(());
            }
            if found > known {
                return Err(Error::refused(
                    "ORC-0403",
                    format!("{url} has schema {found}; this orchestrate knows schemas up to {known}"),
                )
                .hint("use the newer orchestrate that wrote it, or a database of its own: --db-path FILE"));
            }
            match migrator.run(&mut *self.connection().await?).await {
                Ok(()) => return Ok(()),
                Err(error) if attempt == 3 => {
                    return Err(Error::failed(
                        "ORC-0405",
                        format!("the schema of {url} could not be brought up to date"),
                    )
                    .source(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        Ok(())
    }

    async fn schema_version(&self) -> Result<i64> {
        let newest = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations");
        match newest.fetch_one(&mut *self.connection().await?).await {
            Ok(row) => row.try_get::<Option<i64>, _>("version").map(|v| v.unwrap_or(0)).map_err(store_error),
            Err(sqlx::Error::Database(error)) if is_missing_table(error.as_ref()) => Ok(0),
            Err(error) => Err(store_error(error)),
        }
    }
}

fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.message().contains("no such table") || error.code().as_deref() == Some("42P01")
}

async fn connect(url: &DatabaseUrl, backend: Backend, connections: u32) -> Result<sqlx::AnyPool> {
    let address = match url {
        DatabaseUrl::Sqlite(path) => format!("sqlite://{}?mode=rwc", escape(path)),
        DatabaseUrl::Postgres(url) => url.clone(),
    };
    let options: AnyConnectOptions = address.parse().map_err(|error: sqlx::Error| {
        Error::usage("ORC-0203", format!("the database {url} cannot be used")).source(error)
    })?;
    // The pool would try again and again, and then say nothing but that it took too long.
    if backend == Backend::Postgres {
        let trial =
            tokio::time::timeout(Duration::from_secs(10), AnyConnection::connect_with(&options)).await;
        let trial =
            trial.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| opening_error(url, error))?;
        trial.close().await.map_err(|error| opening_error(url, error))?;
    }
    let (tell, mut told) = mpsc::channel(1);
    let connecting = AnyPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(15))
        .after_connect(move |connection: &mut AnyConnection, _| {
            let tell = tell.clone();
            Box::pin(async move {
                if backend == Backend::Sqlite
                    && let Err(error) = connection.execute(SETTINGS).await
                {
                    tell.try_send(error).map_err(mpsc::error::TrySendError::into_inner)?;
                    return Err(sqlx::Error::Protocol("a connection could not be set up".into()));
                }
                Ok(())
            })
        })
        .connect_with(options);
    tokio::select! {
        biased;
        Some(error) = told.recv() => Err(opening_error(url, error)),
        pool = connecting => pool.map_err(|error| opening_error(url, error)),
    }
}

fn opening_error(url: &DatabaseUrl, error: sqlx::Error) -> Error {
    let error = store_error(error);
    match error.code() {
        "ORC-0409" => Error::failed("ORC-0406", format!("the database {url} cannot be reached"))
            .hint("check that the server runs and that --database-url is right; nothing was changed")
            .source(error),
        _ => error,
    }
}

/// Creates the file readable by its owner only; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> Result<()> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| {
        Error::failed("ORC-0404", format!("the database {} cannot be opened for writing", path.display()))
            .hint("check that the directory exists, is yours and is not full or read-only, or name another with --home")
            .source(error)
    })
}

/// Percent-encodes what a URL would take for something else.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
