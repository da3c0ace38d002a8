//! `orchestrate secrets …`: names, versions and the key; a value is never printed.

use orchestrate_core::access::Right;
use orchestrate_core::secrets::{KeySource as _, Look};

use crate::args::{Global, InEnvironment, SecretsCommand};
use crate::exit::{Ended, Exit};
use crate::keys;
use crate::printer::{Printer, moment};
use crate::wiring::{Wiring, secret_scope};

pub async fn run(global: &Global, command: SecretsCommand, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    match command {
        SecretsCommand::List(args) => list(&wiring, &args, printer).await,
        SecretsCommand::Rotate { skip_unreadable, .. } => rotate(&wiring, skip_unreadable, printer).await,
    }
}

async fn list(wiring: &Wiring, args: &InEnvironment, printer: &Printer) -> Ended {
    wiring.db.environment(&args.env).await?;
    // Without a key, names and versions are still there to be read.
    let ring = wiring.keys.keys(Look::Everywhere).await.ok();
    let secrets = wiring.db.list_secrets(ring.as_ref(), &secret_scope(&args.env)).await?;
    let rows: Vec<_> = secrets.iter().map(|secret| serde_json::json!({
        "name": secret.name, "version": secret.version, "created_at": secret.created_at, "readable": secret.readable,
    })).collect();
    printer.result(&rows, || {
        if secrets.is_empty() {
            return format!("{} has no secrets", args.env);
        }
        let rows = secrets.iter().map(|secret| {
            let readable = if secret.readable { printer.good("yes") } else { printer.bad("no") };
            vec![secret.name.clone(), secret.version.to_string(), moment(secret.created_at), readable]
        });
        printer.table(&["NAME", "VERSION", "SINCE (UTC)", "READABLE"], rows.collect())
    });
    Ok(Exit::DONE)
}

async fn rotate(wiring: &Wiring, skip: bool, printer: &Printer) -> Ended {
    let actor = wiring.actor_of_all(Right::Administer).await?;
    let rotated = keys::rotate(&wiring.keys, &wiring.db, skip, &actor).await?;
    let resealed = &rotated.resealed;
    let value = serde_json::json!({
        "key": rotated.key, "resealed": resealed.resealed, "unreadable": resealed.unreadable,
    });
    printer.result(&value, || {
        let versions = if resealed.resealed == 1 { "version of a secret" } else { "versions of secrets" };
        format!(
            "{} {} {versions} with the key {}; a backup of the database needs the key of its time",
            printer.good("sealed"),
            resealed.resealed,
            rotated.key
        )
    });
    for label in &resealed.unreadable {
        printer.note(&format!("{label} could not be read and stays as it was"));
    }
    Ok(Exit::DONE)
}
