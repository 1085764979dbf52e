//! How a process is traced.
//!
//! [`probes`] is what a tool declares to attach to, `source` whether
//! the daemon's probes or the kernel are its source, and [`plan`] the way that is taken on this kernel. [`target`] is the
//! traced process, [`object`] a file that it has mapped, and [`usdt`] the probes in such a file. [`sites`] finds the
//! declared probes there, and [`attach`] attaches programs to them. [`ring`] hands out what the programs send until
//! something ends the trace: [`until`]. What cannot be shown at once waits in a [`queue`].

pub mod attach;
pub mod captured;
pub mod clock;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod kernel;
pub mod libbpf_log;
pub mod netlink;
pub mod object;
mod places;
pub mod plan;
pub mod privilege;
pub mod probes;
pub mod process;
pub mod programs;
pub mod queue;
pub mod ring;
pub mod sites;
mod source;
pub mod spec;
pub mod target;
pub mod until;
pub mod usdt;

pub use error::{Candidate, Error};
