//! What a run of a tool is.

pub mod clock;
pub mod output;
pub mod recording;
pub mod rotation;
