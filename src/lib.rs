//! Small tracers for Open vSwitch: what upcall-monitor and its siblings are made of.

pub mod bpf;
pub mod cli;
pub mod clock;
pub mod cost;
pub mod event;
pub mod filter;
pub mod flow_key;
pub mod flows;
pub mod hexdump;
pub mod histogram;
pub mod json;
pub mod output;
pub mod packet;
pub mod pcapng;
pub mod ports;
pub mod record;
pub mod recording;
pub mod rotation;
pub mod summary;
pub mod target;
pub mod text;
pub mod tracer;
pub mod usdt;
