//! Tokens. What is kept is a digest, so that who reads the database has none.

use super::audit;
use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx, commit, environments, outbox};
use crate::access::{Role, Token};
use crate::error::{Error, Result};
use crate::name::EnvironmentName;
use crate::notification::{NoticeKind, Override, Told};
use crate::release::Digest;
use crate::time::Timestamp;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    pub name: &'a str,
    pub digest: &'a Digest,
    pub roles: &'a [Role],
    pub environments: &'a [EnvironmentName],
    pub expires_at: Option<Timestamp>,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    /// It is made although nobody with the right asks, because the tokens of the admins are lost.
    pub break_glass: bool,
    pub now: Timestamp,
}

impl Database {
    /// In the order of their names, revoked ones too.
    pub async fn list_tokens(&self) -> Result<Vec<Token>> {
        let rows =
            query("SELECT * FROM tokens ORDER BY name").fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }

    /// The token with this digest.
    pub async fn find_token(&self, digest: &Digest) -> Result<Option<Token>> {
        let row = query("SELECT * FROM tokens WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Whether there is a token, so that whatever changes something asks for one.
    pub async fn asks_for_tokens(&self) -> Result<bool> {
        let row = query("SELECT name FROM tokens LIMIT 1");
        Ok(row.fetch_optional(&mut *self.connection().await?).await?.is_some())
    }

    /// Records a new token. The first one has to be an admin's of everything, or nobody could make another.
    pub async fn create_token(&self, new: &NewToken<'_>) -> Result<()> {
        let mut tx = self.begin().await?;
        let is_first = query("SELECT name FROM tokens LIMIT 1").fetch_optional(&mut tx).await?.is_none();
        if is_first && !(new.roles.contains(&Role::Admin) && new.environments.is_empty()) {
            let message = "the first token has to be an admin's, for all environments: from then on only an admin makes tokens";
            return Err(Error::refused("ORC-0184", message)
                .hint(format!("make it: orchestrate token create {} --role admin", new.name)));
        }
        let changed = query(
            "INSERT INTO tokens (name, digest, roles, environments, created_at, created_by, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
        )
        .bind(new.name.to_owned())
        .bind(new.digest.to_string())
        .bind(to_json(&new.roles)?)
        .bind(to_json(&new.environments)?)
        .bind(new.now.to_string())
        .bind(new.actor.to_owned())
        .bind(new.expires_at.map(|at| at.to_string()))
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            return Err(Error::refused("ORC-0183", format!("there is a token named {} already", new.name))
                .hint("take another name: records name who did something, so a name is never given twice"));
        }
        let detail = serde_json::json!({
            "token": new.name, "roles": new.roles, "environments": new.environments, "expires_at": new.expires_at,
            "reason": new.reason, "break_glass": new.break_glass,
        });
        audit::record_of_all(&mut tx, new.now, new.actor, "token_created", &detail);
        if new.break_glass {
            tell_everybody(&mut tx, new).await?;
        }
        commit(tx).await
    }

    /// Ends a token; the last one of an admin stays.
    pub async fn revoke_token(&self, name: &str, actor: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        let rows = query("SELECT * FROM tokens").fetch_all(&mut tx).await?;
        let tokens: Vec<Token> = rows.iter().map(read).collect::<Result<_>>()?;
        let names = || tokens.iter().map(|token| token.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(token) = tokens.iter().find(|token| token.name == name) else {
            return Err(Error::refused("ORC-0183", format!("there is no token named {name}"))
                .hint(format!("there are: {}", names())));
        };
        if let Some(at) = token.revoked_at {
            return Err(Error::refused(
                "ORC-0183",
                format!("the token of {name} was revoked already, at {at}"),
            ));
        }
        let of_admin = |token: &&Token| {
            token.is_good(now) && token.roles.contains(&Role::Admin) && token.environments.is_empty()
        };
        if of_admin(&token) && tokens.iter().filter(of_admin).count() == 1 {
            let message = format!("the token of {name} is the last one of an admin");
            return Err(Error::refused("ORC-0184", message)
                .hint("make another first: orchestrate token create NAME --role admin"));
        }
        revoke(&mut tx, name, actor, now).await?;
        audit::record_of_all(&mut tx, now, actor, "token_revoked", &serde_json::json!({ "token": name }));
        commit(tx).await
    }
}

/// Whoever has a channel in any environment hears of a token that nobody with the right made.
async fn tell_everybody(tx: &mut Tx, new: &NewToken<'_>) -> Result<()> {
    for environment in environments::fetch_all(tx).await? {
        let roles = new.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
        let about = Override {
            subject: format!("token-{}", new.name),
            what: format!("a token for {} ({roles})", new.name),
            version: None,
            actor: new.actor.to_owned(),
            reason: new.reason.map(str::to_owned),
            overrode: "only an admin makes tokens".to_owned(),
        };
        let told = Told::Override(Box::new(about));
        outbox::tell(tx, &environment, NoticeKind::BreakGlass, told, None, new.now).await?;
    }
    Ok(())
}

async fn revoke(tx: &mut Tx, name: &str, actor: &str, now: Timestamp) -> Result<()> {
    query("UPDATE tokens SET revoked_at = $2, revoked_by = $3 WHERE name = $1")
        .bind(name.to_owned())
        .bind(now.to_string())
        .bind(actor.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

fn read(row: &Row) -> Result<Token> {
    Ok(Token {
        name: row.text("name")?,
        roles: row.json("roles")?,
        environments: row.json("environments")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        revoked_by: row.opt_text("revoked_by")?,
    })
}
