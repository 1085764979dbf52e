//! How things are shown that more than one tool shows.

pub mod hexdump;
pub mod histogram;
