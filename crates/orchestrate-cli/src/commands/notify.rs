//! `orchestrate notify …`: channels and the outbox.

use orchestrate_core::access::Right;
use orchestrate_core::database::{Flush, NewNotice, OutboxRecord, OutboxStatus};
use orchestrate_core::notification::{Channel, NoticeKind};
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::{Error, Result};

use crate::args::{Global, NotifyCommand};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment};
use crate::wiring::Wiring;

/// More than this nobody reads.
const MOST_DEAD: i64 = 1_000;

pub async fn run(global: &Global, command: NotifyCommand, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    match command {
        NotifyCommand::Test(args) => test(&wiring, &args.env, printer).await,
        NotifyCommand::Status { dead, .. } => status(&wiring, dead, printer).await,
        NotifyCommand::Flush { dead, id, .. } => {
            let which = match (id, dead) {
                (Some(id), _) => Flush::One(id),
                (None, true) => Flush::Dead,
                (None, false) => Flush::Pending,
            };
            flush(&wiring, which, printer).await
        }
    }
}

async fn test(
    wiring: &Wiring,
    environment: &orchestrate_core::name::EnvironmentName,
    printer: &Printer,
) -> Ended {
    let record = wiring.db.environment(environment).await?;
    if record.channels.is_empty() {
        return Err(Error::refused("ORC-0131", format!("{environment} has no notification channels"))
            .hint("add `notifications` to orchestrate.yaml, then run `orchestrate env apply`")
            .into());
    }
    let actor = wiring.actor(Right::Deploy, environment, "notify test").await?;
    let now = SystemClock.now();
    for (index, channel) in record.channels.iter().enumerate() {
        let payload = serde_json::json!({
            "service": record.environment.service, "environment": environment, "actor": actor,
            "text": format!("a test notice of {} in {environment}", record.environment.service),
        });
        let notice = NewNotice {
            key: format!("test-{environment}-{}-{}-{index}", std::process::id(), now.as_millis()),
            environment: Some(environment.clone()),
            kind: NoticeKind::Test,
            channel: channel.clone(),
            payload,
            rollback: None,
            subject: None,
            now,
        };
        wiring.db.enqueue_notice(&notice).await?;
    }
    wiring.hand_over().await?;
    let count = record.channels.len();
    let value = serde_json::json!({ "environment": environment, "queued": count });
    printer.result(&value, || {
        let (notices, they) = if count == 1 { ("notice", "it fares") } else { ("notices", "they fare") };
        format!(
            "{} {count} test {notices}; see how {they}: orchestrate notify status",
            printer.good("queued")
        )
    });
    Ok(Exit::DONE)
}

async fn status(wiring: &Wiring, dead: bool, printer: &Printer) -> Ended {
    let counts = wiring.db.count_notices().await?;
    let count =
        |wanted: OutboxStatus| counts.iter().find(|(status, _)| *status == wanted).map_or(0, |(_, n)| *n);
    let records = match dead {
        true => wiring.db.list_dead_notices(MOST_DEAD).await?,
        false => wiring.db.list_notices(20).await?,
    };
    let rows: Vec<serde_json::Value> = records.iter().map(json).collect();
    let value = serde_json::json!({
        "pending": count(OutboxStatus::Pending), "delivered": count(OutboxStatus::Delivered),
        "dead": count(OutboxStatus::Dead), "notices": rows,
    });
    printer.result(&value, || {
        let head = format!(
            "{} pending, {} delivered, {} given up on",
            count(OutboxStatus::Pending),
            count(OutboxStatus::Delivered),
            count(OutboxStatus::Dead)
        );
        if records.is_empty() {
            return head;
        }
        let lines = records.iter().map(|record| {
            vec![
                record.id.to_string(),
                moment(record.notice.created_at),
                record.notice.kind.to_string(),
                place(&record.notice.channel),
                record.status.as_str().to_owned(),
                record.attempts.to_string(),
                record.next_attempt_at.map_or_else(String::new, moment),
                harmless(record.last_error.as_deref().unwrap_or_default()),
            ]
        });
        let header = ["ID", "WRITTEN (UTC)", "KIND", "TO", "STATUS", "ATTEMPTS", "NEXT (UTC)", "ERROR"];
        format!("{head}\n\n{}", printer.table(&header, lines.collect()))
    });
    Ok(Exit::DONE)
}

fn json(record: &OutboxRecord) -> serde_json::Value {
    serde_json::json!({
        "id": record.id, "type": record.notice.channel.via.as_str(), "key": record.notice.key, "kind": record.notice.kind, "to": place(&record.notice.channel),
        "environment": record.environment, "status": record.status, "attempts": record.attempts,
        "created_at": record.notice.created_at, "next_attempt_at": record.next_attempt_at,
        "delivered_at": record.delivered_at, "last_error": record.last_error,
    })
}

fn place(channel: &Channel) -> String {
    super::intake::masked_address(&channel.url)
}

async fn flush(wiring: &Wiring, which: Flush, printer: &Printer) -> Ended {
    let actor = wiring.actor_of_all(Right::Deploy).await?;
    let due = wiring.db.flush_notices(which, &actor, SystemClock.now()).await?;
    ring(wiring).await?;
    let value = serde_json::json!({ "due": due });
    let notices = if due == 1 { "notice" } else { "notices" };
    printer.result(&value, || format!("{} {due} {notices} now", printer.good("delivering")));
    Ok(Exit::DONE)
}

async fn ring(wiring: &Wiring) -> Result<()> {
    wiring.hand_over().await
}
