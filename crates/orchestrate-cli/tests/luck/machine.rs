//! Another machine, as far as a program can tell: with a name, a number and a network of its own. Needs root.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// A network namespace with one cable to this machine. It is gone when this is dropped.
pub struct Machine {
    pub name: String,
    space: String,
    cable: String,
    block: u32,
    /// Where its number is, to be put in place of this machine's.
    directory: TempDir,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (count, pid) = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("machine-id"), format!("{pid:024x}{count:08x}\n")).unwrap();
        let (space, cable) = (format!("luck-{pid}-{count}"), format!("luck{:x}-{count}", pid % 0x10_0000));
        let block = pid.wrapping_mul(16).wrapping_add(count) % 0x7000;
        let machine = Self { name: name.to_owned(), space, cable, block, directory };
        let Machine { space, cable, .. } = &machine;
        let (here, there) = (machine.address(1), machine.address(2));
        ip(&format!("netns add {space}"));
        ip(&format!("link add {cable} type veth peer name cable netns {space}"));
        ip(&format!("addr add {here}/30 dev {cable}"));
        ip(&format!("link set {cable} up"));
        ip(&format!("-n {space} link set lo up"));
        ip(&format!("-n {space} addr add {there}/30 dev cable"));
        ip(&format!("-n {space} link set cable up"));
        ip(&format!("-n {space} route add default via {here}"));
        machine
    }

    /// In the range that is meant for tests between networks.
    fn address(&self, end: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xC612_0000 + self.block * 4 + end).into()
    }

    /// Where this machine is reached from that one.
    pub fn gateway(&self) -> IpAddr {
        self.address(1)
    }

    pub fn unplug(&self) {
        ip(&format!("link set {} down", self.cable));
    }

    pub fn plug_in(&self) {
        ip(&format!("link set {} up", self.cable));
    }

    /// The command, typed there.
    pub fn has(&self, command: &Command) -> Command {
        let number = self.directory.path().join("machine-id");
        let become_it = format!(
            "mount --bind {} /etc/machine-id && echo {} >/proc/sys/kernel/hostname && exec \"$0\" \"$@\"",
            number.display(),
            self.name
        );
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.space, "unshare", "--mount", "--uts", "sh", "-c", &become_it]);
        append(&mut there, command);
        there
    }

    /// Runs something with that machine's network.
    pub fn inside<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> T {
        let space = std::fs::File::open(format!("/run/netns/{}", self.space)).unwrap();
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                // Only of this thread, which ends with it.
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                ask()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for words in [format!("link del {}", self.cable), format!("netns del {}", self.space)] {
            let _ = Command::new("ip").args(words.split(' ')).stderr(Stdio::null()).status();
        }
    }
}

fn ip(words: &str) {
    let ran = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("ip is there: run `make test`, which installs it");
    assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A program with its arguments and variables, behind what runs it.
pub fn append(to: &mut Command, command: &Command) {
    to.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    to.stdin(Stdio::null()).current_dir("/");
}
