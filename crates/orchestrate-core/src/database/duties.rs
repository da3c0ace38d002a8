//! What one daemon at a time does, of all that share the database: a turn that ends by the database's clock.

use super::Database;
use super::sql::query;
use crate::error::Result;
use crate::time::Span;

impl Database {
    /// Takes the duty for `ttl`, or keeps it for as long again; false while it is another site's.
    pub async fn take_duty(&self, duty: &str, site: &str, ttl: Span) -> Result<bool> {
        let now = self.clock();
        let sql = format!(
            "INSERT INTO duties (duty, site, until) VALUES ($1, $2, {now} + $3) ON CONFLICT (duty) DO UPDATE \
             SET site = $2, until = {now} + $3 WHERE duties.site = $2 OR duties.until < {now}"
        );
        let taken = query(sql)
            .bind(duty.to_owned())
            .bind(site.to_owned())
            .bind(span_millis(ttl))
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(taken == 1)
    }

    /// Whether it is this site's turn still, for at least `span`.
    pub async fn has_duty(&self, duty: &str, site: &str, span: Span) -> Result<bool> {
        let sql = format!(
            "SELECT 1 AS one FROM duties WHERE duty = $1 AND site = $2 AND until > {} + $3",
            self.clock()
        );
        let row = query(sql)
            .bind(duty.to_owned())
            .bind(site.to_owned())
            .bind(span_millis(span))
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        Ok(row.is_some())
    }

    /// Leaves it to the others at once.
    pub async fn leave_duty(&self, duty: &str, site: &str) -> Result<()> {
        query("DELETE FROM duties WHERE duty = $1 AND site = $2")
            .bind(duty.to_owned())
            .bind(site.to_owned())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }
}

pub(super) fn span_millis(span: Span) -> i64 {
    i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX)
}
