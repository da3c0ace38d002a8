//! Who goes on next, what befalls whom, and how it is all brought to rest.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::fate::Message;
use super::people::Command;
use super::storage::Storage;
use super::trouble::{get_well, misfortune};
use super::{Scene, Task, daemon, look};
use crate::database::OperationStatus;
use crate::deployment_executor::DeployRequest;
use crate::time::Span;

/// Most histories are short, so that there can be many; in some of them what went wrong early has time to matter.
const TURNS: [u64; 2] = [300, 1500];
const TURNS_TO_REST: u64 = 6000;
const COMPUTERS: [&str; 2] = ["here", "there"];

/// A running program: a command, or a daemon with its tasks.
pub(super) struct Process {
    pub pid: u32,
    host: &'static str,
    daemon: bool,
    tasks: Vec<Task>,
    /// Stopped, as by SIGSTOP, until that turn.
    pub stopped_until: u64,
}

#[derive(Default)]
pub(super) struct Running {
    pub processes: Vec<Process>,
    /// What killed programs had sent and has not arrived yet.
    pub late: Vec<Message>,
    pub storage: Storage,
}

pub(super) async fn play(scene: &mut Scene) {
    let mut running = Running::default();
    let turns = TURNS[usize::from(scene.fate.once_in(8))];
    for turn in 0..turns {
        if scene.fate.once_in(25) {
            begin(scene, &mut running).await;
        }
        if scene.fate.once_in(60) {
            misfortune(scene, &mut running, turn).await;
        }
        running.storage.recover(scene, turn);
        go_on(scene, &mut running, turn);
        let pause = match scene.fate.below(200) {
            0 => 60_000,
            1..4 => 8_000,
            4..30 => 400,
            30..80 => 20,
            _ => 0,
        };
        pass_time(scene, pause).await;
    }
    bring_to_rest(scene, running).await;
    look::look(scene).await;
}

/// A daemon where none runs, or a command.
async fn begin(scene: &mut Scene, running: &mut Running) {
    let host = COMPUTERS[scene.fate.below(2)];
    let has_daemon = running.processes.iter().any(|process| process.daemon && process.host == host);
    if !has_daemon {
        start_daemon(scene, running, host).await;
    } else if running.processes.iter().filter(|process| !process.daemon).count() < 3 {
        let command = Command::draw(scene);
        let request = match &command {
            Command::Deploy(version) => scene.stage.to_deploy(version.as_str()),
            Command::Stage(version) => {
                DeployRequest { no_switch: true, ..scene.stage.to_deploy(version.as_str()) }
            }
            _ => scene.stage.to_deploy("1.0"),
        };
        let program = scene.program(host).await;
        let pid = program.pid;
        let task: Task = Box::pin(command.carry_out(program, request));
        running.processes.push(Process { pid, host, daemon: false, tasks: vec![task], stopped_until: 0 });
    }
}

async fn start_daemon(scene: &mut Scene, running: &mut Running, host: &'static str) {
    let program = scene.program(host).await;
    program.tell(format!("a daemon starts {host}"));
    let tasks = daemon::tasks(&program);
    running.processes.push(Process { pid: program.pid, host, daemon: true, tasks, stopped_until: 0 });
}

pub(super) fn kill(scene: &Scene, running: &mut Running, victim: usize) {
    let process = running.processes.swap_remove(victim);
    scene.fate.tell(format!("{} is killed", process.pid));
    running.late.extend(scene.fate.left_by(process.pid));
    scene.machines.end(process.pid);
}

/// One task of one program goes on to its next request.
fn go_on(scene: &Scene, running: &mut Running, turn: u64) {
    let awake: Vec<usize> = (0..running.processes.len())
        .filter(|index| running.processes[*index].stopped_until <= turn)
        .collect();
    if awake.is_empty() {
        return;
    }
    let chosen = awake[scene.fate.below(awake.len())];
    let process = &mut running.processes[chosen];
    let at = scene.fate.below(process.tasks.len());
    let mut context = Context::from_waker(Waker::noop());
    let task = process.tasks[at].as_mut();
    let mut task = std::pin::pin!(tokio::task::coop::unconstrained(task));
    let poll = task.as_mut().poll(&mut context);
    if let Poll::Ready(()) = poll {
        let process = running.processes.swap_remove(chosen);
        scene.machines.end(process.pid);
    }
}

async fn pass_time(scene: &Scene, millis: u64) {
    if millis > 0 {
        scene.stage.world.clock.advance(Span::from_millis(millis));
        tokio::time::advance(Duration::from_millis(millis)).await;
    }
}

/// Nothing goes wrong any more; a daemon finishes what was left, and a person what only a person may.
async fn bring_to_rest(scene: &mut Scene, mut running: Running) {
    scene.fate.tell("--- all trouble ends");
    scene.fate.end_trouble();
    running.storage.recover(scene, u64::MAX);
    while !running.processes.is_empty() {
        kill(scene, &mut running, 0);
    }
    get_well(scene);
    start_daemon(scene, &mut running, "here").await;
    let mut quiet = 0;
    for turn in 0..TURNS_TO_REST {
        for _ in 0..5 {
            go_on(scene, &mut running, turn);
        }
        if turn % 25 != 0 {
            pass_time(scene, 50).await;
            continue;
        }
        if let Some(message) = running.late.pop() {
            scene.fate.tell("a request of a dead program arrives");
            message.await;
        } else if at_rest(scene).await {
            quiet += 1;
        } else {
            quiet = 0;
        }
        // A daemon that was just started looks after everything once.
        if quiet > 2 {
            return;
        }
        if stuck(scene).await && running.processes.len() == 1 {
            let program = scene.program("here").await;
            let (pid, request) = (program.pid, scene.stage.to_deploy("1.0"));
            let tasks: Vec<Task> = vec![Box::pin(Command::Resume.carry_out(program, request))];
            running.processes.push(Process { pid, host: "here", daemon: false, tasks, stopped_until: 0 });
        }
        pass_time(scene, 90_000).await;
    }
    let open = scene.stage.db.open_operation(&scene.stage.environment).await.unwrap();
    panic!("it never comes to rest: {open:?}, {:?}", scene.stage.slots().await);
}

async fn stuck(scene: &Scene) -> bool {
    let open = scene.stage.db.open_operation(&scene.stage.environment).await.unwrap();
    open.is_some_and(|open| open.status == OperationStatus::NeedsAttention)
}

async fn at_rest(scene: &Scene) -> bool {
    let db = &scene.stage.db;
    let open = db.open_operation(&scene.stage.environment).await.unwrap().is_some();
    let baking = !db.list_baking().await.unwrap().is_empty();
    let leaving = !db.list_leaving_slots().await.unwrap().is_empty();
    let advancing = db.list_open_rollouts().await.unwrap().iter().any(|rollout| rollout.next_at.is_some());
    !open && !baking && !leaving && !advancing
}
