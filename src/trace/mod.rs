//! How a process is traced.

pub mod target;
pub mod tracer;
pub mod usdt;
