//! What environments have in common whose traffic, or whose instances, are not in our hands: a book of fences, one change
//! at a time, commands that are run to their end, and a router over whatever moves the traffic.

pub mod book;
pub mod router;
pub mod run;
pub mod turn;
pub mod web;
