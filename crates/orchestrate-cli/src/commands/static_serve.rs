//! `orchestrate static-serve`: an instance of a static site, started by the daemon in the release's directory.

use std::net::Ipv4Addr;
use std::path::Path;

use orchestrate_core::Error;
use orchestrate_providers::static_site::{Site, serve};

use crate::args::StaticServe;
use crate::exit::{Ended, Exit};

pub fn run(args: &StaticServe) -> Ended {
    super::daemon::log_to_stderr(0);
    let failed = |error: &dyn std::fmt::Display| {
        Error::failed("ORC-0380", format!("the site cannot be served: {error}"))
            .hint("only the daemon starts this, with a PORT: orchestrate deploy")
    };
    let settings = serde_json::from_str(&args.settings).map_err(|error| failed(&error))?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| failed(&"PORT is not a port"))?;
    let version = std::env::var("ORCHESTRATE_VERSION").unwrap_or_default();
    // All files are known before anybody can ask for one.
    let site = Site::read(Path::new("."), settings, version).map_err(|error| failed(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(|error| failed(&error))?.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        serve(site, listener).await
    });
    served.map(|()| Exit::DONE).map_err(|error| failed(&error).into())
}
