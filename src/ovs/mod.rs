//! What Open vSwitch speaks.

pub mod flow_key;
pub mod packet;
pub mod ports;
pub mod release;
