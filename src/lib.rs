//! Small tracers for Open vSwitch.

pub mod event;
pub mod target;
pub mod usdt;
