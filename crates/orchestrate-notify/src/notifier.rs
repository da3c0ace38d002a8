//! Which channel is told how.

use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::notification::Via;
use orchestrate_core::ports::{DeliveryError, Notice, Notifier, Receipt};
use orchestrate_core::secrets::SecretText;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::http::{Http, never};
use crate::{cdevents, command, email, pagerduty, slack, teams, webhook};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers to channels of every type.
pub struct ChannelNotifier {
    http: Http,
}

impl Default for ChannelNotifier {
    fn default() -> Self {
        Self::new()
    }
}

impl ChannelNotifier {
    pub fn new() -> Self {
        Self::with_timeouts(CONNECT_TIMEOUT, TOTAL_TIMEOUT)
    }

    /// `total` bounds one attempt, from the name's resolution to the end of the answer.
    pub fn with_timeouts(connect: Duration, total: Duration) -> Self {
        Self { http: Http::new(connect, total) }
    }
}

#[async_trait]
impl Notifier for ChannelNotifier {
    async fn deliver(
        &self,
        notice: &Notice,
        secret: Option<&SecretText>,
    ) -> Result<Option<Receipt>, DeliveryError> {
        let http = &self.http;
        match &notice.channel.via {
            Via::Webhook => webhook::deliver(http, notice, secret).await.map(|()| None),
            Via::Slack { channel } => slack::deliver(http, notice, channel.as_deref(), secret).await,
            Via::Teams => teams::deliver(http, notice).await.map(|()| None),
            Via::Pagerduty => pagerduty::deliver(http, notice, secret).await.map(|()| None),
            Via::Cdevents => cdevents::deliver(http, notice).await.map(|()| None),
            Via::Email { from, to } => email::deliver(notice, from, to, http.limit()).await.map(Some),
            Via::Command { command, timeout } => {
                command::deliver(notice, command, timeout.duration()).await.map(|()| None)
            }
        }
    }
}

/// The headers and the body of a POST of JSON.
pub(crate) fn json(body: &serde_json::Value) -> Result<(HeaderMap, Vec<u8>), DeliveryError> {
    let bytes =
        serde_json::to_vec(body).map_err(|error| never(format!("the notice is not JSON: {error}")))?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Ok((headers, bytes))
}
