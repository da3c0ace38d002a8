//! `orchestrate proxy`: the data plane's process, started by the daemon.

use std::os::fd::AsFd as _;

use orchestrate_core::Error;
use orchestrate_proxy::ProxyOptions;

use crate::args::Proxy;
use crate::exit::{Ended, Exit};

pub fn run(args: &Proxy) -> Ended {
    #[cfg(feature = "failpoints")]
    orchestrate_core::failpoint::this_is("proxy");
    super::daemon::log_to_stderr(0);
    let mut options = ProxyOptions::new(&args.socket, &args.state);
    if let Some(threads) = args.threads {
        options.threads = threads.max(1);
    }
    options.take_over = args.take_over;
    options.version = crate::program::version();
    // The daemon sends listening sockets through standard input; started by hand, there is no socket there.
    let input = std::io::stdin();
    if rustix::net::sockopt::socket_type(input.as_fd()).is_ok() {
        let inherited = input.as_fd().try_clone_to_owned();
        options.inherit = Some(
            inherited.map_err(|error| Error::failed("ORC-0506", "the proxy cannot start").source(error))?,
        );
    }
    orchestrate_proxy::run(options)
        .map(|()| Exit::DONE)
        .map_err(|error| Error::failed("ORC-0506", format!("the proxy ended: {error}")).source(error).into())
}
