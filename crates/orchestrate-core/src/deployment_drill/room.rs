//! A drill stands in nobody's way: who wants to deploy or roll back waits for its end, and it is given up for that where it can be.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

use crate::database::{Database, OperationStatus};
use crate::error::{Error, Result};
use crate::execute::Limits;
use crate::execute::record::{ATTEMPTS, MOVED, busy};
use crate::name::{EnvironmentName, OperationId};
use crate::plan::OperationKind;
use crate::ports::Ports;

/// How often a drill looks whether somebody waits for its end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long who waits does so; by then something else is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns once no drill is in the way any more, whatever else is.
pub(crate) async fn cleared(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
) -> Result<()> {
    if db.lease(environment).await?.is_some_and(|lease| lease.is_closed()) {
        let busy = busy(db, ports, environment).await?;
        made(db, ports, environment, actor, &busy).await?;
    }
    Ok(())
}

/// True once the drill that was in the way is over, and nothing came after it; false where something else is in the way.
async fn made(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
    busy: &Error,
) -> Result<bool> {
    if busy.code() != "ORC-0110" {
        return Ok(false);
    }
    let open = db.open_operation(environment).await?;
    let drill = open.filter(|open| open.kind == OperationKind::Drill && open.status == OperationStatus::Open);
    let Some(drill) = drill else { return Ok(false) };
    ports.progress.remark(&format!("a drill is under way in {environment}; it makes room"));
    db.want_end_of_drill(drill.id, actor).await?;
    let ended = async {
        while db.open_operation(environment).await?.is_some_and(|open| open.id == drill.id) {
            tokio::time::sleep(LOOK_EVERY / 2).await;
        }
        // Who waits meant what was live then: after somebody else's rollback, theirs would go further back.
        let (ended, lease) = (db.operation(drill.id).await?, db.lease(environment).await?);
        Ok(ended.map(|ended| ended.fence) == lease.map(|lease| lease.fence))
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap_or(Ok(false))
}

/// Like [`anew`](crate::execute::record::anew), and a drill that is in the way makes room first.
pub(crate) async fn anew_with_room<T, F: Future<Output = Result<T>>>(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
    mut once: impl FnMut() -> F,
) -> Result<T> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match once().await {
            Err(error) if error.code() == MOVED && left > 0 => {}
            // Who waited meant what was live then, and does not plan anew.
            Err(error) if left > 0 && made(db, ports, environment, actor, &error).await? => left = 1,
            result => return result,
        }
    }
}

/// Ends a drill early when a person presses Ctrl-C, or when somebody waits for its end.
pub(super) struct Ear {
    limits: Limits,
    give_up: watch::Sender<bool>,
    /// Who waits.
    wanted_by: watch::Sender<Option<String>>,
}

impl Ear {
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            give_up: watch::Sender::new(false),
            wanted_by: watch::Sender::new(None),
        }
    }

    /// The limits under which it is carried out.
    pub fn limits(&self) -> Limits {
        Limits { interrupt: Some(self.give_up.subscribe()), ..self.limits.clone() }
    }

    pub fn wanted_by(&self) -> Option<String> {
        self.wanted_by.borrow().clone()
    }

    /// Listens for as long as it is polled.
    pub async fn listen(&self, db: &Database, operation: OperationId) -> Infallible {
        let pressed = async {
            let Some(mut interrupt) = self.limits.interrupt.clone() else {
                return std::future::pending().await;
            };
            if interrupt.wait_for(|on| *on).await.is_err() {
                std::future::pending().await
            }
        };
        let wanted = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                // Who cannot be read now may be read at the next look.
                if let Ok(Some(who)) = db.end_of_drill_wanted_by(operation).await {
                    return who;
                }
            }
        };
        tokio::select! {
            () = pressed => {}
            who = wanted => {
                self.wanted_by.send_replace(Some(who));
            }
        }
        self.give_up.send_replace(true);
        std::future::pending().await
    }
}
