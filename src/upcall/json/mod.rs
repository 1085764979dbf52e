//! The stream of `--format json`: an object for each upcall, each gap, the start and the end of a trace.
//!
//! `docs/upcall-monitor.schema.json` is the schema; what is in it holds for every line. [`crate::show::json`] has what
//! holds for the streams of all tools. Besides,
//!
//! * an object without `error` has been read;
//! * a number with a name has it in a field of its own, `type` and `type_name`, and a set of bits has those of the
//!   bits, `ct_state` and `ct_state_names`.

pub(crate) mod key;
mod packet;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::ovs::packet::{self as packets, Link};
use crate::run::loss::Lost;
use crate::run::recording::Start;
use crate::show::columns::At;
use crate::show::errno;
use crate::show::json::{Line, Text};
use crate::upcall::event::Upcall;
use crate::upcall::flows::Report;
use crate::upcall::summary::Summary;
use crate::upcall::text::PacketDecode;

/// Version of the schema: changes when a field changes its meaning or goes, not when one is added.
pub const SCHEMA: u32 = 2;

/// Writes JSON Lines to `out`, a line at a time.
pub struct Json<W: Write> {
    out: W,
    packet_decode: PacketDecode,
    line: Line,
    open: packet::Open,
}

impl<W: Write> Json<W> {
    /// Begins with the start record. `packet_decode` chooses what an event has of its packet: neither bytes nor
    /// layers, bytes, or both.
    pub fn new(out: W, packet_decode: PacketDecode, start: &Start) -> io::Result<Self> {
        let mut json = Self {
            out,
            packet_decode,
            line: Line::default(),
            open: packet::Open::default(),
        };
        json.line.start(SCHEMA, start);
        json.write()?;
        Ok(json)
    }

    /// Writes one upcall. `port` is the name of its port, if it has one; `daemon` the process that it was for, if that
    /// is known; `port_name` knows the names of other ports; `wall` is its time in nanoseconds since the epoch.
    pub fn event<N: Display>(
        &mut self,
        upcall: &Upcall<'_>,
        port: Option<&str>,
        daemon: Option<u32>,
        port_name: impl Fn(u32) -> Option<N>,
        wall: u64,
    ) -> io::Result<()> {
        let line = &mut self.line;
        line.record("event");
        line.field("time_ns", upcall.time);
        let wall = UNIX_EPOCH + Duration::from_nanos(wall);
        line.plain("wall_time", humantime::format_rfc3339_nanos(wall));
        line.field("cpu", upcall.cpu);
        line.field("comm", Text(upcall.comm));
        line.field("pid", upcall.pid);
        line.field("tid", upcall.tid);
        if let Some(daemon) = daemon {
            line.field("daemon", daemon);
        }
        // A datapath has a name: an empty one could not be read.
        let datapath = Some(upcall.datapath).filter(|name| !name.is_empty());
        line.field("datapath", datapath.map(Text));
        if let Some(number) = upcall.dp_ifindex {
            line.field("dp_ifindex", number);
        }
        match (upcall.in_port(), port) {
            (None, None) => line.field("port", ()),
            (number, name) => {
                line.begin("port", b'{');
                line.field("number", number);
                line.field("name", name.map(|name| Text(name.as_bytes())));
                line.end(b'}');
            }
        }
        line.field("type", upcall.kind);
        match upcall.kind {
            0 => line.field("type_name", "miss"),
            1 => line.field("type_name", "action"),
            _ => {}
        }
        line.field("result", upcall.result);
        if upcall.result != 0
            && let Some(name) = errno::name(upcall.result.wrapping_neg())
        {
            line.field("result_name", name);
        }

        let link = upcall.link();
        line.captured("packet", &upcall.packet);
        line.link("", link);
        if upcall.paged > 0 {
            line.field("paged", upcall.paged);
        }
        let packet = &upcall.packet;
        if packet.error.is_none() && self.packet_decode != PacketDecode::None {
            line.base64("bytes", packet.bytes);
            if self.packet_decode == PacketDecode::Decode {
                let len = packet.len as usize;
                packet::write(line, &mut self.open, packet.bytes, len, link);
            }
        }
        line.end(b'}');
        line.captured("key", &upcall.key);
        if upcall.key.error.is_none() {
            key::write(line, upcall.key.bytes);
        }
        line.end(b'}');
        if let Some(other) = upcall.other_attributes() {
            other.json(port_name, line);
        }
        self.write()
    }

    /// Says that `lost` events are missing since this was last said.
    pub fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.line.record("lost");
        self.line.lost(lost);
        self.write()
    }

    /// Says who caused the upcalls since this was last said.
    pub fn interval(&mut self, At(past, report): &At<Report>) -> io::Result<()> {
        self.line.record("interval");
        self.line.times(past.time, past.wall_time);
        self.line.field("flows", report);
        self.write()
    }

    /// Writes the last line; `report` says who caused the upcalls, if that is known.
    pub fn summary(&mut self, summary: &Summary, report: Option<&Report>) -> io::Result<()> {
        let line = &mut self.line;
        line.record("summary");
        line.field("fired", summary.all());
        line.field("received", summary.received());
        line.lost(&summary.lost);
        line.field("shown", summary.shown);
        line.field("failed", summary.failed);
        line.field("filtered", summary.filtered);
        line.field("undecodable", summary.undecodable);
        line.field("left", summary.pending);
        line.field("packets_unreadable", summary.packets_unreadable);
        line.field("keys_unreadable", summary.keys_unreadable);
        line.field("names_unreadable", summary.names_unreadable);
        if let Some(report) = report {
            line.field("flows", report);
        }
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        self.line.write(&mut self.out)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Line {
    /// What a packet begins with: `link`, and `eth_type` if that is no Ethernet header. `prefix` goes before the names.
    pub(crate) fn link(&mut self, prefix: &str, link: Link) {
        self.name_of(prefix, "link");
        match link {
            Link::Ethernet => self.value("ethernet"),
            Link::Network(ether_type) => {
                self.value("network");
                self.name_of(prefix, "eth_type");
                self.value(ether_type);
            }
            Link::Unknown => self.value("unknown"),
        }
    }

    pub(crate) fn address(&mut self, name: &str, value: packets::Value<'_>) {
        self.name(name);
        self.address_item(value);
    }

    fn address_item(&mut self, value: packets::Value<'_>) {
        self.quoted(|text| {
            // Writing to memory cannot fail.
            let _ = packets::write_value(text, value);
        });
    }
}
