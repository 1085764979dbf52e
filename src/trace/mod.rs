//! How a process is traced.

pub mod spec;
pub mod target;
pub mod tracer;
pub mod usdt;
