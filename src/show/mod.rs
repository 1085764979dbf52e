//! How things are shown that more than one tool shows.

pub mod errno;
pub mod escape;
pub mod hexdump;
pub mod histogram;
pub mod json;
