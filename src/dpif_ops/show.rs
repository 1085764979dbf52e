//! An operation as text and as JSON; `docs/dpif-ops.schema.json` says what is in the latter.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::dpif_ops::event::{Chunk, Handled, Op};
use crate::ovs::ports::PortNames;
use crate::ovs::request_text;
use crate::show::columns::column;
use crate::show::decode::Decode;
use crate::show::errno;
use crate::show::escape::Escaped;
use crate::show::histogram::human;
use crate::show::json::{Line, Text};
use crate::show::number::number;

/// Changes when a field of JSON changes its meaning or goes, not when one is added.
pub const SCHEMA: u32 = 1;

/// The heading of the table, and that of what the kernel did.
pub const HEADING: &str = "TIME               CPU  COMM             TID        OPERATION        DATAPATH             REQUEST";
pub const KERNEL_HEADING: &str = "TIME               CPU  COMM             TID        OPERATION        RESULT     DURATION   DATAPATH             REQUEST";

/// An operation, with what is known of it besides its record.
pub struct Row<'a> {
    pub op: &'a Op<'a>,
    /// [`Op::title`].
    pub title: &'a str,
    /// The name of the datapath, if it is known.
    pub datapath: Option<&'a [u8]>,
    pub ports: Option<&'a PortNames>,
    /// Nanoseconds since 1970.
    pub wall_time: u64,
}

impl Op<'_> {
    /// [`Request::title`](crate::ovs::flow_request::Request::title); `dump chunk` of another chunk of a dump.
    pub fn title(&self, out: &mut String) -> fmt::Result {
        match &self.request {
            _ if self.is_chunk() => write!(out, "{} chunk", self.operation.name()),
            Ok(request) => request.title(out),
            Err(_) => out.write_str(self.operation.name()),
        }
    }
}

impl Handled {
    /// `ok`, or the name of the errno, or what was returned if that is no errno which is known.
    pub fn result(&self) -> Cow<'static, str> {
        match errno::name(self.result.wrapping_neg()) {
            _ if self.result == 0 => "ok".into(),
            Some(name) => name.into(),
            None => self.result.to_string().into(),
        }
    }

    fn json(&self, line: &mut Line) {
        line.field("family", self.family.name().to_string_lossy());
        line.field("duration_ns", self.duration);
        line.field("result", self.result);
        if let Some(name) = errno::name(self.result.wrapping_neg()) {
            line.field("result_name", name);
        }
        if let Some(chunk) = self.chunk {
            line.begin("chunk", b'{');
            line.field("first", chunk.is_first);
            line.field("bytes", chunk.bytes);
            line.field("messages", chunk.messages);
            line.end(b'}');
        }
    }
}

/// `chunk of 3992 bytes with 27 messages`, `end of the dump`
impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes == 0 {
            return f.write_str("end of the dump");
        }
        write!(f, "chunk of {} bytes", self.bytes)?;
        match self.messages {
            Some(messages) => write!(f, " with {}", number(messages, "messages")),
            None => Ok(()),
        }
    }
}

impl Row<'_> {
    /// The name of a port of the datapath.
    fn port(&self, number: u32) -> Option<&str> {
        self.ports?.known(self.datapath?, number)
    }

    /// Appends the row, and below it the request.
    pub fn text(&self, decode: Decode, out: &mut String) -> fmt::Result {
        let message = &self.op.message;
        self.op.head.columns(out)?;
        column(out, 16, |out| out.write_str(self.title))?;
        if let Some(handled) = &self.op.handled {
            column(out, 10, |out| out.write_str(&handled.result()))?;
            column(out, 10, |out| out.write_str(&human(handled.duration)))?;
        }
        column(out, 20, |out| match self.datapath {
            Some(name) => write!(out, "{}", Escaped(name)),
            None => write!(out, "{}", self.op.dp_ifindex()),
        })?;
        match self.op.chunk() {
            None => writeln!(out, "{message}")?,
            // What was asked for is at the request.
            Some(chunk) if !chunk.is_first => return writeln!(out, "{chunk}"),
            Some(chunk) => writeln!(out, "{message}, {chunk}")?,
        }
        let port = |number| self.port(number).map(Escaped::text);
        request_text::lines(message, &self.op.request, decode, port, out)
    }

    /// Writes the fields of the record.
    pub fn json(&self, line: &mut Line) {
        line.head(&self.op.head, self.wall_time);
        line.field("operation", self.op.operation.name());
        if let Some(handled) = &self.op.handled {
            handled.json(line);
        }
        line.field("datapath", self.datapath.map(Text));
        let (message, request) = (&self.op.message, &self.op.request);
        request_text::json(message, request, |number| self.port(number), line);
    }
}
