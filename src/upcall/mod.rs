//! What upcall-monitor shows: upcalls as records, events, rows, JSON and captures.

pub mod event;
pub mod flows;
pub mod json;
pub mod packet_filter;
pub mod pcapng;
pub mod probes;
pub mod record;
pub mod summary;
pub mod text;
