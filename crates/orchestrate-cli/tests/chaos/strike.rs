//! What hits whom: SIGKILL, or SIGSTOP and later SIGCONT.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::luck::cluster::Cluster;
use crate::luck::dice::Dice;
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

/// How long a lease of the arenas lasts.
pub const LEASE: Duration = Duration::from_secs(1);
const LONGEST_SLEEP: Duration = Duration::from_millis(3_500);

/// Whom it hits next, and how. Daemon and proxy are never killed together: nobody would hold the sockets. Nor is a second
/// instance where the daemon is hit: nobody would start either of them again before the round ends.
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
    let hit = |dice: &mut Dice| {
        let victim = dice.one_of(&victims);
        (victim, blow(victim, dice))
    };
    let mut chosen = vec![hit(dice)];
    for _ in 0..dice.below(5) {
        let (victim, blow) = hit(dice);
        let goes_well_with = |(before, _): &(Victim, Blow)| match (before, victim) {
            (Victim::Daemon, Victim::Proxy) | (Victim::Proxy, Victim::Daemon) => false,
            // They come back by themselves, so that they can be hit again.
            (Victim::Proxy, Victim::Proxy) | (Victim::Instance, Victim::Instance) => true,
            (before, victim) => *before != victim,
        };
        let instances = |victim: &Victim| usize::from(*victim == Victim::Instance);
        let victims = || chosen.iter().map(|(victim, _)| victim).chain([&victim]);
        let nobody_left =
            victims().any(|one| *one == Victim::Daemon) && victims().map(instances).sum::<usize>() > 1;
        if chosen.iter().all(goes_well_with) && !nobody_left {
            chosen.push((victim, blow));
        }
    }
    chosen
}

/// A command that sleeps does so for longer than its lease, or there would be nothing to find out.
fn blow(victim: Victim, dice: &mut Dice) -> Blow {
    match victim {
        Victim::Command if dice.once_in(2) => Blow::Sleep(LEASE + dice.up_to(LONGEST_SLEEP - LEASE)),
        Victim::Daemon | Victim::Proxy | Victim::Instance if dice.once_in(3) => {
            Blow::Sleep(dice.up_to(LONGEST_SLEEP))
        }
        Victim::Command | Victim::Daemon | Victim::Proxy | Victim::Instance | Victim::Postgres => Blow::Kill,
    }
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
        // Its connections end with it, and on a busy machine that takes a while.
        Blow::Kill => processes::kill_and_wait(&[pid]),
        Blow::Sleep(span) => {
            processes::signal(pid, Signal::STOP);
            pause(span);
            processes::signal(pid, Signal::CONT);
        }
    }
    Some(Strike { victim, blow, from, to: Instant::now() })
}
