//! `orchestrate audit verify`: reads the trail from its beginning, and compares it with a head that was kept.

use orchestrate_core::database::Verified;
use orchestrate_core::secrets::{KeySource as _, Look};
use orchestrate_core::{Error, Result};
use serde::Serialize;

use crate::args::{AuditVerify, Global};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::signed_head::KeptHead;
use crate::wiring::Wiring;

/// What `audit verify --format json` prints.
#[derive(Serialize)]
struct Report<'a> {
    intact: bool,
    #[serde(flatten)]
    verified: &'a Verified,
    /// The number of the record that was kept, if it was said; and who signed it.
    kept: Option<i64>,
    signed_by: Option<&'a str>,
}

pub async fn run(global: &Global, args: &AuditVerify, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let kept = args.head.as_deref().map(KeptHead::read).transpose()?;
    let signed_by = match &kept {
        Some(kept) => {
            let key = wiring.keys.keys(Look::Usual).await.map(|ring| ring.newest().clone());
            kept.signer(args.public_key.as_deref(), || key)?
        }
        None => None,
    };
    let verified = wiring.db.verify_audit(kept.as_ref().map(|kept| &kept.head.hash)).await?;
    is_intact(&verified)?;
    let kept = kept.as_ref().filter(|kept| kept.head.id > 0).map(|kept| kept.head.id);
    let report = Report { intact: true, verified: &verified, kept, signed_by };
    printer.result(&report, || {
        let up_to = kept.map_or_else(String::new, |id| format!("; record {id} is the one that was kept"));
        let signed = signed_by.map_or_else(String::new, |key| format!(", signed by {key}"));
        let records = if verified.records == 1 { "record" } else { "records" };
        format!(
            "{} {} {records}, each follows the one before it{up_to}{signed}\n{}",
            printer.good("intact:"),
            verified.records,
            verified.head.hash
        )
    });
    Ok(Exit::DONE)
}

fn is_intact(verified: &Verified) -> Result<()> {
    if verified.findings.is_empty() {
        return Ok(());
    }
    let found: Vec<&str> = verified.findings.iter().map(|finding| finding.message.as_str()).collect();
    Err(Error::needs_attention("ORC-0410", format!("the audit trail is not intact: {}", found.join("; ")))
        .hint("nothing was changed; keep the database as it is for whoever looks into it: orchestrate db backup FILE"))
}
