//! `orchestrate deploy diff`: what a deployment of a version would change.

use orchestrate_core::Result;
use orchestrate_core::deployment_rollback::{Difference, differences};
use orchestrate_core::ports::Silent;
use orchestrate_core::release::Contents;
use orchestrate_core::secrets::{KeySource as _, Look};

use super::intake::Intended;
use crate::args::{Diff, Global};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless};
use crate::wiring::{Wiring, secret_scope};

pub async fn run(global: &Global, args: Diff, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let intended = Intended::read(global, &wiring, &args.env, args.artifact.as_deref()).await?;
    let artifact = intended.take_in(&wiring, &args.version, &Silent).await?;
    let data = intended.data_change(&wiring, &artifact)?;
    let (settings, secrets) = intended.with_manifests(&wiring, &args.env).await?;
    let new = Contents {
        artifact,
        processes: intended.settings.processes.clone(),
        settings: settings.sealed(),
        variables: intended.settings.variables.clone(),
        secrets: secret_versions(&wiring, &secrets, &args.env).await?,
        data,
        hooks: intended.settings.hooks.clone(),
    };
    let live = match wiring.db.find_environment(&args.env).await?.and_then(|record| record.live) {
        Some(live) => wiring.db.release(live.release).await?,
        None => None,
    };
    let Some(live) = live else {
        let value = serde_json::json!({ "environment": args.env, "from": null, "to": args.version, "differences": [] });
        printer.result(&value, || {
            format!("nothing is live in {}: all of {} would be new", args.env, args.version)
        });
        return Ok(Exit::DONE);
    };
    let found = differences(&live.contents, &new);
    let value = serde_json::json!({
        "environment": args.env, "from": live.version, "to": args.version, "differences": found,
    });
    printer.result(&value, || text(printer, &live.version.to_string(), args.version.as_str(), &found));
    Ok(Exit::DONE)
}

/// The versions that the secrets would get, without keeping anything: a changed one gets the next number.
async fn secret_versions(
    wiring: &Wiring,
    secrets: &std::collections::BTreeMap<String, orchestrate_core::secrets::SecretText>,
    environment: &orchestrate_core::name::EnvironmentName,
) -> Result<std::collections::BTreeMap<String, i64>> {
    let keys = match wiring.keys.may_be_there()? {
        true => Some(wiring.keys.keys(Look::Usual).await?),
        false => None,
    };
    wiring.db.secret_versions(keys.as_ref(), &secret_scope(environment), secrets).await
}

/// The differences for people, one a line.
pub fn text(printer: &Printer, from: &str, to: &str, differences: &[Difference]) -> String {
    if differences.is_empty() {
        return format!("{from} and {to} have the same content");
    }
    let rows = differences.iter().map(|difference| {
        let side = |side: &Option<String>| side.as_deref().map_or_else(|| "-".to_owned(), harmless);
        let sign = match (&difference.from, &difference.to) {
            (None, _) => printer.good("+"),
            (_, None) => printer.bad("-"),
            (Some(_), Some(_)) => printer.noted("~"),
        };
        vec![format!("{sign} {}", difference.what), side(&difference.from), side(&difference.to)]
    });
    printer.table(&["DIFFERS", from, to], rows.collect())
}
