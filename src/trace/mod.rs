//! How a process is traced.
//!
//! [`target`] is the traced process, [`object`] a file that it has mapped, [`usdt`] the probes in such a file and
//! [`probes`] is what a tool declares to attach to, [`plan`] what becomes of that here, [`sites`] where the declared probes are, and [`attach`] attaches to them;
//! [`ring`] drains what the programs send, [`until`] something ends it.

pub mod attach;
pub mod captured;
mod error;
pub mod kernel;
pub mod libbpf_log;
pub mod object;
pub mod plan;
pub mod privilege;
pub mod probes;
pub mod process;
pub mod ring;
pub mod sites;
pub mod spec;
pub mod target;
pub mod until;
pub mod usdt;

pub use error::{Candidate, Error};
