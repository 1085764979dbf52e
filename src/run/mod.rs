//! What a run of a tool is.

pub mod events;
pub mod lines;
pub mod loss;
pub mod output;
pub mod recording;
pub mod rotation;
pub mod session;
pub mod sink;
