//! `orchestrate env prune`: removes the releases that an environment does not keep.

use std::sync::Arc;

use orchestrate_core::Error;
use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::ports::Silent;
use orchestrate_core::retention::{self, Judged, Pruning};

use crate::args::EnvPrune;
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, moment};
use crate::wiring::Wiring;

pub async fn run(wiring: &Wiring, args: &EnvPrune, printer: &Printer) -> Ended {
    let Some(name) = args.name.as_ref().or(args.env.as_ref()) else {
        return Err(Error::usage("ORC-0208", "env prune needs the name of an environment").into());
    };
    let mut actor = wiring.caller().await?.name().to_owned();
    if !args.dry_run {
        actor = wiring.actor(Right::Deploy, name, "prune").await?;
        wiring
            .only_here(Asked { environment: name, actor: &actor, what: "prune", version: None, reason: None })
            .await?;
    }
    let ports = wiring.ports(Arc::new(Silent));
    let pruning = retention::prune(&wiring.db, &ports, name, &actor, args.dry_run).await?;
    printer.result(&pruning, || text(printer, &pruning));
    Ok(Exit::DONE)
}

fn text(printer: &Printer, pruning: &Pruning) -> String {
    let row = |one: &Judged| {
        let (verdict, why) = match one.kept {
            Some(kept) => ("keep".to_owned(), kept.to_string()),
            None => (printer.bad("prune"), String::new()),
        };
        let reachable = if one.reachable { "yes" } else { "no" };
        let size = format!("{:.1} MiB", one.bytes as f64 / f64::from(1 << 20));
        vec![one.version.to_string(), verdict, why, reachable.to_owned(), moment(one.sealed_at), size]
    };
    let rows = pruning.releases.iter().map(row).collect();
    let table = printer.table(&["VERSION", "", "WHY", "ROLLBACK", "SEALED (UTC)", "SIZE"], rows);
    let gone = pruning.releases.iter().filter(|one| one.kept.is_none()).count();
    let reachable = pruning.releases.iter().filter(|one| one.reachable).count();
    let what = match (gone, pruning.dry_run) {
        (0, _) => "nothing to prune".to_owned(),
        (_, true) => format!("{gone} would be pruned; nothing was changed"),
        (_, false) => format!("{gone} pruned, {} artifacts removed", pruning.removed),
    };
    format!("{table}\n\n{what}; {reachable} stay reachable by rollback")
}
