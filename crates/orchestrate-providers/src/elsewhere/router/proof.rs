//! That a release is live: what moves the traffic says so, and its address answers as it should.

use std::time::Duration;

use orchestrate_core::ports::{PortError, PortResult, Proof, Prove};
use tokio::time::{Instant, sleep};

use super::{Elsewhere, Means, known};
use crate::elsewhere::web::Page;

/// How long what answers may be behind what was switched: caches, other machines.
const BEHIND: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn prove<M: Means>(router: &Elsewhere<M>, request: &Prove) -> PortResult<Proof> {
    let placement = &request.placement;
    let entry = router.book.entry(&placement.environment).await?;
    let route = known(&entry, placement)?;
    let (look, spec) = router.look(route).await?;
    if look.weight == 0 {
        let mut live = Vec::new();
        for other in entry.routes.iter().filter(|other| other.placement != *placement) {
            if router.look(other).await?.0.weight > 0 {
                live.push(other.placement.version.to_string());
            }
        }
        let who = if live.is_empty() { "nobody".to_owned() } else { live.join(" and ") };
        let (version, environment) = (&placement.version, &placement.environment);
        return Err(PortError::failed(format!("{who} has the traffic of {environment}, not {version}")));
    }
    let proof = |status, micros| Proof {
        release: placement.release,
        version: placement.version.clone(),
        status,
        micros,
    };
    let Some(url) = router.means.url(&spec) else { return Ok(proof(request.expected_status, 0)) };
    // While two releases share the traffic, nobody here can say which one a request reaches.
    let contains = request.contains.as_ref().filter(|_| look.weight == 100);
    let wanted = contains.map(|text| text.replace("{version}", placement.version.as_str()));
    let deadline = Instant::now() + BEHIND;
    loop {
        let begun = Instant::now();
        let page = router.web.get(url, &request.path, request.timeout.duration()).await;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        match page.and_then(|page| judge(request, url, &page, wanted.as_deref())) {
            Ok(status) => return Ok(proof(status, micros)),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

fn judge(request: &Prove, url: &str, page: &Page, wanted: Option<&str>) -> PortResult<u16> {
    let (path, expected) = (&request.path, request.expected_status);
    if page.status != expected {
        return Err(PortError::failed(format!("{url} answered {} to {path}, not {expected}", page.status)));
    }
    match wanted.filter(|wanted| !page.body.contains(wanted)) {
        None => Ok(page.status),
        Some(wanted) => {
            let start: String = page.body.chars().take(200).collect();
            let message = format!("the answer of {url} to {path} does not contain {wanted:?}");
            Err(PortError::failed(message).detail(format!("it begins with {start:?}")))
        }
    }
}
