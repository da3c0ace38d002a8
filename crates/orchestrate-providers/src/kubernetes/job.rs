//! Hooks and smoke tests: commands of a release that run once, each as a Job. A hook's Job stays until its deployment or
//! rollback is over, so that who asks again is told what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrate_core::ports::{
    Ended, ForgetHooks, HookRequest, OneOff, PortError, PortErrorKind, PortResult,
};
use orchestrate_core::release::Digest;
use serde_json::Value;
use tokio::time::Instant;

use super::anchor;
use super::api::{ApiResult, Kind};
use super::fault::Fault;
use super::follow;
use super::hopeless::{Stuck, hopeless_pod};
use super::live;
use super::names::OF;
use super::object::Object;
use super::objects::Release;
use super::provider::Shared;
use super::security::Denial;
use super::site::Site;
use super::start::apply_contents;

/// How long the cluster may take to find a place for it and to get its image, beside the command's own time.
const LAG: Duration = Duration::from_secs(60);
const LINES: u32 = 10;
const BY_JOB: &str = "batch.kubernetes.io/job-name";

pub(super) async fn hook(shared: &Shared, request: &HookRequest) -> PortResult<Ended> {
    let one_off = OneOff {
        placement: request.placement.clone(),
        name: request.hook.to_string(),
        command: request.command.clone(),
        variables: BTreeMap::from([("ORCHESTRATE_HOOK".to_owned(), request.hook.to_string())]),
        timeout: request.timeout,
    };
    let spec = shared.specs.run_spec(request.placement.release).await?;
    let site = shared.site(&request.placement.environment, Some(&spec)).await?;
    anchor::claim(&site, request.fence).await?;
    let release = Release { names: &site.names, spec: &spec, placement: &request.placement };
    apply_contents(&site, &release, request.fence.0).await?;
    let name = site.names.job(&format!("{}-{}", request.of, request.hook).replace('_', "-"));
    let mut object = release.job(&name, &one_off.command, &one_off.variables, one_off.timeout)?;
    object["metadata"]["labels"][OF] = request.of.as_str().into();
    let job = begin(&site, &object).await?;
    end(&site, &job, &one_off).await
}

/// Deletes the Jobs of all others than the one that goes on.
pub(super) async fn forget(site: &Site, request: &ForgetHooks) -> PortResult<()> {
    anchor::claim(site, request.fence).await?;
    let (jobs, _) = site.cluster.list(Kind::Job, &format!("{},{OF}", site.names.selector())).await?;
    for job in jobs.iter().filter(|job| job.label(OF) != request.but.as_deref()) {
        site.cluster.delete(Kind::Job, job).await?;
    }
    Ok(())
}

pub(super) async fn once(shared: &Shared, one_off: &OneOff) -> PortResult<Ended> {
    let spec = shared.specs.run_spec(one_off.placement.release).await?;
    let site = shared.site(&one_off.placement.environment, Some(&spec)).await?;
    let release = Release { names: &site.names, spec: &spec, placement: &one_off.placement };
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|cause| PortError::failed(format!("no random numbers: {cause}")))?;
    let name = site.names.job(&format!("once-{}", &Digest::of(&random).as_str()[..10]));
    let object = release.job(&name, &one_off.command, &one_off.variables, one_off.timeout)?;
    let job = begin(&site, &object).await?;
    let ended = end(&site, &job, one_off).await;
    delete(&site, &name).await?;
    ended
}

async fn delete(site: &Site, name: &str) -> ApiResult<()> {
    match site.cluster.get(Kind::Job, name).await? {
        Some(job) => site.cluster.delete(Kind::Job, &job).await.map(drop),
        None => Ok(()),
    }
}

/// A Job that was made. Pods and events of an earlier one of the same name may still be there.
struct Begun {
    name: String,
    uid: String,
}

impl Begun {
    fn owns(&self, pod: &Object) -> bool {
        pod.items("/metadata/ownerReferences").any(|owner| owner.text("/uid") == Some(&self.uid))
    }

    fn is_meant_by(&self, event: &Object) -> bool {
        event.text("/involvedObject/uid") == Some(&self.uid)
    }
}

/// One that is there already was begun by who asked before.
async fn begin(site: &Site, object: &Value) -> PortResult<Begun> {
    const ATTEMPTS: usize = 3;
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let there = match site.cluster.create(Kind::Job, object).await {
            Ok(made) => Some(made),
            Err(Fault::Refused(refusal)) if refusal.is_conflict() => {
                site.cluster.get(Kind::Job, name).await?
            }
            Err(fault) => return Err(fault.into()),
        };
        // It may have been taken away between the two.
        if let Some(job) = there {
            let uid = job.text("/metadata/uid").unwrap_or_default().to_owned();
            return Ok(Begun { name: name.to_owned(), uid });
        }
    }
    Err(PortError::unreachable(format!("the Job {name} is being made and deleted by somebody else")))
}

