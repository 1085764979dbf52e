//! What several tools show with: messages, columns, numbers of things, counts, escapes, JSON Lines, histograms.

pub mod columns;
pub mod counts;
pub mod decode;
pub mod errno;
pub mod escape;
pub mod hexdump;
pub mod histogram;
pub mod json;
pub mod message;
pub mod number;
