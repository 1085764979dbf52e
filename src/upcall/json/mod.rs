//! JSON Lines: an object for each upcall, each gap, the start and the end of a trace.
//!
//! `docs/upcall-monitor.schema.json` is the schema; what is in it holds for every line. Each object has a `record`,
//! which says what it is: `start`, `event`, `lost` or `summary`. Throughout,
//!
//! * a field has one type, or is absent or null; an object without `error` has been read;
//! * a number is one, exact below 2^53: what may be larger, a tunnel's key or a connection's label, is a string of
//!   hexadecimal digits. `time_ns` alone grows beyond it, in 104 days of uptime;
//! * a number with a name has it in a field of its own, `type` and `type_name`, and a set of bits has those of the bits,
//!   `ct_state` and `ct_state_names`;
//! * bytes are base64 (RFC 4648, with padding);
//! * text that another process made is escaped as in the table.

pub(crate) mod key;
mod packet;

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use rustix::io::Errno;
use serde::{Serialize, Serializer};

use crate::ovs::packet as packets;
use crate::run::loss::Lost;
use crate::run::recording::Start;
use crate::upcall::event::{Captured, Upcall};
use crate::upcall::flows::Report;
use crate::upcall::summary::Summary;
use crate::upcall::text::{self, PacketDecode};

/// Version of the schema: changes when a field changes its meaning or goes, not when one is added.
pub const SCHEMA: u32 = 1;

