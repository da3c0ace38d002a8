//! `orchestrate deploy hold` and `unhold`.

use orchestrate_core::Error;
use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::notification::NoticeKind;
use orchestrate_core::ports::{Clock as _, SystemClock};

use super::refusal::noted;
use crate::args::{Global, HoldArgs};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, on_one_line};
use crate::wiring::Wiring;

pub async fn hold(global: &Global, args: HoldArgs, printer: &Printer) -> Ended {
    let HoldArgs { version, env, reason, .. } = args;
    let reason = reason.ok_or_else(|| {
        Error::usage("ORC-0209", "a hold needs a reason")
            .hint(format!("orchestrate deploy hold {version} --env {env} --reason TEXT"))
    })?;
    let wiring = Wiring::open(global).await?;
    let place = wiring.db.environment(&env).await?;
    let (actor, reason) = (wiring.actor(Right::Deploy, &env, "hold").await?, reason.as_str());
    wiring.only_here(asked("hold", &env, &version, &actor, Some(reason))).await?;
    let held = wiring.db.hold(&env, &version, &actor, reason, SystemClock.now()).await;
    noted(&wiring.db, asked("hold", &env, &version, &actor, Some(reason)), held).await?;
    tell(&wiring, place.tells(NoticeKind::HoldSet)).await?;
    let value = serde_json::json!({ "environment": env, "version": version, "held": true, "reason": reason });
    printer
        .result(&value, || format!("{} {version} in {env}: {}", printer.good("held"), on_one_line(reason)));
    Ok(Exit::DONE)
}

pub async fn unhold(global: &Global, args: HoldArgs, printer: &Printer) -> Ended {
    let HoldArgs { version, env, reason, .. } = args;
    let wiring = Wiring::open(global).await?;
    let place = wiring.db.environment(&env).await?;
    let (actor, reason) = (wiring.actor(Right::Deploy, &env, "unhold").await?, reason.as_deref());
    wiring.only_here(asked("unhold", &env, &version, &actor, reason)).await?;
    let lifted = wiring.db.unhold(&env, &version, &actor, reason, SystemClock.now()).await;
    noted(&wiring.db, asked("unhold", &env, &version, &actor, reason), lifted).await?;
    tell(&wiring, place.tells(NoticeKind::HoldLifted)).await?;
    let value =
        serde_json::json!({ "environment": env, "version": version, "held": false, "reason": reason });
    printer
        .result(&value, || format!("{} {version} in {env} may be deployed again", printer.good("lifted:")));
    Ok(Exit::DONE)
}

/// What can be gone back to is another matter now, also where no channel hears of it.
async fn tell(wiring: &Wiring, has_notice: bool) -> Result<(), Error> {
    if has_notice {
        return wiring.hand_over().await;
    }
    wiring.daemon.ring();
    Ok(())
}

fn asked<'a>(
    what: &'static str,
    environment: &'a EnvironmentName,
    version: &'a Version,
    actor: &'a str,
    reason: Option<&'a str>,
) -> Asked<'a> {
    Asked { environment, actor, what, version: Some(version.as_str()), reason }
}
