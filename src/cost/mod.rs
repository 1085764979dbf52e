//! Where the time of an upcall goes: what only upcall-cost needs.
//!
//! An [`Event`] is read from a record of the kernel or from a file of upstream's script ([`upstream`]). [`analysis`]
//! gives it to the [`matcher`], which puts the events of each upcall together, and to [`stats`], which counts what the
//! matcher finds. [`report`], [`json`] and [`svg`] show the figures.

pub mod analysis;
mod axis;
pub mod event;
pub mod groups;
pub mod histogram;
pub mod json;
pub mod matcher;
pub mod probes;
mod record;
pub mod report;
pub mod stage;
pub mod stats;
pub mod svg;
mod text;
pub mod timeline;
mod transport;
pub mod upstream;

pub use event::{Event, KINDS, Kind};
pub use record::{Error, RECORDS};
pub use text::{HEADER, line};
