//! What HAProxy says of itself: its servers with address, state and weight, and what they counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::slot::Slot;

use super::client::Client;

/// How HAProxy writes that a server runs.
const RUNNING: u32 = 2;
/// The bits of `srv_admin_state` that take a server out, for whatever reason.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20 | 0x40;
const DRAINING: u32 = 0x08 | 0x10;
/// The bit of `srv_check_state` that says that there is a health check.
const CHECKED: u32 = 0x02;

/// One look at one HAProxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Which one it is: another one after a restart or a reload, whose counts begin anew.
    pub process: String,
    /// By name; what is not there has no entry.
    pub backends: BTreeMap<String, Vec<Server>>,
}

/// A server that is ours to use: its name is that of a slot and a number.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub name: String,
    pub slot: Slot,
    pub number: u32,
    pub address: Option<SocketAddr>,
    state: u32,
    admin: u32,
    pub weight: u32,
    pub is_checked: bool,
    /// Requests that it answers now.
    pub in_flight: u64,
    pub requests: u64,
    pub errors: u64,
}

impl Server {
    pub const fn is_out(&self) -> bool {
        self.admin & MAINTENANCE != 0
    }

    /// Neither in maintenance nor draining.
    pub const fn is_in(&self) -> bool {
        self.admin & (MAINTENANCE | DRAINING) == 0
    }

    pub const fn is_healthy(&self) -> bool {
        self.state == RUNNING && !self.is_out()
    }

    /// The weight by which it gets requests.
    pub const fn effective(&self) -> u32 {
        if self.is_in() { self.weight } else { 0 }
    }
}

impl Look {
    pub fn servers(&self, backend: &str, slot: Slot) -> impl Iterator<Item = &Server> {
        self.backends.get(backend).into_iter().flatten().filter(move |server| server.slot == slot)
    }

    pub fn server(&self, backend: &str, name: &str) -> Option<&Server> {
        self.backends.get(backend)?.iter().find(|server| server.name == name)
    }

    /// Asks for everything in one line.
    pub async fn at(client: Client<'_>, backends: impl IntoIterator<Item = &str>) -> PortResult<Self> {
        let backends: Vec<&str> = backends.into_iter().collect();
        let mut commands = vec!["show info".to_owned()];
        if !backends.is_empty() {
            // Of all backends: one alone would have to be named, and a frontend may have the same name.
            commands.push("show stat -1 4 -1".to_owned());
        }
        commands.extend(backends.iter().map(|backend| format!("show servers state {backend}")));
        let answers = client.ask(&commands).await?;
        let mut look = Self { process: process(&answers[0])?, ..Self::default() };
        for (backend, states) in backends.iter().zip(answers.iter().skip(2)) {
            if let Some(servers) = servers(states, &counted(&answers[1], backend)) {
                look.backends.insert((*backend).to_owned(), servers);
            }
        }
        Ok(look)
    }
}

/// Its pid and when it was started.
fn process(info: &str) -> PortResult<String> {
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    match (value("Pid"), value("Start_time_sec").or_else(|| value("Uptime"))) {
        (Some(pid), Some(started)) => Ok(format!("{pid}@{started}")),
        _ => Err(PortError::failed("what answers is not HAProxy 2.6 or newer")
            .detail("mend `router.haproxy` in the config file: it is the path or address of `stats socket`")),
    }
}

/// The servers of a backend; none, if there is no such backend.
fn servers(states: &str, counted: &BTreeMap<&str, Counted>) -> Option<Vec<Server>> {
    let mut lines = states.lines().skip_while(|line| !line.starts_with("# "));
    let columns: Vec<&str> = lines.next()?.trim_start_matches("# ").split(' ').collect();
    let found = lines.filter_map(|line| {
        let row: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(' ')).collect();
        let number = |name: &str| row.get(name)?.parse::<u32>().ok();
        let name = (*row.get("srv_name")?).to_owned();
        let (slot, ordinal) = ours(&name)?;
        let ip = row.get("srv_addr").and_then(|text| text.parse::<IpAddr>().ok());
        let port = number("srv_port").and_then(|port| u16::try_from(port).ok());
        let count = counted.get(name.as_str()).copied().unwrap_or_default();
        Some(Server {
            slot,
            number: ordinal,
            address: ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port)),
            state: number("srv_op_state")?,
            admin: number("srv_admin_state")?,
            weight: number("srv_uweight")?,
            is_checked: number("srv_check_state").is_some_and(|state| state & CHECKED != 0),
            in_flight: count.in_flight,
            requests: count.requests,
            errors: count.errors,
            name,
        })
    });
    let mut found: Vec<Server> = found.collect();
    found.sort_by_key(|server| (server.slot, server.number));
    Some(found)
}

/// `blue3` is the third one of the blue slot.
fn ours(name: &str) -> Option<(Slot, u32)> {
    let numbered = |slot: Slot| Some((slot, name.strip_prefix(slot.as_str())?.parse().ok()?));
    Slot::ALL.into_iter().find_map(numbered)
}

#[derive(Clone, Copy, Default)]
struct Counted {
    in_flight: u64,
    requests: u64,
    errors: u64,
}

/// Of the servers of one backend, by their names.
fn counted<'a>(stats: &'a str, backend: &str) -> BTreeMap<&'a str, Counted> {
    let mut lines = stats.lines();
    let Some(columns) = lines.next().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>())
    else {
        return BTreeMap::new();
    };
    let counted = lines.filter_map(|line| {
        let row: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(',')).collect();
        if row.get("pxname") != Some(&backend) {
            return None;
        }
        let number = |name: &str| row.get(name).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        // What did not connect, or broke off in its answer, HAProxy answers itself with 502, 503 or 504.
        let own = number("econ") + number("eresp");
        let answered = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
        let requests = answered.into_iter().map(number).sum::<u64>() + own;
        Some((
            *row.get("svname")?,
            Counted {
                in_flight: number("scur") + number("qcur"),
                requests,
                errors: number("hrsp_5xx") + own,
            },
        ))
    });
    counted.collect()
}
