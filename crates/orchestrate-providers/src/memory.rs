//! What memory there is on this machine, and how much of it instances have for themselves; read from `/proc`.

use std::fs;

use orchestrate_core::ports::{Instance, Memory};

/// A program may have started others, which are counted as well; more than so many are not.
const MOST_PROCESSES: usize = 64;

/// None where the kernel does not say.
pub(crate) fn of(instances: &[Instance]) -> Option<Memory> {
    let available = kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? * 1_024;
    let mut memory = Memory { available, used: Default::default() };
    for instance in instances {
        let Some(used) = instance.pid.and_then(own) else { continue };
        let most = memory.used.entry(instance.process.clone()).or_default();
        *most = used.max(*most);
    }
    Some(memory)
}

/// In bytes, of a process and those that it started: what the kernel cannot take back by itself.
fn own(pid: u32) -> Option<u64> {
    let (mut waiting, mut seen, mut sum) = (vec![pid], 0, None);
    while let Some(pid) = waiting.pop() {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let parts = ["RssAnon:", "RssShmem:", "VmSwap:"].map(|key| kib(&status, key).unwrap_or(0));
        sum = Some(sum.unwrap_or(0) + parts.iter().sum::<u64>() * 1_024);
        seen += 1;
        if seen + waiting.len() < MOST_PROCESSES {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            waiting.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    sum
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_process_and_its_children_have_is_added_up() {
        let me = own(std::process::id()).unwrap();
        assert!(me > 64 << 10, "{me}");
        // A shell that waits for another one, which waits for its input.
        let mut outer = Command::new("sh")
            .args(["-c", "sh -c 'echo ready; read line'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = std::io::BufReader::new(outer.stdout.as_mut().unwrap());
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        let both = own(outer.id()).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        let one = own(inner).unwrap();
        drop(outer.stdin.take());
        outer.wait().unwrap();
        assert!(one > 0 && both > one, "{both} {one}");
        assert_eq!(own(inner), None, "what is gone has nothing");
    }

    #[test]
    fn this_machine_has_some_left() {
        let memory = of(&[]).unwrap();
        assert!(memory.available > 1 << 20 && memory.used.is_empty(), "{memory:?}");
    }
}
