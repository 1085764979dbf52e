//! Where the time of an upcall goes: what upcall-cost makes of its events.
//!
//! [`Event`] is read from a record of the kernel or from a file of upstream's script ([`upstream`]); [`matcher`] puts the
//! events of each upcall together; [`stats`] counts what it found, and [`report`], [`json`] and [`svg`] show it.

pub mod analysis;
mod axis;
mod event;
mod groups;
pub mod histogram;
pub mod json;
pub mod matcher;
mod record;
pub mod report;
mod stage;
pub mod stats;
pub mod svg;
mod text;
mod timeline;
mod transport;
pub mod upstream;

pub use event::{Event, KINDS, Kind};
pub use record::Error;
pub use text::{HEADER, line};
