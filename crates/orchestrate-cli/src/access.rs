//! In whose name a command changes something, and whether it may: by a token, once there is one.

use std::path::PathBuf;

use orchestrate_core::access::{Right, Token, TokenText};
use orchestrate_core::database::{Asked, Database};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::{Error, Result};

const TOKEN: &str = "ORCHESTRATE_TOKEN";
const TOKEN_FILE: &str = "ORCHESTRATE_TOKEN_FILE";

/// Who types, as far as it can be told.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody made a token here, so names are taken on trust.
    Trusted(String),
    /// By the token that was shown.
    Known(Box<Token>),
    /// A token is asked for, and none was shown.
    Unknown(String),
}

impl Caller {
    /// Reads the token of the environment, and what the database knows of it.
    pub async fn of(db: &Database) -> Result<Self> {
        let Some(shown) = shown()? else {
            let name = crate::host::actor();
            return Ok(if db.asks_for_tokens().await? { Self::Unknown(name) } else { Self::Trusted(name) });
        };
        match db.find_token(&shown.digest()).await? {
            Some(token) => Ok(Self::Known(Box::new(token))),
            None if db.asks_for_tokens().await? => {
                Err(Error::refused("ORC-0181", format!("the token in `{TOKEN}` is not one of this database"))
                    .hint("ask an admin for one: orchestrate token create NAME --role deployer"))
            }
            // A script that shows a token everywhere works where there are none, too.
            None => Ok(Self::Trusted(crate::host::actor())),
        }
    }

    /// The name for the records.
    pub fn name(&self) -> &str {
        match self {
            Self::Trusted(name) | Self::Unknown(name) => name,
            Self::Known(token) => &token.name,
        }
    }

    /// Whether it may do this there; `None` is all of the database.
    pub fn may(&self, right: Right, environment: Option<&EnvironmentName>) -> Result<()> {
        match self {
            Self::Trusted(_) => Ok(()),
            Self::Known(token) => token.may(right, environment, SystemClock.now()),
            Self::Unknown(_) => Err(Error::refused("ORC-0180", "a token is needed to change something here")
                .hint(format!("set `{TOKEN}`, or `{TOKEN_FILE}` to a file with it; an admin makes one: orchestrate token create NAME --role deployer"))),
        }
    }

    /// The same, with its refusal on record.
    pub async fn must(
        &self,
        db: &Database,
        right: Right,
        environment: &EnvironmentName,
        what: &'static str,
    ) -> Result<()> {
        let asked = Asked { environment, actor: self.name(), what, version: None, reason: None };
        db.noted(&asked, self.may(right, Some(environment)), SystemClock.now()).await
    }
}

/// What was shown, from the environment or a file; an empty one is none.
fn shown() -> Result<Option<TokenText>> {
    let named = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    if let Some(text) = named(TOKEN) {
        return Ok(Some(TokenText::shown(&text)));
    }
    let Some(path) = named(TOKEN_FILE).map(PathBuf::from) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Error::usage("ORC-0218", format!("{} cannot be read", path.display()))
            .hint(format!("`{TOKEN_FILE}` names a file with a token in it"))
            .source(error)
    })?;
    Ok(Some(TokenText::shown(&text)))
}
