//! `orchestrate deploy hold` and `unhold`.

use orchestrate_core::Error;
use orchestrate_core::ports::{Clock as _, SystemClock};

use crate::args::{Global, HoldArgs};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::Wiring;

pub async fn hold(global: &Global, args: HoldArgs, printer: &Printer) -> Ended {
    let HoldArgs { version, env, reason, .. } = args;
    let reason = reason.ok_or_else(|| {
        Error::usage("ORC-0209", "a hold needs a reason")
            .hint(format!("orchestrate deploy hold {version} --env {env} --reason TEXT"))
    })?;
    let wiring = Wiring::open(global).await?;
    wiring.db.environment(&env).await?;
    wiring.db.hold(&env, &version, &crate::host::actor(), &reason, SystemClock.now()).await?;
    let value = serde_json::json!({ "environment": env, "version": version, "held": true, "reason": reason });
    printer.result(&value, || format!("{} {version} in {env}: {reason}", printer.good("held")));
    Ok(Exit::DONE)
}

pub async fn unhold(global: &Global, args: HoldArgs, printer: &Printer) -> Ended {
    let HoldArgs { version, env, reason, .. } = args;
    let wiring = Wiring::open(global).await?;
    wiring.db.environment(&env).await?;
    wiring.db.unhold(&env, &version, &crate::host::actor(), reason.as_deref(), SystemClock.now()).await?;
    let value =
        serde_json::json!({ "environment": env, "version": version, "held": false, "reason": reason });
    printer
        .result(&value, || format!("{} {version} in {env} may be deployed again", printer.good("lifted:")));
    Ok(Exit::DONE)
}
