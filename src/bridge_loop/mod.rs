//! What bridge-loop shows: runs of the main loop, and the waits between them.

pub mod probes;
