//! One release under watch: what was seen of it so far, and what that says.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::health::{self, Look};
use super::judge::{self, Moment, Traffic};
use super::probes::{self, LogSeen, MetricSeen, Seen};
use super::{INSTANCES, Judged, Subject};
use crate::evidence::{Evidence, Finding};
use crate::ports::Ports;
use crate::time::Span;

/// How many looks in a row must find too few ready instances: some may fall into a restart of the proxy.
const LOOKS: u32 = 6;
/// The pause between two looks at the output.
const LOGS_EVERY: Span = Span::from_secs(1);

/// Dropping it ends its checks.
pub struct Inspection {
    ports: Ports,
    subject: Arc<Subject>,
    begun: Span,
    /// Looks in a row that found too few ready instances.
    short: u32,
    seen_well: bool,
    sick: Option<String>,
    traffic: Option<Traffic>,
    probes: JoinSet<Seen>,
    smoke: Vec<Option<Result<String, String>>>,
    smoke_begun: bool,
    logs: Vec<Option<LogSeen>>,
    metrics: Vec<Option<MetricSeen>>,
    /// When, and whether, output and metrics are looked at again.
    logs_due: Option<Span>,
    metrics_due: Option<Span>,
}

impl Inspection {
    pub fn begin(ports: &Ports, subject: Subject) -> Self {
        let (begun, verify) = (ports.clock.running_for(), &subject.release.contents.settings.verify);
        let queries = verify.prometheus.as_ref().map_or(0, |prometheus| prometheus.queries.len());
        let smoke: Vec<_> = verify.smoke.iter().map(|test| judge::smoke_seen(test, &subject.known)).collect();
        Self {
            begun,
            short: 0,
            seen_well: false,
            sick: None,
            traffic: None,
            probes: JoinSet::new(),
            smoke,
            smoke_begun: false,
            logs: vec![None; verify.logs.len()],
            metrics: vec![None; queries],
            logs_due: (!verify.logs.is_empty()).then_some(begun),
            metrics_due: (queries > 0).then_some(begun),
            ports: ports.clone(),
            subject: Arc::new(subject),
        }
    }

    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Looks once, and says what is certain by now to speak against the release.
    pub async fn look(&mut self) -> Vec<Evidence> {
        self.look_at_instances().await;
        if self.subject.release.contents.settings.verify.needs_counts()
            && let Ok(Ok(counts)) = health::in_time(self.ports.router.counts(&self.subject.environment)).await
        {
            self.traffic = Some(self.subject.traffic(&counts));
        }
        self.hear_probes();
        self.send_probes();
        self.evidence(Moment::During).into_iter().filter(|one| one.finding == Finding::Bad).collect()
    }

    /// Whether every check has said something, and nothing may yet turn out to be short of instances.
    pub fn is_settled(&self) -> bool {
        let is_decided = self.sick.is_some() || (self.short == 0 && self.seen_well);
        // Smoke tests wait for instances that are well; without any they are never begun.
        let none_to_wait_for = self.sick.is_some() && !self.smoke_begun;
        is_decided
            && (none_to_wait_for || self.smoke.iter().all(Option::is_some))
            && self.logs.iter().all(Option::is_some)
            && self.metrics.iter().all(Option::is_some)
    }

    /// What every check says at this moment.
    pub fn so_far(&self) -> Vec<Evidence> {
        self.evidence(Moment::During)
    }

    /// What can be said now that the watch is over.
    pub fn end(&self) -> Judged {
        Judged::from(self.evidence(Moment::End))
    }

    /// Forgets what an operation may have caused.
    pub fn pardon(&mut self) {
        (self.short, self.sick) = (0, None);
    }

    /// Gives what was found sick the chance to be well again.
    pub fn look_anew(&mut self) {
        self.sick = None;
    }

