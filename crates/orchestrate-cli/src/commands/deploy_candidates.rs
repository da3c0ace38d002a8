//! `orchestrate deploy candidates`: the releases that a rollback could take, ready or why not.

use crate::args::{Global, Listing};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment};
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: &Listing, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let rollback = wiring.looking(&args.env).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let candidates = rollback.candidates(&args.env, limit).await?;
    printer.result(&candidates, || {
        if candidates.is_empty() {
            return format!("nothing was live in {} yet", args.env);
        }
        // Worth a column only where signatures were ever asked for.
        let signed = candidates.iter().any(|candidate| candidate.signed_by.is_some());
        let rows = candidates.iter().map(|candidate| {
            let mark = match (candidate.default, candidate.live) {
                (true, _) => printer.good("default"),
                (false, true) => "live".to_owned(),
                (false, false) => String::new(),
            };
            let proven = if candidate.proven { "yes" } else { "no" };
            let mut cells = vec![
                candidate.version.to_string(),
                mark,
                proven.to_owned(),
                candidate.path.map_or_else(|| "-".to_owned(), |path| path.to_string()),
                moment(candidate.sealed_at),
                candidate.why_not.as_deref().map_or_else(String::new, harmless),
            ];
            if signed {
                let word = if candidate.signed_by.is_some() { "signed" } else { "not signed" };
                cells.insert(5, word.to_owned());
            }
            cells
        });
        let mut header = vec!["VERSION", "", "PROVEN", "PATH", "SEALED (UTC)", "WHY IT IS NOT THE DEFAULT"];
        if signed {
            header.insert(5, "SIGNED");
        }
        printer.table(&header, rows.collect())
    });
    Ok(Exit::DONE)
}
