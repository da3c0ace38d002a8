//! Tokens: what is kept of them, and how they end.

use orchestrate_core::access::{Right, Role, TokenText};
use orchestrate_core::database::NewToken;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::time::Timestamp;

use super::Fresh;
use super::scene::name;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub async fn a_token_is_kept_as_a_digest_and_ends(fresh: Fresh) {
    let db = fresh.open().await;
    let text = TokenText::new([7; 32]);
    let digest = text.digest();
    let staging: [EnvironmentName; 1] = [name("staging")];
    let new = |name, roles, environments| NewToken {
        name,
        digest: &digest,
        roles,
        environments,
        expires_at: None,
        actor: "root@here",
        reason: None,
        break_glass: false,
        now: at(1000),
    };
    assert!(!db.asks_for_tokens().await.unwrap());
    for (roles, environments) in [(&[Role::Deployer], &[][..]), (&[Role::Admin], &staging[..])] {
        let refused = db.create_token(&new("ada", roles, environments)).await.unwrap_err();
        assert_eq!(refused.code(), "ORC-0184", "the first one is an admin's of everything");
    }
    db.create_token(&new("ada", &[Role::Admin], &[])).await.unwrap();
    assert!(db.asks_for_tokens().await.unwrap());
    let found = db.find_token(&TokenText::shown(text.expose()).digest()).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.is_good(at(1000))), ("ada", true));
    found.may(Right::Administer, None, at(1000)).unwrap();
    assert_eq!(db.find_token(&TokenText::shown("orc_guess").digest()).await.unwrap(), None);
    let other = TokenText::new([8; 32]).digest();
    let again = NewToken { digest: &other, ..new("ada", &[Role::Viewer], &[]) };
    assert_eq!(db.create_token(&again).await.unwrap_err().code(), "ORC-0183");
    assert_eq!(db.revoke_token("ada", "ada", at(2000)).await.unwrap_err().code(), "ORC-0184");
    assert_eq!(db.revoke_token("eve", "ada", at(2000)).await.unwrap_err().code(), "ORC-0183");
    let second = NewToken { digest: &other, ..new("ben", &[Role::Admin], &[]) };
    db.create_token(&second).await.unwrap();
    db.revoke_token("ada", "ben", at(2000)).await.unwrap();
    let ended = db.find_token(&digest).await.unwrap().unwrap();
    assert_eq!(ended.may(Right::Deploy, None, at(2000)).unwrap_err().code(), "ORC-0181");
    let audit = db.list_audit(None, 10).await.unwrap();
    let actions: Vec<&str> = audit.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(actions, ["token_revoked", "token_created", "token_created"]);
    let kept = format!("{audit:?} {:?}", db.list_tokens().await.unwrap());
    assert!(!kept.contains(text.expose()) && !kept.contains(digest.as_str()));
    fresh.clear_up(db).await;
}
