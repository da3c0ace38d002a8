//! The instance itself: serves the files of one release until it is told to end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::answer::Site;

/// Answers with the version, so that a proof can see which release a user gets.
pub const VERSION_PATH: &str = "/.well-known/orchestrate-version";

/// Serves the site until SIGTERM; requests in flight are answered to their end.
pub async fn serve(site: Site, listener: TcpListener) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tracing::info!("{}: {} files on {}", site.version, site.tree.len(), listener.local_addr()?);
    let site = Arc::new(site);
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // The client is gone, or we are out of descriptors: others are served.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            _ = terminated.recv() => break,
        };
        // An answer is written in one piece where it can be; there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let site = Arc::clone(&site);
        let service = service_fn(move |request| {
            let site = Arc::clone(&site);
            async move { Ok::<_, Infallible>(site.answer(&request).await) }
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}
