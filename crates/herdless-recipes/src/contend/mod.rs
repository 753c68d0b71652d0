//! Waiting in line: enter, find who is ahead, wait, hold, leave.

mod line;
mod name;
mod place;
mod token;

pub use line::Contender;
pub(crate) use line::Line;
pub(crate) use place::Place;
pub use token::Token;
