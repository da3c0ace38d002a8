//! What commands ask of the daemon, over its socket.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use orchestrate_core::name::{DeploymentId, EnvironmentName};
use orchestrate_core::ports::{
    AwaitHealthy, Fetch, HookRequest, Placement, PortResult, Processes, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use serde::{Deserialize, Serialize};

use crate::{Daemon, Farewell};

pub(crate) fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/provider/fetch", post(fetch))
        .route("/provider/discard", post(discard))
        .route("/provider/hook", post(hook))
        .route("/provider/start", post(start))
        .route("/provider/await_healthy", post(await_healthy))
        .route("/provider/stop", post(stop))
        .route("/provider/instances", post(instances))
        .route("/provider/drift", post(drift))
        .route("/provider/memory", post(memory))
        .route("/poke", post(poke))
        .route("/settle/{deployment}", post(settle))
        .route("/shutdown", post(shutdown))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(daemon)
}

/// How the daemon is told to end.
#[derive(Deserialize)]
struct Shutdown {
    #[serde(default)]
    all: bool,
}

type Shared = State<Arc<Daemon>>;

/// The provider's answer, or its error with a status that says it is one.
fn answer<T: Serialize>(result: PortResult<T>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::CONFLICT, Json(error)).into_response(),
    }
}

async fn fetch(State(daemon): Shared, Json(request): Json<Fetch>) -> Response {
    answer(daemon.options.ports.provider.fetch(&request).await)
}

async fn hook(State(daemon): Shared, Json(request): Json<HookRequest>) -> Response {
    answer(daemon.options.ports.provider.hook(&request).await)
}

async fn discard(State(daemon): Shared, Json(digest): Json<Digest>) -> Response {
    answer(daemon.options.ports.provider.discard(&digest).await)
}

async fn start(State(daemon): Shared, Json(request): Json<StartRequest>) -> Response {
    answer(daemon.options.ports.provider.start(&request).await)
}

async fn await_healthy(State(daemon): Shared, Json(request): Json<AwaitHealthy>) -> Response {
    answer(daemon.options.ports.provider.await_healthy(&request).await)
}

async fn stop(State(daemon): Shared, Json(request): Json<StopRequest>) -> Response {
    answer(daemon.options.ports.provider.stop(&request).await)
}

async fn instances(State(daemon): Shared, Json(environment): Json<EnvironmentName>) -> Response {
    answer(daemon.options.ports.provider.instances(&environment).await)
}

async fn drift(State(daemon): Shared, Json((placement, of)): Json<(Placement, Processes)>) -> Response {
    answer(daemon.options.ports.provider.drift(&placement, of).await)
}

async fn memory(State(daemon): Shared, Json(placement): Json<Placement>) -> Response {
    answer(daemon.options.ports.provider.memory(&placement).await)
}

async fn poke(State(daemon): Shared) -> StatusCode {
    daemon.bell.ring();
    StatusCode::NO_CONTENT
}

/// Answers once the deployment is neither baking nor about to be rolled back by itself.
async fn settle(State(daemon): Shared, Path(deployment): Path<i64>) -> Response {
    match crate::verdicts::settled(&daemon, DeploymentId(deployment)).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.full_message()).into_response(),
    }
}

async fn status(State(daemon): Shared) -> Json<serde_json::Value> {
    let notices = daemon.options.db.count_notices().await.unwrap_or_default();
    let notices: serde_json::Map<String, serde_json::Value> =
        notices.into_iter().map(|(status, count)| (status.as_str().to_owned(), count.into())).collect();
    Json(serde_json::json!({
        "daemon": {
            "pid": std::process::id(),
            "version": daemon.options.version,
            "started_at": daemon.started_at,
            "database": daemon.options.db.backend(),
        },
        "proxy": (daemon.options.router_status)(),
        "notices": notices,
        "traces": crate::traces::status(&daemon).await,
    }))
}

async fn shutdown(State(daemon): Shared, Json(request): Json<Shutdown>) -> StatusCode {
    let farewell = if request.all { Farewell::StopAll } else { Farewell::LeaveRunning };
    daemon.farewell.send_replace(Some(farewell));
    StatusCode::NO_CONTENT
}
