//! `orchestrate audit head`: the newest record of the trail, to be kept where who writes the database cannot reach it.

use orchestrate_core::secrets::KeySource as _;

use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, moment};
use crate::signed_head::KeptHead;
use crate::wiring::Wiring;

pub async fn run(global: &Global, sign: bool, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let head = wiring.db.audit_head().await?;
    let kept = match sign {
        true => {
            let look = wiring.db.look_for_key().await?;
            KeptHead::signed(head, wiring.keys.keys(look).await?.newest())?
        }
        false => KeptHead::unsigned(head),
    };
    printer.result(&kept, || {
        let head = &kept.head;
        let at = head.at.map_or_else(String::new, |at| format!(" of {} UTC", moment(at)));
        let signed = kept.public_key.as_ref().map_or_else(String::new, |key| format!("\nsigned by {key}"));
        format!("record {}{at}\n{}{signed}", head.id, head.hash)
    });
    Ok(Exit::DONE)
}
