//! What lies between a program and the world: requests that are lost, come twice, come late, or are not answered.

use std::sync::Arc;

use async_trait::async_trait;

use super::fate::{Fate, Luck};
use crate::fakes::World;
use crate::name::EnvironmentName;
use crate::ports::{
    Answer, AwaitHealthy, Close, CountLines, Deregister, Drain, Drained, Ended, Fetch, HookRequest, Instance,
    Lines, Metric, OneOff, PortError, PortResult, Probe, Proof, Prove, Provider, Register, ReleaseCounts,
    Router, RouterView, StartRequest, StopRequest, Switch, Witness,
};
use crate::release::Digest;
use crate::traffic::Shift;

/// A program's connection to provider and router.
#[derive(Clone)]
pub(super) struct Line {
    pub world: World,
    pub fate: Arc<Fate>,
    pub pid: u32,
}

/// Lets others go on.
async fn wait_for_a_turn() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

impl Line {
    /// Whatever happens to others in between, the effect itself is one moment.
    async fn cross<T, F>(&self, what: String, effect: impl Fn(World) -> F + Send + Sync) -> PortResult<T>
    where
        F: Future<Output = PortResult<T>> + Send + 'static,
        T: Send + 'static,
    {
        let luck = self.fate.luck();
        let late = effect(self.world.clone());
        let number = self.fate.send(self.pid, Box::pin(async move { drop(late.await) }));
        wait_for_a_turn().await;
        self.fate.arrived(number);
        self.fate.tell(format!(
            "{} {what}{}",
            self.pid,
            if luck == Luck::Good { String::new() } else { format!(" {luck:?}") }
        ));
        match luck {
            Luck::Lost => return Err(PortError::unreachable("the request was lost")),
            Luck::Refused(kind) => return Err(PortError::new(kind, "it was refused by chance")),
            Luck::Good | Luck::AnswerLost | Luck::Doubled => {}
        }
        let mut result = effect(self.world.clone()).await;
        if luck == Luck::Doubled {
            result = effect(self.world.clone()).await;
        }
        if let Err(error) = &result {
            self.fate.tell(format!("{} ... {error}", self.pid));
        }
        wait_for_a_turn().await;
        match luck {
            Luck::AnswerLost => Err(PortError::unreachable("the answer was lost")),
            Luck::Good | Luck::Doubled | Luck::Lost | Luck::Refused(_) => result,
        }
    }

    /// The proxy writes its routes down before it answers.
    fn saves<T>(world: &World, fate: &Fate, result: PortResult<T>) -> PortResult<T> {
        if result.is_ok() {
            fate.save(world.routes());
        }
        result
    }
}

/// One method: the request is carried over the line, to be done by the world.
macro_rules! carry {
    ($line:ident, $what:expr, $request:ident, $method:ident) => {{
        let request = $request.clone();
        let effect = move |world: World| {
            let request = request.clone();
            async move { world.$method(&request).await }
        };
        $line.cross($what, effect).await
    }};
}

/// The same for one after which the routes are on disk.
macro_rules! carry_and_save {
    ($line:ident, $what:expr, $request:ident, $method:ident) => {{
        let (request, fate) = ($request.clone(), Arc::clone(&$line.fate));
        let effect = move |world: World| {
            let (request, fate) = (request.clone(), Arc::clone(&fate));
            async move { Line::saves(&world, &fate, world.$method(&request).await) }
        };
        $line.cross($what, effect).await
    }};
}

#[async_trait]
impl Provider for Line {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        carry!(self, "fetch".into(), request, fetch)
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let what = format!(
            "start {} in {}, fence {}",
            request.placement.version, request.placement.slot, request.fence
        );
        carry!(self, what, request, start)
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        carry!(self, format!("await {}", request.placement.version), request, await_healthy)
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let what = format!(
            "stop {} in {}, fence {}",
            request.placement.version, request.placement.slot, request.fence
        );
        carry!(self, what, request, stop)
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        carry!(self, format!("hook {}", request.hook), request, hook)
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        carry!(self, "discard".into(), artifact, discard)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        carry!(self, "instances".into(), environment, instances)
    }
}

#[async_trait]
impl Router for Line {
    async fn register(&self, request: &Register) -> PortResult<()> {
        let what = format!("register {}, fence {}", request.placement.version, request.fence);
        carry_and_save!(self, what, request, register)
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        let what = format!("switch to {}, fence {}", request.placement.version, request.fence);
        carry!(self, what, request, switch)
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        let what =
            format!("shift {} % to {}, fence {}", request.weight, request.placement.version, request.fence);
        carry!(self, what, request, shift)
    }

    async fn persisted(&self) -> PortResult<()> {
        let fate = Arc::clone(&self.fate);
        let effect = move |world: World| {
            let fate = Arc::clone(&fate);
            async move { Self::saves(&world, &fate, world.persisted().await) }
        };
        self.cross("persisted".into(), effect).await
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        carry!(self, "observe".into(), environment, observe)
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.world.counts(environment).await
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        carry!(self, format!("prove {}", request.placement.version), request, prove)
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        let what = format!("drain {}, fence {}", request.placement.version, request.fence);
        carry!(self, what, request, drain)
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        let what = format!("deregister {}, fence {}", request.slot, request.fence);
        carry_and_save!(self, what, request, deregister)
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        carry_and_save!(self, "close".into(), request, close)
    }
}

#[async_trait]
impl Witness for Line {
    async fn request(&self, request: &Probe) -> PortResult<Answer> {
        self.world.request(request).await
    }

    async fn run(&self, command: &OneOff) -> PortResult<Ended> {
        self.world.run(command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        self.world.count_lines(request).await
    }

    async fn metric(&self, metric: &Metric) -> PortResult<Option<f64>> {
        self.world.metric(metric).await
    }
}
