//! Another program at the state's database.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::{Builder, Runtime};

use super::scene::Scene;

/// A connection that holds the database's write lock until it is dropped.
pub struct Lock {
    runtime: Runtime,
    connection: Option<SqliteConnection>,
}

impl Scene {
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
