//! The `static` provider: sites of files, served by our own program under the supervisor, or by a web server of the
//! user's through a link.

mod answer;
mod body;
mod content_type;
mod links;
mod pattern;
mod provider;
mod ranges;
mod serve;
mod tree;

pub use answer::Site;
pub use links::LinkRouter;
pub use provider::StaticSites;
pub use serve::{VERSION_PATH, serve};
