//! The `kubernetes` provider and router: the contract suites and the faults of the protocol, against a small API server in
//! memory; and the suites against a real cluster, where one is named.

#![allow(clippy::unwrap_used, reason = "a test")]

mod admission;
mod contract;
mod fake;
mod faults;
mod logs;
mod manifests;
mod owners;
mod real;
mod rights;
mod rolling;
mod sharing;
mod stage;
mod told;
mod watching;
