//! What hits whom: SIGKILL, or SIGSTOP and later SIGCONT.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::dice::Dice;
use crate::luck::cluster::Cluster;
use crate::luck::processes::{self, Kind};
use crate::luck::{Running, Scene, pause};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Command,
    Daemon,
    Proxy,
    Instance,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Kill,
    /// Stopped for so long.
    Sleep(Duration),
}

/// One that was carried out, with the time in which it came down.
#[derive(Clone, Debug)]
pub struct Strike {
    pub victim: Victim,
    pub blow: Blow,
    pub from: Instant,
    pub to: Instant,
}

/// Longer than the lease of the arenas, so that who sleeps may find that others went on.
const LONGEST_SLEEP: Duration = Duration::from_millis(3_500);

/// Whom it hits next, and how. Daemon and proxy are never killed together: nobody would hold the sockets.
pub fn choose(dice: &mut Dice, with_postgres: bool) -> Vec<(Victim, Blow)> {
    let mut victims = vec![
        Victim::Command,
        Victim::Command,
        Victim::Command,
        Victim::Daemon,
        Victim::Daemon,
        Victim::Proxy,
        Victim::Proxy,
        Victim::Instance,
    ];
    if with_postgres {
        victims.extend([Victim::Postgres; 3]);
    }
    let first = (dice.one_of(&victims), blow(dice));
    let mut chosen = vec![first];
    if dice.once_in(3) {
        let second = (dice.one_of(&victims), blow(dice));
        let holders = [Victim::Daemon, Victim::Proxy];
        if second.0 != first.0 && !(holders.contains(&first.0) && holders.contains(&second.0)) {
            chosen.push(second);
        }
    }
    chosen
}

fn blow(dice: &mut Dice) -> Blow {
    if dice.once_in(3) { Blow::Sleep(dice.up_to(LONGEST_SLEEP)) } else { Blow::Kill }
}

/// Comes down on whoever is there; nobody may be, as a command that has ended.
pub fn carry_out(
    (victim, blow): (Victim, Blow),
    scene: &Scene,
    command: &Running,
    postgres: Option<&Cluster>,
    dice: &mut Dice,
) -> Option<Strike> {
    if victim == Victim::Postgres {
        return postgres.map(|cluster| {
            let from = Instant::now();
            cluster.kill_and_restart();
            Strike { victim, blow: Blow::Kill, from, to: Instant::now() }
        });
    }
    let pid = match victim {
        Victim::Command => processes::alive(command.pid()).then(|| command.pid()),
        Victim::Daemon => scene.pid(Kind::Daemon),
        Victim::Proxy => scene.pid(Kind::Proxy),
        Victim::Instance => {
            let instances = scene.instances();
            (!instances.is_empty()).then(|| {
                let index = dice.below(instances.len() as u64);
                instances[usize::try_from(index).unwrap()].pid
            })
        }
        Victim::Postgres => None,
    }?;
    let from = Instant::now();
    match blow {
        Blow::Kill => processes::kill(pid),
        Blow::Sleep(span) => {
            processes::signal(pid, Signal::STOP);
            pause(span);
            processes::signal(pid, Signal::CONT);
        }
    }
    Some(Strike { victim, blow, from, to: Instant::now() })
}
