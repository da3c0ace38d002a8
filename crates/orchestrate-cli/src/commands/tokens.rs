//! `orchestrate token …`: who may do what. A token is printed once, and kept as a digest.

use orchestrate_core::Error;
use orchestrate_core::access::{Right, Role, Token, TokenText};
use orchestrate_core::database::NewToken;
use orchestrate_core::name::{EnvironmentName, is_plain_name};
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::time::Timestamp;

use crate::args::{Global, TokenCommand, TokenCreate};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, moment};
use crate::wiring::Wiring;

pub async fn run(global: &Global, command: TokenCommand, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    match command {
        TokenCommand::Create(args) => create(&wiring, args, printer).await,
        TokenCommand::List(_) => list(&wiring, printer).await,
        TokenCommand::Revoke { name, .. } => revoke(&wiring, &name, printer).await,
    }
}

async fn create(wiring: &Wiring, args: TokenCreate, printer: &Printer) -> Ended {
    let name = args.name.as_str();
    if !is_plain_name(name) {
        return Err(Error::usage("ORC-0217", format!("{name:?} is not the name of a token"))
            .hint("use letters, digits, `.`, `_` and `-`, for example the name of who gets it")
            .into());
    }
    let actor = match args.break_glass {
        true => wiring.caller().await?.name().to_owned(),
        false => wiring.actor_of_all(Right::Administer).await?,
    };
    for environment in &args.environments {
        wiring.db.environment(environment).await?;
    }
    if args.expires_in.is_some_and(|span| span.is_zero()) {
        return Err(Error::usage("ORC-0200", "a token that expires at once lets nobody in")
            .hint("write for example --expires-in 90d")
            .into());
    }
    let is_first = !wiring.db.asks_for_tokens().await?;
    let (text, now) = (TokenText::random()?, SystemClock.now());
    let digest = text.digest();
    let new = NewToken {
        name,
        digest: &digest,
        roles: &args.roles,
        environments: &args.environments,
        expires_at: args.expires_in.map(|span| now.plus(span.duration())),
        actor: &actor,
        reason: args.reason.as_deref(),
        break_glass: args.break_glass,
        now,
    };
    wiring.db.create_token(&new).await?;
    if args.break_glass {
        wiring.hand_over().await?;
    }
    let value = serde_json::json!({
        "name": name, "token": text.expose(), "roles": args.roles, "environments": args.environments,
        "expires_at": new.expires_at,
    });
    printer.result(&value, || {
        let first = if is_first {
            "\nit is the first one: from now on whatever changes something here asks for a token"
        } else {
            ""
        };
        let (roles, until) = (roles(&args.roles), until(new.expires_at));
        format!(
            "{}\n{} {name}: {roles}{}{until}; it is not shown again; use it as ORCHESTRATE_TOKEN, or in a file named by \
             ORCHESTRATE_TOKEN_FILE{first}",
            text.expose(),
            printer.good("made for"),
            places(&args.environments)
        )
    });
    Ok(Exit::DONE)
}

fn roles(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

fn places(environments: &[EnvironmentName]) -> String {
    let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" in {}", names.join(", ")) }
}

fn until(expires_at: Option<Timestamp>) -> String {
    expires_at.map_or_else(String::new, |at| format!(", until {} UTC", moment(at)))
}

async fn list(wiring: &Wiring, printer: &Printer) -> Ended {
    let tokens = wiring.db.list_tokens().await?;
    printer.result(&tokens, || {
        if tokens.is_empty() {
            return "there are no tokens: who reaches this database may do everything".to_owned();
        }
        let rows = tokens.iter().map(|token| row(printer, token)).collect();
        printer.table(&["NAME", "ROLES", "ENVIRONMENTS", "SINCE (UTC)", "STATUS"], rows)
    });
    Ok(Exit::DONE)
}

fn row(printer: &Printer, token: &Token) -> Vec<String> {
    let status = match (token.revoked_at, token.expires_at) {
        (Some(at), _) => printer.bad(&format!("revoked {} UTC", moment(at))),
        (None, Some(at)) if at <= SystemClock.now() => printer.bad(&format!("expired {} UTC", moment(at))),
        (None, Some(at)) => format!("good until {} UTC", moment(at)),
        (None, None) => printer.good("good"),
    };
    let environments = match token.environments.is_empty() {
        true => "all".to_owned(),
        false => token.environments.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", "),
    };
    vec![token.name.clone(), roles(&token.roles), environments, moment(token.created_at), status]
}

async fn revoke(wiring: &Wiring, name: &str, printer: &Printer) -> Ended {
    let actor = wiring.actor_of_all(Right::Administer).await?;
    wiring.db.revoke_token(name, &actor, SystemClock.now()).await?;
    let value = serde_json::json!({ "name": name, "revoked": true });
    printer.result(&value, || format!("{} the token of {name}", printer.good("revoked")));
    Ok(Exit::DONE)
}
