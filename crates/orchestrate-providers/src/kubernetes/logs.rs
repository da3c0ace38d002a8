//! What pods print, as the API server passes it on: what is there, and what comes, of pods that come as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::ports::{PortErrorKind, PortResult};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::access::Access;
use super::api::{Cluster, Kind};
use super::fault::Fault;
use super::follow::{Follow, Lines};
use super::live;
use super::names::{PROCESS, VERSION};
use super::object::Object;
use super::site::{Places, Site};

/// Lines on their way to who prints them.
const UNDER_WAY: usize = 256;
/// The pause before output whose connection ended is asked for again.
const PAUSE: Duration = Duration::from_millis(300);

/// Whose output is wanted, and how much of its end.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub environment: EnvironmentName,
    pub version: Version,
    pub lines: u32,
}

/// A line, and the pod that printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub pod: String,
    pub text: String,
}

/// Reads the output of environments in their clusters.
pub struct Logs {
    places: Arc<dyn Places>,
    access: Arc<Access>,
}

impl Logs {
    pub fn new(places: Arc<dyn Places>) -> Self {
        Self { places, access: Access::shared() }
    }

    async fn site(&self, environment: &EnvironmentName) -> PortResult<Site> {
        Site::known(&*self.places, &self.access, environment).await
    }

    /// The last lines of every pod of the version; none, where it has no pod that ever ran.
    pub async fn last(&self, wanted: &Wanted) -> PortResult<Vec<Line>> {
        let site = self.site(&wanted.environment).await?;
        let (pods, _) = site.cluster.list(Kind::Pod, &selector(&site)).await?;
        let mut all = Vec::new();
        for pod in pods.iter().filter(|pod| is_meant(pod, wanted) && has_run(pod)) {
            let query = format!("container={}&tailLines={}", live::container_of(pod), wanted.lines);
            let text = match site.cluster.log(pod.name(), &query).await {
                Ok(text) => text,
                // It is gone, or about to start again.
                Err(Fault::Refused(refusal)) if refusal.is_missing() || refusal.code == 400 => continue,
                Err(fault) => return Err(fault.into()),
            };
            let line = |text: &str| Line { pod: pod.name().to_owned(), text: text.to_owned() };
            all.extend(text.lines().map(line));
        }
        Ok(all)
    }

    /// The same, and every line from then on, for as long as it is polled. Returns only with an error.
    pub async fn follow(&self, wanted: &Wanted, mut print: impl FnMut(Line)) -> PortResult<()> {
        let site = self.site(&wanted.environment).await?;
        let mut pods = Follow::begin(&site.cluster, Kind::Pod, selector(&site));
        let (sender, mut lines) = mpsc::channel(UNDER_WAY);
        let (mut readers, mut known) = (JoinSet::new(), BTreeMap::<String, Known>::new());
        let mut looks = true;
        loop {
            if std::mem::take(&mut looks) {
                match pods.now().await {
                    Ok(there) => {
                        known.retain(|name, _| there.contains_key(name));
                        for pod in there.values().filter(|pod| is_meant(pod, wanted) && has_run(pod)) {
                            let state = known.entry(pod.name().to_owned()).or_default();
                            // What ended was read to its end; it is read again once it runs again.
                            if state.is_read || (state.was_read && !is_running(pod)) {
                                continue;
                            }
                            (state.is_read, state.was_read) = (true, true);
                            let reader = Reader::of(&site.cluster, pod, state.last.clone(), wanted.lines);
                            readers.spawn(reader.run(sender.clone()));
                        }
                    }
                    // It may answer again.
                    Err(error) if error.kind == PortErrorKind::Unreachable => {
                        tracing::debug!(%error, "pods cannot be seen");
                    }
                    Err(error) => return Err(error),
                }
            }
            tokio::select! {
                line = lines.recv() => if let Some(line) = line { print(line) },
                () = pods.changed() => looks = true,
                Some(ended) = readers.join_next(), if !readers.is_empty() => {
                    let Ok(ended) = ended else { continue };
                    if let Some(state) = known.get_mut(&ended.pod) {
                        (state.is_read, state.last) = (false, ended.last);
                    }
                    if let Err(fault) = ended.result {
                        return Err(fault.into());
                    }
                    looks = true;
                }
            }
        }
    }
}

/// Pods of instances: those of hooks have no process type.
fn selector(site: &Site) -> String {
    format!("{},{PROCESS}", site.names.selector())
}

fn is_meant(pod: &Object, wanted: &Wanted) -> bool {
    pod.annotation(VERSION) == Some(wanted.version.as_str())
}

/// A container that never ran has printed nothing.
fn has_run(pod: &Object) -> bool {
    live::container(pod).is_some_and(|one| {
        one.0.pointer("/state/running").or_else(|| one.0.pointer("/state/terminated")).is_some()
            || one.count("/restartCount") > 0
    })
}

fn is_running(pod: &Object) -> bool {
    live::container(pod).is_some_and(|one| one.0.pointer("/state/running").is_some())
}

#[derive(Default)]
struct Known {
    /// When it printed the last line that was passed on, as the cluster writes it.
    last: Option<String>,
    is_read: bool,
    was_read: bool,
}

/// Passes on what one pod prints until its connection ends.
struct Reader {
    cluster: Cluster,
    pod: String,
    query: String,
    last: Option<String>,
}

struct Ended {
    pod: String,
    last: Option<String>,
    result: Result<(), Fault>,
}

impl Reader {
    fn of(cluster: &Cluster, pod: &Object, last: Option<String>, lines: u32) -> Self {
        let from = match &last {
            Some(last) => format!("sinceTime={}", orchestrate_core::uri::component(last)),
            None => format!("tailLines={lines}"),
        };
        let container = live::container_of(pod);
        let query = format!("container={container}&follow=true&timestamps=true&{from}");
        Self { cluster: cluster.clone(), pod: pod.name().to_owned(), query, last }
    }

    async fn run(mut self, sender: mpsc::Sender<Line>) -> Ended {
        let result = match self.pass_on(&sender).await {
            Err(Fault::Refused(refusal)) if refusal.code == 403 => Err(Fault::Refused(refusal)),
            Ok(()) | Err(_) => Ok(()),
        };
        tokio::time::sleep(PAUSE).await;
        Ended { pod: self.pod, last: self.last, result }
    }

    async fn pass_on(&mut self, sender: &mpsc::Sender<Line>) -> Result<(), Fault> {
        let response = self.cluster.follow_log(&self.pod, &self.query).await?;
        let mut lines = Lines::of(response.into_body());
        while let Some(line) = lines.next().await {
            let line = String::from_utf8_lossy(&line);
            let (time, text) = line.split_once(' ').unwrap_or((&line, ""));
            // The API server begins at the very time, with lines that were passed on already.
            if self.last.as_deref().is_some_and(|last| time <= last) {
                continue;
            }
            self.last = Some(time.to_owned());
            let line = Line { pod: self.pod.clone(), text: text.trim_end_matches('\r').to_owned() };
            if sender.send(line).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
