//! The changes: register, switch, shift, deregister, close. Each is made under the book's lock, and each may be repeated.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use orchestrate_core::environment::RouterSettings;
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{
    Close, Deregister, Placement, PortError, PortErrorKind, PortResult, Register, Switch,
};
use orchestrate_core::slot::Slot;
use orchestrate_core::traffic::{Shift, TrafficRules};

use super::HaproxyRouter;
use super::book::{Kept, Left, Placed, blocking, replace};
use super::client::Client;
use super::look::Look;
use super::tell::{Shares, commands};
use super::{check, counts, drain, seats};

/// An environment in the middle of a change.
pub(super) struct Scene {
    pub kept: Kept,
    pub settings: RouterSettings,
    pub look: Look,
}

impl Scene {
    pub fn client(&self) -> Client<'_> {
        Client::new(&self.settings.haproxy)
    }

    /// Writes down what is wanted, and tells HAProxy what it lacks.
    async fn tell(&mut self) -> PortResult<()> {
        self.kept.book.socket.clone_from(&self.settings.haproxy);
        self.kept.book.told.clone_from(&self.look.process);
        self.kept.save()?;
        let commands = commands(&self.kept.book, &self.look);
        if commands.is_empty() {
            return Ok(());
        }
        self.client().tell(&commands).await?;
        // A reload may come at any time; one that is lost to a lack of power is written again by `persisted`.
        if let Some(path) = &self.settings.state_file
            && let Err(error) = write_state(self.client(), path, false).await
        {
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// What has traffic neither ends it nor is forgotten.
    pub fn idle(&self, placed: &Placed) -> PortResult<()> {
        let Placement { slot, environment, .. } = &placed.placement;
        match placed.weight {
            0 => Ok(()),
            weight => Err(PortError::failed(format!(
                "slot {slot} of {environment} has {weight} % of the traffic; switch away from it first"
            ))),
        }
    }

    fn leave(&mut self, slot: Slot) {
        let slots = &mut self.kept.book.slots;
        if let Some(index) = slots.iter().position(|placed| placed.placement.slot == slot) {
            let placed = slots.remove(index);
            let (release, marks) = (placed.placement.release, counts::marks(&placed, &self.look));
            self.kept.book.leave(Left { slot, release, marks });
        }
    }
}

impl HaproxyRouter {
    /// The lock, the fence, a look; and the book's shares as HAProxy really gives them.
    pub(super) async fn scene(
        &self,
        environment: &EnvironmentName,
        fence: Fence,
        more: &[&str],
    ) -> PortResult<Scene> {
        let settings = self.settings(environment).await?;
        let mut kept = self.books.open(environment).await?;
        kept.book.admit(environment, fence)?;
        self.looked(kept, settings, more).await
    }

    async fn looked(&self, kept: Kept, settings: RouterSettings, more: &[&str]) -> PortResult<Scene> {
        let mut scene = Scene { kept, settings, look: Look::default() };
        self.look_anew(&mut scene, more).await?;
        // Whoever does not know what was told is another HAProxy, and is told what that was.
        let lost = |scene: &Scene| scene.kept.book.slots.iter().any(|placed| placed.weight > 0);
        match Shares::seen(&scene.kept.book, &scene.look) {
            Some(seen) => scene.kept.book.weigh(|slot| seen.of(slot)),
            None if scene.kept.book.told != scene.look.process && lost(&scene) => {
                scene.tell().await?;
                self.look_anew(&mut scene, more).await?;
            }
            None => {}
        }
        Ok(scene)
    }

    async fn look_anew(&self, scene: &mut Scene, more: &[&str]) -> PortResult<()> {
        let mut backends: BTreeSet<&str> =
            scene.kept.book.lanes().map(|lane| lane.backend.as_str()).collect();
        backends.extend(more.iter().copied());
        scene.look = Look::at(scene.client(), backends).await?;
        Ok(())
    }

    /// Tells an HAProxy that was started anew what it was told before.
    pub(super) async fn restore(&self, environment: &EnvironmentName) -> PortResult<()> {
        let settings = self.settings(environment).await?;
        let kept = self.books.open(environment).await?;
        let mut scene = self.looked(kept, settings, &[]).await?;
        scene.kept.book.told.clone_from(&scene.look.process);
        scene.kept.save()
    }

    pub(super) async fn register_and_wait(&self, request: &Register) -> PortResult<()> {
        let Register { placement, backends, drain, fence } = request;
        let settings = self.settings(&placement.environment).await?;
        let names = seats::backends(&settings, backends)?;
        let used: Vec<&str> = names.values().map(String::as_str).collect();
        let mut scene = self.scene(&placement.environment, *fence, &used).await?;
        for backend in names.values() {
            check::not_shared(&self.books, &placement.environment, &scene.settings, backend)?;
        }
        if let Some(there) = scene.kept.book.in_slot(placement.slot)
            && there.placement.release != placement.release
        {
            scene.idle(there)?;
            scene.leave(placement.slot);
        }
        let seating = seats::seat(&mut scene, placement, backends, &names)?;
        scene.tell().await?;
        self.books.sync(&placement.environment).await?;
        let Scene { kept, settings, .. } = scene;
        drop(kept);
        if let Some(limit) = drain {
            drain::emptied(Client::new(&settings.haproxy), &seating.leaving, limit.duration()).await?;
        }
        Ok(())
    }

    pub(super) async fn switch_all(&self, request: &Switch) -> PortResult<()> {
        let Switch { placement, needs, fence } = request;
        let mut scene = self.scene(&placement.environment, *fence, &[]).await?;
        self.ready(&mut scene, placement, needs).await?;
        scene.kept.book.weigh(|slot| if slot == placement.slot { 100 } else { 0 });
        scene.tell().await
    }

    pub(super) async fn share_out(&self, request: &Shift) -> PortResult<()> {
        let Shift { placement, weight, rest, needs, rules, fence } = request;
        let mut scene = self.scene(&placement.environment, *fence, &[]).await?;
        if *weight > 100 || placement.slot == rest.slot {
            return Err(PortError::failed(format!(
                "{weight} % for slot {} and the rest for slot {} is no share",
                placement.slot, rest.slot
            )));
        }
        if *rules != TrafficRules::default() {
            return Err(PortError::failed("HAProxy cannot be told which user goes where while it runs")
                .detail(
                    "leave `sticky` and `force_header` out of `strategy`, or use the router that is built in",
                ));
        }
        scene.kept.book.placed(rest)?;
        match weight {
            0 => scene.kept.book.placed(placement).map(drop)?,
            _ => self.ready(&mut scene, placement, needs).await?,
        }
        scene.kept.book.weigh(|slot| if slot == placement.slot { *weight } else { 100 - *weight });
        scene.tell().await
    }

    pub(super) async fn forget(&self, request: &Deregister) -> PortResult<()> {
        let mut scene = self.scene(&request.environment, request.fence, &[]).await?;
        if let Some(there) = scene.kept.book.in_slot(request.slot)
            && there.placement.release == request.release
        {
            scene.idle(there)?;
            scene.leave(request.slot);
        }
        scene.tell().await?;
        self.books.sync(&request.environment).await
    }

    pub(super) async fn forget_all(&self, request: &Close) -> PortResult<()> {
        let mut scene = self.scene(&request.environment, request.fence, &[]).await?;
        Slot::ALL.into_iter().for_each(|slot| scene.leave(slot));
        scene.tell().await?;
        self.books.sync(&request.environment).await
    }

    /// Whether so many instances of each process type are ready: HAProxy sees them so, and they answer just now.
    async fn ready(
        &self,
        scene: &mut Scene,
        placement: &Placement,
        needs: &std::collections::BTreeMap<String, u32>,
    ) -> PortResult<()> {
        let placed = scene.kept.book.placed(placement)?;
        for (process, needed) in needs {
            let (ready, out) = seats::ready(placed, &scene.look, process).await;
            if ready < *needed {
                let Placement { version, slot, .. } = placement;
                let error = PortError::new(
                    PortErrorKind::NotReady,
                    format!(
                        "{version} in slot {slot} has {ready} of {needed} instances of `{process}` ready"
                    ),
                );
                return Err(match out {
                    Some(out) => error.detail(out),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// The book and HAProxy's own state file are on disk.
    pub(super) async fn outlives(
        &self,
        environment: &EnvironmentName,
        settings: &RouterSettings,
    ) -> PortResult<()> {
        let state = async {
            match &settings.state_file {
                Some(path) => write_state(Client::new(&settings.haproxy), path, true).await,
                None => Ok(()),
            }
        };
        let (book, state) = tokio::join!(self.books.sync(environment), state);
        book.and(state)
    }
}

/// Has HAProxy's state where it reads it when it is started.
async fn write_state(client: Client<'_>, path: &Path, durable: bool) -> PortResult<()> {
    let answers = client.ask(&["show servers state".to_owned()]).await?;
    let text = answers.into_iter().next().unwrap_or_default();
    replace(path, text.as_bytes()).map_err(|error| unwritable(path, &error))?;
    if !durable {
        return Ok(());
    }
    let path = path.to_owned();
    blocking(move || {
        let synced = fs::File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| unwritable(&path, &error))
    })
    .await
}

fn unwritable(path: &Path, error: &std::io::Error) -> PortError {
    let message = format!("HAProxy's state file {} cannot be written: {error}", path.display());
    PortError::failed(message).detail(
        "name a file in a directory of your own: `router.state_file`, and `server-state-file` in haproxy.cfg",
    )
}
