//! `orchestrate provider check`: whether the commands of a custom environment keep the protocol.

use std::sync::Arc;

use orchestrate_core::Error;
use orchestrate_core::environment::ProviderKind;
use orchestrate_core::name::{Fence, ReleaseId};
use orchestrate_core::ports::Placement;
use orchestrate_core::release::Digest;
use orchestrate_core::slot::Slot;
use orchestrate_providers::RunSpec;
use orchestrate_providers::custom::{Conformance, Held};
use serde_json::json;

use super::intake::Intended;
use crate::args::{Global, ProviderCheck};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless};
use crate::wiring::{SealedSpecs, Wiring};

/// No recorded release has this number.
const UNRECORDED: ReleaseId = ReleaseId(0);

pub async fn run(global: &Global, args: &ProviderCheck, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let intended = Intended::read(global, &wiring, &args.env, None).await?;
    let provider = intended.settings.provider;
    if provider != ProviderKind::Custom {
        return Err(Error::refused("ORC-0381", format!("the provider of {} is `{provider}`", args.env))
            .hint("only commands of your own are checked: set `provider: custom` in the config file")
            .into());
    }
    let placement = Placement {
        environment: args.env.clone(),
        slot: free_slot(&wiring, args).await?,
        release: UNRECORDED,
        version: args.version.clone(),
    };
    printer.progress(&format!("starting {} in {} of {}", args.version, placement.slot, args.env));
    let artifact = intended.take_in(&wiring, &args.version, &orchestrate_core::ports::Silent).await?;
    let spec = spec(intended, args, artifact.digest);
    let lease = wiring.db.lease(&args.env).await?;
    let fence = lease.map_or(Fence(1), |lease| lease.fence);
    let specs = SealedSpecs { db: wiring.db.clone(), keys: Arc::clone(&wiring.keys) as _ };
    let (home, store) = (wiring.home.directory().to_owned(), Arc::new(wiring.store(None)));
    let conformance = Conformance::new(home, store, Arc::new(specs), &spec, &placement, fence);
    let found = conformance
        .run(global.yes)
        .await
        .map_err(|error| Error::failed("ORC-0383", "the check could not be made").source(error))?;
    print(printer, &found);
    Ok(if found.iter().any(|held| held.holds == Some(false)) { Exit(1) } else { Exit::DONE })
}

/// A slot in which nothing is recorded; what is live or warm is not touched.
async fn free_slot(wiring: &Wiring, args: &ProviderCheck) -> Ended<Slot> {
    let taken = wiring.db.slots(&args.env).await?;
    let free = [Slot::Green, Slot::Blue].into_iter().find(|slot| !taken.iter().any(|one| one.slot == *slot));
    free.ok_or_else(|| {
        Error::refused("ORC-0382", format!("both slots of {} are used", args.env))
            .hint(format!(
                "wait until the warm period is over, or check in another environment: orchestrate deploy status --env {}",
                args.env
            ))
            .into()
    })
}

/// As it would be sealed, and is not.
fn spec(intended: Intended, args: &ProviderCheck, digest: Digest) -> RunSpec {
    let settings = intended.settings;
    RunSpec {
        service: intended.service,
        environment: args.env.clone(),
        version: args.version.clone(),
        digest,
        image: None,
        processes: settings.processes,
        confinement: *settings.confinement,
        health_check: settings.health_check,
        drain: settings.drain,
        stop_timeout: settings.stop_timeout,
        variables: settings.variables,
        secrets: intended.secrets,
        engine: *settings.engine,
    }
}

fn print(printer: &Printer, found: &[Held]) {
    let rows: Vec<_> = found
        .iter()
        .map(|held| json!({ "what": held.what, "holds": held.holds, "detail": held.detail }))
        .collect();
    printer.result(&rows, || {
        let rows = found.iter().map(|held| {
            let mark = match held.holds {
                Some(true) => printer.good("holds"),
                Some(false) => printer.bad("does not"),
                None => printer.faint("not seen"),
            };
            vec![mark, held.what.to_owned(), harmless(&held.detail)]
        });
        printer.table(&["", "THE PROTOCOL", "FOUND"], rows.collect())
    });
}
