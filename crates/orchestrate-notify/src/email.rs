//! Email by SMTP, encrypted unless the URL says otherwise. Messages about one operation hang together.

use std::time::Duration;

use lettre::message::{Mailbox, MessageBuilder, header};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor};
use orchestrate_core::error::causes;
use orchestrate_core::ports::{DeliveryError, Notice, Receipt};
use reqwest::Url;

use crate::http::{later, never};
use crate::message::Message;
use crate::redact::masked;

/// Whether it can be a sender or a receiver: `ops@example.com`, `Ops <ops@example.com>`.
pub fn is_mailbox(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

pub(crate) async fn deliver(
    notice: &Notice,
    from: &str,
    to: &[String],
    limit: Duration,
) -> Result<Receipt, DeliveryError> {
    let url =
        Url::parse(&notice.channel.url).map_err(|_| never("the URL of the mail server cannot be read"))?;
    let (mail, receipt) = compose(notice, from, to)?;
    // An error means that the process has its provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(secure(&url).as_str())
        .map_err(|_| never(format!("{} is no mail server that can be spoken to", masked(&url))))?
        .timeout(Some(limit))
        .build();
    match tokio::time::timeout(limit, transport.send(mail)).await {
        Ok(Ok(_)) => Ok(notice.thread.clone().unwrap_or(receipt)),
        Ok(Err(error)) => Err(refused(&error, &url)),
        Err(_) => Err(later(format!("{} did not answer in time", masked(&url)))),
    }
}

/// `smtp://` alone would speak in the clear.
fn secure(url: &Url) -> Url {
    let mut url = url.clone();
    if url.scheme() == "smtp" && !url.query_pairs().any(|(name, _)| name == "tls") {
        url.query_pairs_mut().append_pair("tls", "required");
    }
    // Ours, not lettre's: nothing there at all, which is what it takes for no encryption.
    if url.query_pairs().any(|(name, value)| name == "tls" && value == "none") {
        url.set_query(None);
    }
    url
}

fn compose(notice: &Notice, from: &str, to: &[String]) -> Result<(Mail, Receipt), DeliveryError> {
    let message = Message::of(notice);
    let mailbox =
        |text: &str| text.parse::<Mailbox>().map_err(|_| never(format!("`{text}` is no address of email")));
    let sender = mailbox(from)?;
    // The same for every attempt: whoever gets it twice can tell.
    let id = format!("<{}@{}>", id_part(&notice.key), sender.email.domain());
    let mut builder: MessageBuilder = Mail::builder()
        .from(sender)
        .subject(message.heading().replace(['\r', '\n'], " "))
        .message_id(Some(id.clone()))
        .date(std::time::UNIX_EPOCH + Duration::from_millis(notice.created_at.as_millis().unsigned_abs()));
    for address in to {
        builder = builder.to(mailbox(address)?);
    }
    if let Some(Receipt(first)) = &notice.thread {
        builder = builder.in_reply_to(first.clone()).references(first.clone());
    }
    let mail = builder
        .header(header::ContentType::TEXT_PLAIN)
        .body(text(&message))
        .map_err(|error| never(format!("the message cannot be written: {error}")))?;
    Ok((mail, Receipt(id)))
}

fn text(message: &Message) -> String {
    let mut text = format!("{}\n\n", message.text);
    for (name, value) in &message.facts {
        text.push_str(&format!("{name}: {}\n", value.replace('\n', " ")));
    }
    if let Some(link) = &message.link {
        text.push_str(&format!("\n{link}\n"));
    }
    text
}

/// A key as the part of a Message-ID before the `@`.
fn id_part(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' }).collect()
}

fn refused(error: &SmtpError, url: &Url) -> DeliveryError {
    // A server's text may repeat what it was told; the code says enough.
    let what = match error.status() {
        Some(code) => format!("{} refused it with {code}", masked(url)),
        None if error.is_timeout() => format!("{} did not answer in time", masked(url)),
        None => format!("{} could not be spoken to: {}", masked(url), causes(error)),
    };
    DeliveryError { message: what, retry: !error.is_permanent(), retry_after: None }
}
