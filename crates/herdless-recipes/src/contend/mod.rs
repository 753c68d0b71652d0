//! Waiting in line: enter, find who is ahead, wait, hold, leave.

mod evict;
mod line;
mod name;
mod observe;
mod place;
mod token;

pub use line::Contender;
pub(crate) use line::{Line, find_own, owner, read, search, settled, synced};
pub(crate) use name::{Naming, Role, Sequence};
pub use observe::{End, Observation, Observer};
pub(crate) use place::{Place, Seen};
pub use token::Token;
