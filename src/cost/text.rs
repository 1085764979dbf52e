//! Writes events as lines of text, in the form of `upcall_cost.py`.

use std::fmt;

use super::event::{Event, Kind, short_datapath};
use super::histogram::us;
use crate::show::errno;
use crate::show::escape::Escaped;

/// The header above the lines of [`line()`].
pub const HEADER: &str = "EVENT                    COMM                  PID  CPU  TIME                EVENT \
                          DATA[dpif_name/dp_port/pkt_len/pkt_frag_len]\n";

/// Writes the line of an event.
pub fn line(out: &mut impl fmt::Write, event: &Event<'_>) -> fmt::Result {
    use fmt::Write as _;

    let name = event.kind.name();
    match event.kind {
        Kind::RecvUpcall | Kind::DpUpcall => write!(out, "[{name}]")?,
        _ => write!(out, "[..{}]", &name[name.len() - 20..])?,
    }
    let (seconds, nanoseconds) = (event.time / 1_000_000_000, event.time % 1_000_000_000);
    write!(
        out,
        " {:<16} {:8} [{:03}] {seconds:>8}.{nanoseconds:09}",
        Escaped(event.comm),
        event.tid,
        event.cpu
    )?;
    let size = event.packet.len;
    let datapath = Escaped(short_datapath(event.datapath));
    let mut port = String::from("?");
    if let Some(number) = event.port {
        port.clear();
        write!(port, "{number}")?;
    }
    match event.kind {
        Kind::DpUpcall => {
            let whole = event.packet.bytes.len() == size as usize;
            let linear = if whole { 0 } else { event.packet.bytes.len() };
            write!(out, ": {datapath:<17} {port:>4} {size:4} {linear:4}")?;
        }
        Kind::RecvUpcall => write!(out, ": {datapath:<17} {port:>4} {size:4}")?,
        Kind::OpFlowExecute => write!(out, ": {:<17} {:4} {size:4}", "", "")?,
        Kind::DpFailed => write!(out, ": {datapath:<17} {port:>4} {size:4} {}", event.result)?,
        Kind::OpFlowPut | Kind::OvsPktExec | Kind::DpQueued => {}
    }
    if let (Some(begun), Some(ended)) = (event.begun, event.ended) {
        let took = us(ended.saturating_sub(begun));
        write!(out, " took {took:.3} us")?;
        match errno::name(event.result.saturating_neg()) {
            Some(name) => write!(out, ": {name}")?,
            None if event.result != 0 => write!(out, ": error {}", event.result)?,
            None => {}
        }
    }
    out.write_char('\n')
}
