//! Asks the address that users ask.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use orchestrate_core::ports::{PortError, PortResult};
use reqwest::{Client, Url, redirect};

/// More of an answer than this is not looked at.
const MOST_ANSWER: usize = 256 * 1024;

/// Each client is made when it is first needed.
#[derive(Default)]
pub struct Web {
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

/// What a user would get.
pub struct Page {
    pub status: u16,
    pub body: String,
}

impl Web {
    pub async fn get(&self, base: &str, path: &str, limit: Duration) -> PortResult<Page> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| {
            PortError::failed(format!("{base} is not the address of a web page: {error}"))
        })?;
        let is_tls = url.scheme() == "https";
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            PortError::failed(format!("no answer from {base}: {error}{cause}"))
        };
        let mut response = self.client(is_tls)?.get(url).timeout(limit).send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_ANSWER {
                break;
            }
        }
        Ok(Page { status: response.status().as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn client(&self, is_tls: bool) -> PortResult<&Client> {
        let kept = if is_tls { &self.tls } else { &self.plain };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        // Another part of the program may have chosen it already, which is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .user_agent(concat!("orchestrate/", env!("CARGO_PKG_VERSION")));
        // Without roots the client needs no certificates on this machine, and trusts none.
        let built = if is_tls { builder.build() } else { builder.tls_certs_only([]).build() };
        let built =
            built.map_err(|error| PortError::failed(format!("no HTTP client can be made: {error}")))?;
        Ok(kept.get_or_init(|| built))
    }
}
