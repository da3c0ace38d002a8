//! `orchestrate demo`: the main job on a sample service, under load, with a chart of who was served by what.

pub mod chart;
pub mod load;
pub mod sample_service;
