//! Small tracers for Open vSwitch.

pub mod event;
pub mod packet;
