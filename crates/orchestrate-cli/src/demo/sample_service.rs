//! The service that `orchestrate demo` deploys: small, honest about its version, and sick on request.
//!
//! It is told what to be by the variables every instance gets, and by `BEHAVIOUR`.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use orchestrate_core::time::Span;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

const LONGEST_SLOW_MS: u64 = 60_000;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// How the service misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    #[default]
    Good,
    /// Serves, but `/healthz` never says so.
    NeverHealthy,
    /// Ends with an error before it listens.
    CrashAtStart,
    /// Fails everything from this long after the first request that was not a health check.
    SickAfter(Span),
    /// Answers this many percent of `/` with status 500.
    Errors(u8),
    /// Takes so long for `/`.
    Slow(Span),
}

impl FromStr for Behaviour {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            None if text.is_empty() || text == "good" => Ok(Self::Good),
            None if text == "never_healthy" => Ok(Self::NeverHealthy),
            None if text == "crash_at_start" => Ok(Self::CrashAtStart),
            Some(("sick_after", span)) => {
                span.parse().map(Self::SickAfter).map_err(|error| anyhow!("{error}"))
            }
            Some(("errors", percent)) => match percent.parse() {
                Ok(percent) if percent <= 100 => Ok(Self::Errors(percent)),
                Ok(_) | Err(_) => bail!("`errors:` needs a number from 0 to 100, not `{percent}`"),
            },
            Some(("slow", span)) => span.parse().map(Self::Slow).map_err(|error| anyhow!("{error}")),
            None | Some(_) => bail!(
                "`{text}` is no behaviour; write good, never_healthy, crash_at_start, sick_after:2s, errors:50 or \
                 slow:300ms"
            ),
        }
    }
}

/// One instance of the service.
#[derive(Debug)]
pub struct Sample {
    version: String,
    instance: String,
    behaviour: Behaviour,
    in_service_since: OnceLock<Instant>,
    asked: AtomicU64,
}

/// Serves on `127.0.0.1:$PORT` until SIGTERM or SIGINT, then finishes what is in flight.
pub async fn serve() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let behaviour: Behaviour = variable("BEHAVIOUR").unwrap_or_default().parse()?;
    if behaviour == Behaviour::CrashAtStart {
        bail!("the sample service was told to crash at its start");
    }
    let port = variable("PORT")
        .context("PORT is not set: the sample service runs as an instance of a deployment")?;
    let port: u16 = port.parse().with_context(|| format!("PORT is `{port}`, not a port"))?;
    let sample = Sample::new(
        variable("ORCHESTRATE_VERSION").unwrap_or_else(|| "unknown".to_owned()),
        variable("ORCHESTRATE_INSTANCE").unwrap_or_else(|| "unknown".to_owned()),
        behaviour,
    );
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    sample.run(listener, stop).await;
    Ok(())
}

impl Sample {
    pub fn new(version: impl Into<String>, instance: impl Into<String>, behaviour: Behaviour) -> Self {
        Self {
            version: version.into(),
            instance: instance.into(),
            behaviour,
            in_service_since: OnceLock::new(),
            asked: AtomicU64::new(0),
        }
    }

    /// Serves until `stop` is ready and every request that came before it is answered.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let sample = Arc::new(self);
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    // A connection that failed before it was ours is the client's affair.
                    let Ok((stream, _)) = accepted else { continue };
                    connections.spawn(Arc::clone(&sample).converse(stream, stopping.subscribe()));
                }
            }
        }
        drop(listener);
        stopping.send_replace(true);
        while connections.join_next().await.is_some() {}
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, mut stopping: watch::Receiver<bool>) {
        // Answers are small and single: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let sample = Arc::clone(&self);
            async move { Ok::<_, hyper::Error>(sample.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        // A client may close its side after its request and still wait for the answer.
        builder.timer(TokioTimer::new()).half_close(true);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
        }
        // An error means that the client left.
        let _ = connection.await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path == "/healthz" {
            return self.health();
        }
        let since = *self.in_service_since.get_or_init(Instant::now);
        match path {
            "/" => {
                if let Behaviour::Slow(span) = self.behaviour {
                    tokio::time::sleep(span.duration()).await;
                }
                self.front_page(since)
            }
            "/version" => text(StatusCode::OK, format!("{}\n", self.version)),
            "/slow" => {
                let millis = slow_millis(request.uri().query().unwrap_or_default());
                tokio::time::sleep(Duration::from_millis(millis)).await;
                self.front_page(since)
            }
            "/echo" => Response::new(request.into_body().boxed_unsync()),
            _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        }
    }

    fn health(&self) -> Response<Body> {
        let sick = match self.behaviour {
            Behaviour::Good | Behaviour::Errors(_) | Behaviour::Slow(_) => false,
            Behaviour::NeverHealthy | Behaviour::CrashAtStart => true,
            Behaviour::SickAfter(span) => {
                self.in_service_since.get().is_some_and(|since| passed(*since, span))
            }
        };
        let (status, word) =
            if sick { (StatusCode::SERVICE_UNAVAILABLE, "sick") } else { (StatusCode::OK, "ok") };
        text(status, format!("{word}\n"))
    }

    fn front_page(&self, since: Instant) -> Response<Body> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let failing = match self.behaviour {
            Behaviour::Good | Behaviour::NeverHealthy | Behaviour::CrashAtStart | Behaviour::Slow(_) => false,
            Behaviour::SickAfter(span) => passed(since, span),
            Behaviour::Errors(percent) => is_one_of(number, percent),
        };
        let status = if failing { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        text(status, format!("version {}, instance {}\n", self.version, self.instance))
    }
}

fn passed(since: Instant, span: Span) -> bool {
    since.elapsed() >= span.duration()
}

/// Spreads `percent` evenly over the requests, so that a few of them already show it.
fn is_one_of(number: u64, percent: u8) -> bool {
    let percent = u64::from(percent);
    (number + 1).wrapping_mul(percent) / 100 != number.wrapping_mul(percent) / 100
}

fn slow_millis(query: &str) -> u64 {
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok());
    wanted.unwrap_or(0).min(LONGEST_SLOW_MS)
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
