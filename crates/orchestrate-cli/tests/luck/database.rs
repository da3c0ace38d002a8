//! Another program at the state's database.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::{Builder, Runtime};

use super::scene::Scene;

/// A connection that holds the database's write lock until it is dropped.
pub struct Lock {
    runtime: Runtime,
    connection: Option<SqliteConnection>,
}

/// Another process with the write lock, killed when this is dropped.
pub struct Elsewhere(std::process::Child);

impl Elsewhere {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LOCKED: &str = "it is locked";

#[test]
#[ignore = "it is a program that locks a database for another test"]
fn hold() {
    let Some(path) = std::env::var_os("LUCK_DATABASE") else { return };
    let runtime = runtime();
    let options = SqliteConnectOptions::new().filename(path);
    let _connection = runtime.block_on(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    writeln!(std::io::stdout(), "{LOCKED}").unwrap();
    // Until it is killed, or nobody is left who could.
    let _ = std::io::stdin().read_line(&mut String::new());
}

impl Scene {
    pub fn lock_database_elsewhere(&self) -> Elsewhere {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "luck::database::hold", "--ignored", "--nocapture"])
            .env("LUCK_DATABASE", self.home.join("orchestrate.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let locked = lines.map_while(Result::ok).any(|line| line.contains(LOCKED));
        let elsewhere = Elsewhere(child);
        assert!(locked, "the database could not be locked");
        elsewhere
    }

    pub fn lock_database(&self) -> Lock {
        let runtime = runtime();
        let connection = runtime.block_on(async {
            let mut connection = self.connect(5).await;
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            connection
        });
        Lock { runtime, connection: Some(connection) }
    }

    /// Whether nobody holds the write lock for longer than a moment.
    pub fn can_write(&self) -> bool {
        runtime().block_on(async {
            let mut connection = self.connect(1).await;
            let began = sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await;
            let _ = connection.close().await;
            began.is_ok()
        })
    }

    pub fn sql(&self, statement: &str) {
        runtime().block_on(async {
            let mut connection = self.connect(5).await;
            sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    async fn connect(&self, patience: u64) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.home.join("orchestrate.db"));
        let options = options.busy_timeout(std::time::Duration::from_secs(patience));
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let connection = self.connection.take();
        self.runtime.block_on(async { connection.unwrap().close().await.unwrap() });
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
