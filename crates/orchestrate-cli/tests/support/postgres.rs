//! A database for a test, on the PostgreSQL of the test run.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A database of its own on the server of the test run, dropped at the end.
pub struct Postgres {
    server: String,
    name: String,
}

impl Postgres {
    pub fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("ORCHESTRATE_TEST_POSTGRES_URL")
            .expect("ORCHESTRATE_TEST_POSTGRES_URL is not set: run `make test`, which starts PostgreSQL");
        let name = format!("cli_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let postgres = Self { server, name };
        postgres.sql(&format!("create database {}", postgres.name));
        postgres
    }

    pub fn sql(&self, statement: &str) {
        self.ask(statement, &self.server);
    }

    /// What the database of its own answers.
    pub fn query(&self, statement: &str) -> String {
        self.ask(statement, &self.url())
    }

    fn ask(&self, statement: &str, at: &str) -> String {
        let output = Command::new("psql").args(["-X", "-q", "-t", "-A", "-c", statement, at]).output();
        let output = output.expect("psql is there: run `make test`, which installs it");
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn url(&self) -> String {
        let (before, parameters) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (address, _) = before.rsplit_once('/').unwrap();
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("{address}/{}{mark}{parameters}", self.name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.sql(&format!("drop database if exists {} with (force)", self.name));
    }
}
