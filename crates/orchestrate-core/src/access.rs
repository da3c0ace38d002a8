//! Who may do what: named tokens with roles. As soon as there is a token, whatever changes something asks for one.
//!
//! Tokens govern who does what with this program. Whoever can write to its database or read its home can do anything.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::EnvironmentName;
use crate::release::Digest;
use crate::rollback_event::text_enum;
use crate::secrets::SecretText;
use crate::time::Timestamp;

text_enum! {
    /// What a token is for.
    Role {
        /// Looks.
        Viewer = "viewer",
        /// Deploys and rolls back.
        Deployer = "deployer",
        /// Approves and rejects what others deploy.
        Approver = "approver",
        /// Everything, tokens and policies too.
        Admin = "admin",
    }
}

/// What a command does, as far as a role decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Deploying and rolling back are one right: who can break it can mend it.
    Deploy,
    Approve,
    Administer,
}

impl Role {
    const fn has(self, right: Right) -> bool {
        match (self, right) {
            (Self::Admin, _) | (Self::Deployer, Right::Deploy) | (Self::Approver, Right::Approve) => true,
            (Self::Viewer, _) | (Self::Deployer | Self::Approver, _) => false,
        }
    }
}

impl Right {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy and roll back",
            Self::Approve => "approve",
            Self::Administer => "do what only an admin does",
        }
    }

    /// The role to ask for.
    const fn role(self) -> Role {
        match self {
            Self::Deploy => Role::Deployer,
            Self::Approve => Role::Approver,
            Self::Administer => Role::Admin,
        }
    }
}

/// A token as it is recorded: what it is worth, never what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    pub name: String,
    pub roles: Vec<Role>,
    /// Where it counts; empty: everywhere.
    pub environments: Vec<EnvironmentName>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoked_by: Option<String>,
}

impl Token {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether it may do this there; `None` is all of this database.
    pub fn may(&self, right: Right, environment: Option<&EnvironmentName>, now: Timestamp) -> Result<()> {
        if let Some(at) = self.revoked_at {
            return Err(no_good(&self.name, &format!("was revoked at {at}")));
        }
        if let Some(at) = self.expires_at.filter(|at| *at <= now) {
            return Err(no_good(&self.name, &format!("expired at {at}")));
        }
        if !self.roles.iter().any(|role| role.has(right)) {
            let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
            let message = format!("{} ({}) may not {}", self.name, roles.join(", "), right.as_str());
            return Err(Error::refused("ORC-0182", message)
                .hint(format!("ask an admin for a token with the role {}", right.role())));
        }
        let there = self.environments.is_empty()
            || environment.is_some_and(|environment| self.environments.contains(environment));
        if there {
            return Ok(());
        }
        let place = environment.map_or_else(|| "all environments".to_owned(), ToString::to_string);
        let names: Vec<&str> = self.environments.iter().map(EnvironmentName::as_str).collect();
        let message = format!(
            "{} may not {} in {place}: its token is for {}",
            self.name,
            right.as_str(),
            names.join(", ")
        );
        Err(Error::refused("ORC-0182", message).hint("ask an admin for a token for that environment"))
    }
}

fn no_good(name: &str, why: &str) -> Error {
    Error::refused("ORC-0181", format!("the token of {name} {why}"))
        .hint("ask an admin for another: orchestrate token create NAME --role deployer")
}

/// What a token reads: known by its beginning, with as much chance in it as nobody can guess.
#[derive(Clone)]
pub struct TokenText(SecretText);

/// The beginning of every token, so that scanners find what lies about.
const BEGINS: &str = "orc_";

impl TokenText {
    /// A new one, which nobody can guess.
    pub fn random() -> Result<Self> {
        let mut chance = [0; 32];
        getrandom::fill(&mut chance).map_err(|error| Error::bug(format!("no randomness: {error}")))?;
        Ok(Self::new(chance))
    }

    /// From 32 bytes of chance.
    pub fn new(chance: [u8; 32]) -> Self {
        Self(SecretText::new(format!("{BEGINS}{}", Digest::from_bytes(&chance))))
    }

    /// As somebody shows it.
    pub fn shown(text: &str) -> Self {
        Self(SecretText::new(text.trim().to_owned()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What of it is kept.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(roles: &[Role], environments: &[&str]) -> Token {
        Token {
            name: "ada".into(),
            roles: roles.to_vec(),
            environments: environments.iter().map(|name| name.parse().unwrap()).collect(),
            created_at: Timestamp::from_millis(0),
            created_by: "root@here".into(),
            expires_at: Some(Timestamp::from_millis(1000)),
            revoked_at: None,
            revoked_by: None,
        }
    }

    fn may(token: &Token, right: Right, environment: Option<&str>) -> bool {
        let environment: Option<EnvironmentName> = environment.map(|name| name.parse().unwrap());
        token.may(right, environment.as_ref(), Timestamp::from_millis(999)).is_ok()
    }

    #[test]
    fn a_role_has_its_rights_and_no_others() {
        let rights = [Right::Deploy, Right::Approve, Right::Administer];
        let of = |role| rights.map(|right| may(&token(&[role], &[]), right, Some("production")));
        assert_eq!(of(Role::Viewer), [false, false, false]);
        assert_eq!(of(Role::Deployer), [true, false, false]);
        assert_eq!(of(Role::Approver), [false, true, false]);
        assert_eq!(of(Role::Admin), [true, true, true]);
    }

    #[test]
    fn a_token_for_one_environment_counts_nowhere_else() {
        let token = token(&[Role::Admin], &["staging"]);
        assert!(may(&token, Right::Deploy, Some("staging")));
        assert!(!may(&token, Right::Deploy, Some("production")));
        assert!(!may(&token, Right::Administer, None), "all of it is more than staging");
    }

    #[test]
    fn a_token_ends() {
        let mut token = token(&[Role::Admin], &[]);
        let at = |millis| Timestamp::from_millis(millis);
        assert_eq!(token.may(Right::Deploy, None, at(1000)).unwrap_err().code(), "ORC-0181");
        token.revoked_at = Some(at(5));
        assert_eq!(token.may(Right::Deploy, None, at(6)).unwrap_err().code(), "ORC-0181");
    }
}
