//! One request: sent, and sent again where that may help, never for longer than a while.

use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use orchestrate_core::ports::PortError;
use serde_json::Value;
use tokio::time::timeout;

use super::access::chain;
use super::api::{ApiResult, Cluster};
use super::fault::{Fault, Refusal};

/// One answer may take so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pauses before another try, unless the cluster names one.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];
/// A longer pause is not waited for, whoever asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
pub(super) struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// A patch that is merged, not applied.
    pub merge: bool,
}

impl Ask<'_> {
    fn request(&self) -> ApiResult<Request<Body>> {
        let kind = match self.method {
            Method::PATCH if self.merge => "application/merge-patch+json",
            // JSON is YAML.
            Method::PATCH => "application/apply-patch+yaml",
            _ => "application/json",
        };
        let body = self.body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder().method(self.method.clone()).uri(self.path);
        let request = request.header("content-type", kind).body(Body::from(body));
        request.map_err(|cause| Fault::Unreachable(format!("a request cannot be made: {cause}")))
    }
}

pub(super) async fn in_time<T>(answer: impl Future<Output = ApiResult<T>>) -> ApiResult<T> {
    let late = || Err(Fault::Unreachable(format!("the cluster did not answer within {PATIENCE:?}")));
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| late())
}

pub(super) async fn collect(response: Response<Body>) -> ApiResult<Vec<u8>> {
    let collected = response.into_body().collect().await;
    let cut = |cause: kube::Error| Fault::Unreachable(format!("an answer was cut: {}", chain(&cause)));
    Ok(collected.map_err(cut)?.to_bytes().to_vec())
}

impl Cluster {
    /// Asked again: after no answer, when there is too much to do, when the server is not well, and once with fresh credentials.
    pub(super) async fn retried(&self, request: &Ask<'_>, asked: &str) -> ApiResult<Vec<u8>> {
        let (mut pauses, mut renewed) = (PAUSES.into_iter(), false);
        loop {
            let answer = in_time(async {
                let response = self.send(request).await?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok((status, headers, collect(response).await?))
            });
            let (fault, pause) = match answer.await {
                Ok((status, _, body)) if status.is_success() => return Ok(body),
                Ok((StatusCode::UNAUTHORIZED, _, _)) if !renewed => {
                    renewed = true;
                    self.access.forget(&self.way);
                    continue;
                }
                Ok((status, headers, body)) => {
                    let refusal = Refusal::read(status.as_u16(), &body, asked).after(wished_pause(&headers));
                    if !refusal.may_pass() {
                        return Err(Fault::Refused(refusal));
                    }
                    let pause = refusal.pause;
                    (Fault::Refused(refusal), pause)
                }
                Err(Fault::Unreachable(why)) => (Fault::Unreachable(why), None),
                Err(fault) => return Err(fault),
            };
            match pauses.next() {
                Some(usual) => tokio::time::sleep(pause.unwrap_or(usual)).await,
                None => return Err(fault),
            }
        }
    }

    pub(super) async fn send(&self, ask: &Ask<'_>) -> ApiResult<Response<Body>> {
        let client = self.access.client(&self.way).await.map_err(Fault::Unasked)?;
        client.send(ask.request()?).await.map_err(|cause| match cause {
            kube::Error::Auth(cause) => Fault::Unasked(PortError::failed(format!(
                "the credentials of the kubeconfig cannot be had: {}",
                chain(&cause)
            ))),
            cause => Fault::Unreachable(format!("the cluster does not answer: {}", chain(&cause))),
        })
    }
}

pub(super) fn wished_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}
