//! What a deployment and a rollback are: decides, journals, records; knows its database and no other IO.
//!
//! The public names, in the order in which a rollback meets them.

pub mod error;
pub mod failpoint;
pub mod measure;
pub mod name;
pub mod time;
pub mod uri;

pub mod access;
pub mod approval;
pub mod audit_chain;
pub mod confinement;
pub mod data_change;
pub mod dependency;
pub mod deployment;
pub mod deployment_strategy;
pub mod drill;
pub mod environment;
pub mod evidence;
pub mod group;
pub mod hooks;
pub mod policy;
pub mod release;
pub mod rollback_event;
pub mod rollout;
pub mod schedule;
pub mod secrets;
pub mod slot;
pub mod traffic;

mod automatic_rollback;
pub mod deployment_drill;
pub mod deployment_executor;
pub mod deployment_rollback;
pub mod drift;
mod situation;

pub mod plan;

pub mod execute;
pub mod post_deploy_verification;
pub mod pre_deploy_validation;
pub mod report;
pub mod retention;
pub mod settle;
pub mod slot_tending;
pub mod trace;

pub mod database;
pub mod notification;
pub mod ports;

#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stage;

pub use automatic_rollback::Automatic;
pub use database::Database;
pub use deployment_drill::{DeploymentDrill, DrillRequest};
pub use deployment_executor::{DeployRequest, DeploymentExecutor};
pub use deployment_rollback::{DeploymentRollback, RollbackRequest};
pub use error::{Error, ErrorKind, Result};
pub use notification::RollbackNotification;
pub use pre_deploy_validation::PreDeployValidator;
pub use rollback_event::{
    RollbackEvent, RollbackEvent as DeploymentRollbackEvent, RollbackStatus,
    RollbackStatus as DeploymentRollbackStatus, RollbackType,
};
