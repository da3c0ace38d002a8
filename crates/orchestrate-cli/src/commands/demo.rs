//! `orchestrate demo`: filled in below.
use crate::args::Demo;
use crate::exit::{Ended, Exit};
use crate::printer::Printer;

pub async fn run(_args: &Demo, _printer: &Printer) -> Ended {
    Ok(Exit::DONE)
}
