//! `orchestrate env adopt`: an environment runs here from now on, because the machine that it ran on is gone.

use orchestrate_core::Error;
use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::ports::{Clock as _, SystemClock};

use super::refusal::noted;
use crate::args::EnvAdopt;
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::Wiring;

pub async fn run(wiring: &Wiring, args: &EnvAdopt, printer: &Printer) -> Ended {
    let name = &args.name;
    let Some(here) = &wiring.site else {
        wiring.db.environment(name).await?;
        let why = "its records are in a file of one home, and it runs there";
        return Err(Error::refused("ORC-0164", format!("{name} cannot be adopted: {why}"))
            .hint(format!("see how it stands: orchestrate deploy status --env {name}"))
            .into());
    };
    let actor = wiring.actor(Right::Administer, name, "adopt").await?;
    let adopted = wiring.db.adopt(name, here, args.force, &actor, SystemClock.now()).await;
    let asked = Asked { environment: name, actor: &actor, what: "adopt", version: None, reason: None };
    let adopted = noted(&wiring.db, asked, adopted).await?;
    wiring.hand_over().await?;
    printer.result(&adopted, || {
        let from = adopted.from.as_ref().map_or_else(String::new, |there| {
            let (host, home) = (&there.site.host, &there.site.home);
            format!("\nif {host} comes back, end what still runs there: orchestrate --home {home} daemon stop --all")
        });
        format!(
            "{} {name}: it runs on {} from now on; a release whose artifact is not in this home has to be deployed again\n\
             see how it stands: orchestrate env check {name}{from}",
            printer.good("adopted"),
            here.host
        )
    });
    Ok(Exit::DONE)
}
