//! Answers of the proxy's own: a status and one line of text.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::ResponseBody;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    text: &'static str,
}

const fn refusal(status: StatusCode, text: &'static str) -> Refusal {
    Refusal { status, text }
}

pub(super) const NO_HOST: Refusal =
    refusal(StatusCode::BAD_REQUEST, "a request needs exactly one valid Host header\n");
pub(super) const BAD_TARGET: Refusal =
    refusal(StatusCode::BAD_REQUEST, "the request's target is not valid\n");
pub(super) const NO_CONNECT: Refusal =
    refusal(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here\n");
pub(super) const EXPECTATION: Refusal =
    refusal(StatusCode::EXPECTATION_FAILED, "the only expectation known is 100-continue\n");
pub(super) const TOO_LONG: Refusal =
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than allowed\n");
pub(super) const BROKEN_BODY: Refusal =
    refusal(StatusCode::BAD_REQUEST, "the body broke off, or is not what its head says\n");
pub(super) const NO_RELEASE: Refusal =
    refusal(StatusCode::SERVICE_UNAVAILABLE, "nothing is deployed here that could answer\n");
pub(super) const NO_VERSION: Refusal =
    refusal(StatusCode::MISDIRECTED_REQUEST, "the version that the request asks for does not run here\n");
pub(super) const CUT: Refusal =
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the version that was to answer is being stopped\n");
pub(super) const UNREACHABLE: Refusal = refusal(StatusCode::BAD_GATEWAY, "no instance could be reached\n");
pub(super) const BROKEN: Refusal =
    refusal(StatusCode::BAD_GATEWAY, "the instance closed the connection or sent no valid answer\n");
pub(super) const LATE: Refusal =
    refusal(StatusCode::GATEWAY_TIMEOUT, "the instance did not answer in time\n");

impl Refusal {
    pub fn response(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::Whole(Bytes::from_static(self.text.as_bytes())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Who asks so wrongly may mean something else by what comes next.
        let wrong = [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::PAYLOAD_TOO_LARGE];
        if wrong.contains(&self.status) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