async fn end(site: &Site, job: &Begun, one_off: &OneOff) -> PortResult<Ended> {
    let deadline = Instant::now() + one_off.timeout.duration() + LAG;
    let (name, selector) = (job.name.as_str(), site.names.selector());
    let ended = follow::until(&site.cluster, Kind::Job, selector, deadline, |jobs| {
        // One that is gone was taken away by hand.
        jobs.get(name).map_or(Some(None), |job| outcome(job).map(Some))
    });
    let outcome = tokio::select! {
        biased;
        outcome = ended => outcome?,
        error = refused(site, job, deadline) => return Err(give_up(site, name, error).await),
        error = hopeless(site, job, deadline) => return Err(give_up(site, name, error).await),
    };
    let (pod, output) = output(site, job).await;
    let late = || {
        let words = one_off.command.join(" ");
        PortError::new(
            PortErrorKind::TimedOut,
            format!("`{words}` did not end within {} and was ended", one_off.timeout),
        )
    };
    let told = |error: PortError| if output.is_empty() { error } else { error.detail(output.clone()) };
    let how = pod.as_ref().and_then(live::container).as_ref().and_then(live::last_exit);
    let code =
        pod.as_ref().and_then(live::container).and_then(|one| one.number("/state/terminated/exitCode"));
    let code = code.and_then(|code| i32::try_from(code).ok());
    match outcome {
        None | Some(Some(Outcome::Late)) => Err(told(late())),
        Some(None) => Err(PortError::failed(format!("the Job {name} was deleted while it ran"))),
        Some(Some(Outcome::Done)) => Ok(Ended {
            success: true,
            how: how.unwrap_or_else(|| "exited with status 0".into()),
            code: code.or(Some(0)),
            output,
        }),
        Some(Some(Outcome::Failed(why))) => {
            Ok(Ended { success: false, how: how.unwrap_or(why), code, output })
        }
    }
}

/// Returns only if the cluster does not let the Job's pod in: that is in no condition of the Job, but in an event of it. Who
/// may not read events waits for the Job's own time.
async fn refused(site: &Site, job: &Begun, deadline: Instant) -> PortError {
    let name = &job.name;
    let selector = format!("involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate");
    let found = follow::until(&site.cluster, Kind::Event, selector, deadline, |events| {
        let meant = events.values().filter(|event| job.is_meant_by(event));
        let mut said = meant.filter_map(|event| event.text("/message"));
        said.find(|message| message.contains("forbidden") || message.contains("denied")).map(str::to_owned)
    });
    match found.await {
        Ok(Some(message)) => {
            PortError::failed(format!("the cluster makes no pod of the Job {name}: {message}"))
                .detail(Denial::read(&message).advice())
        }
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Returns only if the Job's pod will never run, as its node says: its image cannot be had, for one.
async fn hopeless(site: &Site, job: &Begun, deadline: Instant) -> PortError {
    let (name, mut stuck) = (&job.name, Stuck::default());
    let found = follow::until(&site.cluster, Kind::Pod, format!("{BY_JOB}={name}"), deadline, |pods| {
        let mut all = pods
            .values()
            .filter(|pod| job.owns(pod))
            .filter_map(|pod| hopeless_pod(&format!("the Job {name} (pod {})", pod.name()), pod, &mut stuck));
        all.find(|one| !one.for_now)
    });
    match found.await {
        Ok(Some(hopeless)) => hopeless.told(site).await,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// The cluster would go on trying, and the command would run when nobody expects it any more.
async fn give_up(site: &Site, name: &str, error: PortError) -> PortError {
    match delete(site, name).await {
        Ok(()) => error,
        Err(fault) => {
            let fault = PortError::from(fault);
            error.detail(format!("it may still run: kubectl delete job {name} ({fault})"))
        }
    }
}

enum Outcome {
    Done,
    Late,
    Failed(String),
}

fn outcome(job: &Object) -> Option<Outcome> {
    if job.condition("Complete").is_some_and(|(holds, _)| holds) {
        return Some(Outcome::Done);
    }
    let (_, failed) = job.condition("Failed").filter(|(holds, _)| *holds)?;
    if failed.text("/reason") == Some("DeadlineExceeded") {
        return Some(Outcome::Late);
    }
    Some(Outcome::Failed(failed.text("/message").unwrap_or("failed").to_owned()))
}

/// The pod of the Job, and the end of what it printed; what cannot be read is left out.
async fn output(site: &Site, job: &Begun) -> (Option<Object>, String) {
    let Ok((pods, _)) = site.cluster.list(Kind::Pod, &format!("{BY_JOB}={}", job.name)).await else {
        return (None, String::new());
    };
    let Some(pod) = pods.into_iter().find(|pod| job.owns(pod)) else { return (None, String::new()) };
    let query = format!("container={}&tailLines={LINES}", live::container_of(&pod));
    let log = site.cluster.log(pod.name(), &query).await.unwrap_or_default();
    let printed = Some(log.trim_end().to_owned()).filter(|log| !log.is_empty());
    let said = printed.or_else(|| live::last_words(&live::container(&pod)?));
    (Some(pod), said.unwrap_or_default())
}
