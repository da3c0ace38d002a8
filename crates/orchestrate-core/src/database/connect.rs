//! Opening the state: where it is, its settings, and its schema.

use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, PgConnection};

use super::connection::Source;
use super::row::{Cause, store_error};
use super::sql::query;
use super::{Backend, Database, audit};
use crate::error::{Error, Result};

static SQLITE: Migrator = sqlx::migrate!("../../migrations");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The newest schema that this program knows, of a file.
pub(super) fn known_schema() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or(0)
}

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
            return Ok(Self::Postgres(super::url::with_whole_paths(text)));
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
        let backend = match url {
            DatabaseUrl::Sqlite(path) => {
                create_private(path)?;
                Backend::Sqlite
            }
            DatabaseUrl::Postgres(_) => Backend::Postgres,
        };
        let database = Self { source: Source::new(url.clone(), connections), backend };
        database.migrate(url).await?;
        Ok(database)
    }

    /// Asks SQLite whether the file is whole; PostgreSQL looks after its own.
    pub async fn check_integrity(&self) -> Result<()> {
        if self.backend == Backend::Postgres {
            return Ok(());
        }
        let row = query("PRAGMA quick_check(1)").fetch_one(&mut *self.connection().await?).await?;
        let found = row.text("quick_check")?;
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
            let found = self.schema_version().await.map_err(|cause| opening_error(url, cause))?;
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
            match run(migrator, url).await {
                Ok(()) => return audit::chain_older(self).await,
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

    async fn schema_version(&self) -> Result<i64, Cause> {
        let newest = query("SELECT MAX(version) AS version FROM _sqlx_migrations");
        match newest.try_fetch_all(&mut *self.source.try_get().await?).await {
            Ok(rows) => {
                let version = rows.first().and_then(|row| row.opt_int("version").ok().flatten());
                Ok(version.unwrap_or(0))
            }
            Err(error) if error.is_missing_table() => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Brings the schema up to date, on a connection of its own.
async fn run(migrator: &Migrator, url: &DatabaseUrl) -> std::result::Result<(), MigrateError> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(5));
            let mut connection = SqliteConnection::connect_with(&options).await?;
            migrator.run(&mut connection).await?;
            connection.close().await?;
        }
        DatabaseUrl::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await?;
            migrator.run(&mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(())
}

fn opening_error(url: &DatabaseUrl, cause: Cause) -> Error {
    let wrong = matches!(cause, Cause::Postgres(sqlx::Error::Configuration(_)));
    if let Some(error) = certificate_error(url) {
        return error;
    }
    let error = store_error(cause);
    match error.code() {
        "ORC-0417" | "ORC-0418" | "ORC-0421" => {
            let hint = error.hint_text().unwrap_or_default().to_owned();
            Error::failed(error.code(), format!("the database {url} cannot be used")).hint(hint).source(error)
        }
        _ if wrong => Error::usage("ORC-0203", format!("the database {url} cannot be used")).source(error),
        "ORC-0409" => Error::failed("ORC-0406", format!("the database {url} cannot be reached"))
            .hint("check that the server runs and that --database-url is right; nothing was changed")
            .source(error),
        _ => error,
    }
}

/// A file that the URL names and that cannot be read; the error of the connection does not say which it is.
fn certificate_error(url: &DatabaseUrl) -> Option<Error> {
    let DatabaseUrl::Postgres(text) = url else { return None };
    let named = |name| super::url::parameter(text, name);
    let files = ["sslrootcert", "sslcert", "sslkey"].into_iter().filter_map(named);
    files.filter(|file| file.starts_with('/')).find_map(|file| {
        let error = std::fs::File::open(&file).err()?;
        Some(
            Error::usage(
                "ORC-0422",
                format!("the file {file}, which the URL of the database {url} names, cannot be read"),
            )
            .hint("name the whole path of a file in PEM format: sslrootcert=/etc/ssl/db-ca.pem")
            .source(error),
        )
    })
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
