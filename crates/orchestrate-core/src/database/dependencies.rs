//! Which environments need which: an index; what counts is sealed with what is live.

use super::Database;
use super::releases::{SELECT, join, read};
use super::sql::query;
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::release::Release;

impl Database {
    /// What is live in the environments that ever declared that they need this one.
    pub(crate) async fn list_dependants(&self, environment: &EnvironmentName) -> Result<Vec<Release>> {
        let sql = join(
            SELECT,
            "WHERE r.id IN (SELECT n.live_release_id FROM environments n JOIN dependencies d ON d.dependant = n.name \
             WHERE d.dependency = $1 AND n.deleted_at IS NULL)",
        );
        let rows = query(sql).bind(environment.to_string()).fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }
}
