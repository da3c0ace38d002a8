//! Turns an instance's answer into one for the client.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};
use orchestrate_core::ports::Placement;

use super::request::{KEEP_ALIVE, PROXY_CONNECTION, remove_connection};

const RELEASE: HeaderName = HeaderName::from_static("orchestrate-release");
const VERSION: HeaderName = HeaderName::from_static("orchestrate-version");
const SLOT: HeaderName = HeaderName::from_static("orchestrate-slot");

/// Removes what was meant for the hop between the instance and the proxy only.
pub(super) fn strip<B>(response: &mut Response<B>) {
    let (mut connection, mut keep_alive, mut proxy, mut coded, mut upgrade) =
        (false, false, false, false, false);
    for name in response.headers().keys() {
        match *name {
            header::CONNECTION => connection = true,
            header::TRANSFER_ENCODING => coded = true,
            header::UPGRADE => upgrade = true,
            _ => match name.as_str() {
                "keep-alive" => keep_alive = true,
                "proxy-connection" => proxy = true,
                _ => {}
            },
        }
    }
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if connection {
        remove_connection(headers);
    }
    if keep_alive {
        headers.remove(KEEP_ALIVE);
    }
    if proxy {
        headers.remove(PROXY_CONNECTION);
    }
    if coded {
        // The length that stands beside a transfer coding is not the body's.
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    if switching {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if upgrade {
        headers.remove(header::UPGRADE);
    }
    *response.version_mut() = Version::HTTP_11;
}

/// Names the release that answered.
pub(super) fn sign<B>(response: &mut Response<B>, placement: &Placement) {
    let headers = response.headers_mut();
    headers.insert(RELEASE, HeaderValue::from(placement.release.0));
    if let Ok(version) = HeaderValue::from_str(placement.version.as_str()) {
        headers.insert(VERSION, version);
    }
    headers.insert(SLOT, HeaderValue::from_static(placement.slot.as_str()));
}
