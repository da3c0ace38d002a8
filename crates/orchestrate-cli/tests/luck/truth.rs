//! Whether what is recorded is what runs.

use std::collections::BTreeSet;

use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::name::EnvironmentName;
use serde_json::Value;

use super::processes::Kind;
use super::scene::Scene;
use super::streams::get;

impl Scene {
    /// The version that users get, all of them the same.
    #[track_caller]
    pub fn answering(&self) -> String {
        let ask = || get(self.address, "/version").expect("the live address answers").trim().to_owned();
        let versions: BTreeSet<String> = self.there(|| (0..6).map(|_| ask()).collect());
        assert_eq!(versions.len(), 1, "answers of {versions:?}");
        versions.into_iter().next().unwrap()
    }

    /// Returns once no operation is open, and nobody holds a lease.
    #[track_caller]
    pub fn await_quiet(&self) -> Value {
        let status = super::until("the operation ends", || {
            let status = self.status();
            status["operation"].is_null().then_some(status)
        });
        assert!(!self.is_leased(), "no operation, but a lease");
        status
    }

    pub fn is_leased(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let named = self.variables.iter().find(|(name, _)| name == "ORCHESTRATE_DATABASE_URL");
            let url = named.map(|(_, url)| DatabaseUrl::parse(url).unwrap());
            let url = url.unwrap_or_else(|| DatabaseUrl::Sqlite(self.home.join("orchestrate.db")));
            let db = Database::open(&url).await.unwrap();
            let lease = db.lease(&EnvironmentName::new("production").unwrap()).await.unwrap();
            lease.is_some_and(|lease| lease.operation.is_some() || lease.holder.is_some())
        })
    }

    /// What is recorded as live answers; what is recorded runs, and nothing else does. Returns the live version.
    #[track_caller]
    pub fn records_are_true(&self) -> String {
        let status = self.await_quiet();
        let live = status["live"]["version"].as_str().unwrap_or_else(|| panic!("nothing live: {status}"));
        assert_eq!(self.answering(), live, "{status}");
        let latest = status["latest"]["status"].as_str().unwrap();
        assert!(!["pending", "validating"].contains(&latest), "the latest deployment is {latest}");
        // What lost its traffic a moment ago may still be on its way out.
        super::until(&format!("what runs is what is recorded; {status}"), || {
            let status = self.status();
            let (mut expected, mut whole) = (Vec::new(), true);
            for row in status["traffic"].as_array().unwrap() {
                whole &= ["live", "warm"].contains(&row["state"].as_str().unwrap());
                whole &= row["weight"] == if row["state"] == "live" { 100 } else { 0 };
                whole &= row["instances"] == 2 && row["healthy"] == 2;
                let slot = row["slot"].as_str().unwrap();
                let version = row["version"].as_str().unwrap();
                expected.extend((1..=2).map(|n| (version.to_owned(), format!("{slot}-web-{n}"))));
            }
            let found = self.instances().into_iter().map(|process| (process.version, process.instance));
            let mut found: Vec<_> = found.collect();
            found.sort();
            expected.sort();
            (whole && found == expected).then_some(())
        });
        for kind in [Kind::Daemon, Kind::Proxy] {
            let count = self.processes().iter().filter(|process| process.kind == kind).count();
            assert!(count <= 1, "{count} times {kind:?}");
        }
        live.to_owned()
    }
}
