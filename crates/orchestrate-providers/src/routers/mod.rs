//! Routers of the user's own.

pub mod haproxy;
