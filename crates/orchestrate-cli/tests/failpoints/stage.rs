//! A home with a service, users of it, and failpoints; and the judge of what came of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::deed::{Deed, Way};
use super::panel::Panel;
use crate::luck::load::Seen;
use crate::luck::{Load, Ran, Scene, until};

/// How many users there are: as many requests a killed proxy may take along.
const USERS: u32 = 4;
/// Between two requests of a user. Several stages share a machine, and what they are for is not load.
const PAUSE: Duration = Duration::from_millis(40);

pub struct Stage {
    pub scene: Scene,
    pub panel: Panel,
    load: Load,
    versions: u32,
}

impl Stage {
    /// 1.0.0 is live.
    pub fn new(deed: Deed) -> Self {
        let mut scene = Scene::new();
        let panel = Panel::new(&mut scene);
        scene.configure(|settings| {
            settings["strategy"] = deed.strategy();
            settings["drill"] = serde_json::json!({ "production": true });
        });
        scene.deploy("1.0.0").ok();
        let load = Load::at_pace(scene.address, USERS, PAUSE);
        Self { scene, panel, load, versions: 0 }
    }

    pub fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("1.{}.0", self.versions)
    }

    pub fn live(&self) -> String {
        let status = self.scene.status();
        status["live"]["version"].as_str().unwrap_or_else(|| panic!("nothing is live: {status}")).to_owned()
    }

    /// A deployment that nothing disturbs.
    pub fn deploys(&self, version: &str) {
        self.scene.deploy(version).ok();
        assert_eq!(self.settled(), version);
    }

    /// Returns once so many releases have a place.
    pub fn awaits_slots(&self, count: usize) {
        let taken = || self.scene.status()["traffic"].as_array().unwrap().len();
        until("the slots are as they shall be", || (taken() == count).then_some(()));
    }

    /// What is live once everything has ended, without anybody's help but that of whoever starts the daemon at boot.
    #[track_caller]
    pub fn settled(&self) -> String {
        until("everything ends", || {
            self.scene.run(&["daemon", "start"]).ok();
            let status = self.scene.status();
            if status["operation"]["status"] == "needs_attention" {
                self.scene.run(&["deploy", "resume", "--env", "production"]);
            }
            let ended = |of: &str| ["completed", "failed", "rolled_back", "timed_out"].contains(&of);
            let latest = status["latest"]["status"].as_str().is_some_and(ended);
            (latest && status["operation"].is_null()).then_some(())
        });
        self.scene.records_are_true()
    }

    /// Whatever was done to it: one of the two versions is live, the one that the command spoke of, and nothing was lost.
    #[track_caller]
    pub fn judge(&self, way: &Way, ran: &Ran, proxy_died: bool) {
        let live = self.settled();
        assert!(live == way.from || live == way.to, "{live} is live, on {way:?}: {ran:?}");
        // What is under way is not done: a promotion that did not come about takes it back, on record.
        let went_back = || ran.stdout.contains("under way") && self.went_back_from(&way.to);
        assert!(
            ran.code != 0 || live == way.to || went_back(),
            "it was said to be done, and {live} is live: {ran:?}"
        );
        self.scene.run(&["env", "check", "production"]).ok();
        self.history_has_ended();
        if way.from == way.to {
            self.nothing_counts();
        }
        self.load.await_answers(USERS as usize);
        let lost: Vec<_> = self.load.take().into_iter().filter(|seen| seen.answer.is_err()).collect();
        let excused = if proxy_died { USERS as usize } else { 0 };
        assert!(lost.len() <= excused, "{} requests were lost: {:#?}", lost.len(), lost.first());
    }

    fn went_back_from(&self, version: &str) -> bool {
        let listed = ["deploy", "rollbacks", "--env", "production", "--limit", "1", "--format", "json"];
        let newest = self.scene.run(&listed).ok().json()[0].clone();
        newest["from_version"] == *version
            && newest["rollback_type"] == "automatic"
            && newest["reason"].is_string()
    }

    /// The versions that users got since the last time, all of which got one.
    #[track_caller]
    pub fn answers(&self) -> BTreeSet<String> {
        self.load.await_answers(USERS as usize);
        let version = |seen: &Seen| seen.version().unwrap_or_else(|| panic!("lost: {seen:?}")).to_owned();
        self.load.take().iter().map(version).collect()
    }

    /// A drill is no rollback, and holds nothing.
    #[track_caller]
    fn nothing_counts(&self) {
        let rollbacks = self.scene.run(&["deploy", "rollbacks", "--env", "production", "--format", "json"]);
        assert_eq!(rollbacks.ok().json(), serde_json::json!([]));
        assert_eq!(self.scene.status()["holds"], serde_json::json!([]));
    }

    #[track_caller]
    fn history_has_ended(&self) {
        let words = ["deploy", "history", "--env", "production", "--limit", "6", "--format", "json"];
        let history = self.scene.run(&words).ok().json();
        for row in history.as_array().unwrap() {
            let status = row["status"].as_str().unwrap();
            assert!(
                ["completed", "failed", "rolled_back", "timed_out"].contains(&status),
                "not ended: {row}"
            );
        }
    }

    /// Returns once the daemon does nothing more about what just happened, as far as that can be seen from its visits.
    pub fn rests(&self) {
        let mut seen = self.panel.visits().len();
        loop {
            crate::luck::pause(Duration::from_millis(400));
            let now = self.panel.visits().len();
            if now <= seen + 2 {
                return;
            }
            seen = now;
        }
    }
}