    async fn look_at_instances(&mut self) {
        let patience = self.subject.release.contents.settings.health_check.deadline;
        let in_patience = self.ports.clock.running_for() < self.begun.plus(patience);
        match health::look(&self.ports, &self.subject).await {
            Look::Good => (self.short, self.seen_well) = (0, true),
            // After a reboot nothing runs yet: it gets the time that a start gets.
            Look::Absent(_) if !self.seen_well && in_patience => self.short = 1,
            Look::Short(why) | Look::Absent(why) => {
                self.short += 1;
                if self.short >= LOOKS {
                    self.sick = Some(why);
                }
            }
            Look::Bad(why) => self.sick = Some(why),
        }
    }

    fn hear_probes(&mut self) {
        while let Some(ended) = self.probes.try_join_next() {
            match ended {
                Ok(Seen::Smoke(index, seen)) => self.smoke[index] = Some(seen),
                Ok(Seen::Log(index, seen)) => self.logs[index] = Some(seen),
                Ok(Seen::Metric(index, seen)) => self.metrics[index] = Some(seen),
                Err(error) => tracing::warn!("a check ended early: {error}"),
            }
        }
    }

    fn send_probes(&mut self) {
        let now = self.ports.clock.running_for();
        let settings = &self.subject.release.contents.settings.verify;
        if self.seen_well && !self.smoke_begun {
            self.smoke_begun = true;
            // One whose verdict an earlier watch recorded is not run twice.
            for index in (0..settings.smoke.len()).filter(|index| self.smoke[*index].is_none()) {
                let (ports, subject) = (self.ports.clone(), Arc::clone(&self.subject));
                self.probes.spawn(async move {
                    let test = &subject.release.contents.settings.verify.smoke[index];
                    Seen::Smoke(index, probes::smoke(&ports, &subject, test).await)
                });
            }
        }
        if self.logs_due.is_some_and(|due| due <= now) {
            self.logs_due = Some(now.plus(LOGS_EVERY));
            for index in 0..settings.logs.len() {
                let (ports, subject) = (self.ports.clone(), Arc::clone(&self.subject));
                self.probes.spawn(async move {
                    let pattern = &subject.release.contents.settings.verify.logs[index];
                    Seen::Log(index, probes::log(&ports, &subject, pattern).await)
                });
            }
        }
        if let (Some(prometheus), true) =
            (&settings.prometheus, self.metrics_due.is_some_and(|due| due <= now))
        {
            self.metrics_due = Some(now.plus(prometheus.interval));
            for index in 0..prometheus.queries.len() {
                let (ports, subject) = (self.ports.clone(), Arc::clone(&self.subject));
                let known = self.metrics[index].as_ref().and_then(|seen| seen.before);
                self.probes.spawn(async move {
                    let Some(prometheus) = &subject.release.contents.settings.verify.prometheus else {
                        return Seen::Metric(index, MetricSeen { now: Ok(None), before: None });
                    };
                    let query = &prometheus.queries[index];
                    Seen::Metric(index, probes::metric(&ports, &subject, prometheus, query, known).await)
                });
            }
        }
    }

    fn evidence(&self, moment: Moment) -> Vec<Evidence> {
        let verify = &self.subject.release.contents.settings.verify;
        let (instances, text) = match &self.sick {
            Some(why) => (Finding::Bad, why.clone()),
            None => (Finding::Good, "every instance is ready".to_owned()),
        };
        let leads = instances.leads_to(verify.on_bad, verify.on_no_data);
        let mut all = vec![Evidence::new(INSTANCES, instances, leads, text)];
        all.extend(judge::traffic(verify, self.traffic.as_ref(), moment));
        let smoke = verify.smoke.iter().zip(&self.smoke);
        all.extend(smoke.filter_map(|(test, seen)| Some(judge::smoke(verify, test, seen.as_ref()?))));
        let logs = verify.logs.iter().zip(&self.logs);
        all.extend(logs.filter_map(|(pattern, seen)| {
            seen.as_ref().map(|seen| judge::log(verify, pattern, &seen.now, seen.before))
        }));
        let queries = verify.prometheus.iter().flat_map(|prometheus| &prometheus.queries);
        all.extend(queries.zip(&self.metrics).filter_map(|(query, seen)| {
            seen.as_ref().map(|seen| judge::metric(verify, query, &seen.now, seen.before))
        }));
        all
    }
}