/// What a recording says of its origin that is a number, and what is text.
const START_TEXTS: [&str; 4] = ["tool", "tool_version", "machine", "kernel"];
const START_NUMBERS: [&str; 3] = ["pid", "packet_size", "flow_key_size"];

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
        json.line.start(start);
        json.write()?;
        Ok(json)
    }

    /// Writes one upcall. `port` is the name of its port, if there is one; `daemon` the process that it was for, if that
    /// is known; `wall` its time in nanoseconds since the epoch.
    pub fn event(
        &mut self,
        upcall: &Upcall<'_>,
        port: Option<&str>,
        daemon: Option<u32>,
        wall: u64,
    ) -> io::Result<()> {
        let line = &mut self.line;
        line.record("event");
        line.field("time_ns", upcall.time);
        let wall = UNIX_EPOCH + Duration::from_nanos(wall);
        line.plain("wall_time", humantime::format_rfc3339_nanos(wall));
        line.field("cpu", upcall.cpu);
        line.field("comm", Escaped(upcall.comm));
        line.field("pid", upcall.pid);
        line.field("tid", upcall.tid);
        if let Some(daemon) = daemon {
            line.field("daemon", daemon);
        }
        // A datapath has a name: none is one that could not be read.
        let datapath = Some(upcall.datapath).filter(|name| !name.is_empty());
        line.field("datapath", datapath.map(Escaped));
        match (upcall.in_port(), port) {
            (None, None) => line.field("port", ()),
            (number, name) => {
                line.begin("port", b'{');
                line.field("number", number);
                line.field("name", name.map(|name| Escaped(name.as_bytes())));
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
            && let Some(name) = errno_name(upcall.result.wrapping_neg())
        {
            line.field("result_name", name);
        }

        line.captured("packet", &upcall.packet);
        if upcall.paged > 0 {
            line.field("paged", upcall.paged);
        }
        let packet = &upcall.packet;
        if packet.error.is_none() && self.packet_decode != PacketDecode::None {
            line.base64("bytes", packet.bytes);
            if self.packet_decode == PacketDecode::Decode {
                packet::write(line, &mut self.open, packet.bytes, packet.len as usize);
            }
        }
        line.end(b'}');
        line.captured("key", &upcall.key);
        if upcall.key.error.is_none() {
            key::write(line, upcall.key.bytes);
        }
        line.end(b'}');
        self.write()
    }

    /// Says that `lost` events are missing since this was last said.
    pub fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.line.record("lost");
        self.line.lost(lost);
        self.write()
    }

    /// Says who caused the upcalls since this was last said.
    pub fn interval(&mut self, report: &Report) -> io::Result<()> {
        self.line.record("interval");
        self.line.field("flows", report);
        self.write()
    }

    /// Writes the last line; `report` says who caused the upcalls, if that is known.
    pub fn summary(&mut self, summary: &Summary, report: Option<&Report>) -> io::Result<()> {
        let line = &mut self.line;
        line.record("summary");
        line.field("fired", summary.fired());
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

/// One line, written front to back into memory, where writing cannot fail.
///
/// Not a tree for serde: a packet's layers are pushed by their decoder, and a layer cannot be asked for.
#[derive(Default)]
pub(crate) struct Line {
    text: Vec<u8>,
}

impl Line {
    pub(crate) fn record(&mut self, tag: &str) {
        self.text.clear();
        self.text.push(b'{');
        self.field("record", tag);
    }

    /// The first line.
    pub(crate) fn start(&mut self, start: &Start) {
        self.record("start");
        self.field("schema", SCHEMA);
        for name in START_TEXTS {
            if let Some(value) = start.get(name) {
                self.field(name, Escaped(value.as_bytes()));
            }
        }
        for name in START_NUMBERS {
            if let Some(value) = start.get(name).and_then(|value| value.parse::<u32>().ok()) {
                self.field(name, value);
            }
        }
    }

    /// A comma, if something is before it.
    fn separate(&mut self) {
        if !matches!(self.text.last(), Some(b'{' | b'[' | b':')) {
            self.text.push(b',');
        }
    }

    fn name(&mut self, name: &str) {
        self.name_of(name, "");
    }

    /// The name of a field that goes with another.
    fn name_of(&mut self, name: &str, suffix: &str) {
        self.separate();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(suffix.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// An item of an array, or what a name is followed by.
    pub(crate) fn value(&mut self, value: impl Serialize) {
        self.separate();
        // It fails for what JSON does not have, a map whose keys are no strings.
        let _ = serde_json::to_writer(&mut self.text, &value);
    }

    pub(crate) fn field(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        self.value(value);
    }

    /// Text of which no character has to be escaped.
    pub(crate) fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name);
        self.text.push(b'"');
        let _ = write!(self.text, "{value}");
        self.text.push(b'"');
    }

    pub(crate) fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.plain(name, Base64Display::new(bytes, &STANDARD));
    }

    fn address(&mut self, name: &str, value: packets::Value<'_>) {
        self.name(name);
        self.address_item(value);
    }

    fn address_item(&mut self, value: packets::Value<'_>) {
        self.separate();
        self.text.push(b'"');
        let _ = packets::write_value(&mut self.text, value);
        self.text.push(b'"');
    }

    /// An array of the names that bits of `set` have.
    fn bits(&mut self, set: u64, names: impl Iterator<Item = (u64, &'static str)>) {
        self.begin_item(b'[');
        for (bit, name) in names {
            if set & bit != 0 {
                self.value(name);
            }
        }
        self.end(b']');
    }

    pub(crate) fn begin(&mut self, name: &str, bracket: u8) {
        self.name(name);
        self.text.push(bracket);
    }

    pub(crate) fn begin_item(&mut self, bracket: u8) {
        self.separate();
        self.text.push(bracket);
    }

    pub(crate) fn end(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    /// Begins an object with what there is of something that was copied.
    pub(crate) fn captured(&mut self, name: &str, captured: &Captured<'_>) {
        self.begin(name, b'{');
        self.field("length", captured.len);
        self.field("captured", captured.bytes.len());
        if let Some(errno) = captured.error {
            self.field("error", errno);
            if let Some(name) = errno_name(errno) {
                self.field("error_name", name);
            }
        }
    }

    fn lost(&mut self, lost: &Lost) {
        self.field("lost", lost.total());
        self.begin("lost_reasons", b'{');
        for (reason, count) in lost.by_reason() {
            self.field(&reason.why.replace(' ', "_"), count);
        }
        self.end(b'}');
    }

    /// Ends the line and writes it.
    pub(crate) fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.text.extend_from_slice(b"}\n");
        out.write_all(&self.text)
    }
}

/// Text that another process made.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::escape(f, self.0)
    }
}

impl Serialize for Escaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of an errno that reading memory or sending an upcall may end in.
pub fn errno_name(errno: i32) -> Option<&'static str> {
    macro_rules! names {
        ($($name:ident)*) => {
            [
                $((Errno::$name, concat!("E", stringify!($name))),)*
                // These two have other names in Rust.
                (Errno::TOOBIG, "E2BIG"),
                (Errno::ACCESS, "EACCES"),
            ]
        };
    }
    #[rustfmt::skip]
    const NAMES: &[(Errno, &str)] = &names!(
        PERM NOENT SRCH INTR IO NXIO BADF AGAIN NOMEM FAULT BUSY EXIST NODEV INVAL NFILE MFILE FBIG NOSPC PIPE
        DOM RANGE NAMETOOLONG NOSYS LOOP NODATA PROTO OVERFLOW BADMSG MSGSIZE NOPROTOOPT PROTONOSUPPORT OPNOTSUPP
        AFNOSUPPORT ADDRNOTAVAIL NETDOWN NETUNREACH NOBUFS NOTCONN TIMEDOUT CONNREFUSED HOSTUNREACH ALREADY
    );
    let mut names = NAMES.iter();
    names
        .find(|(known, _)| known.raw_os_error() == errno)
        .map(|(_, name)| *name)
}
