//! An operation as text and as JSON; `docs/dpif-ops.schema.json` says what is in the latter.

use std::fmt::{self, Write as _};

use crate::dpif_ops::event::Op;
use crate::ovs::ports::PortNames;
use crate::ovs::request_text;
use crate::show::columns::column;
use crate::show::decode::Decode;
use crate::show::escape::Escaped;
use crate::show::json::{Line, Text};

/// Changes when a field of JSON changes its meaning or goes, not when one is added.
pub const SCHEMA: u32 = 1;

/// The heading of the table.
pub const HEADING: &str = "TIME               CPU  COMM             TID        OPERATION        DATAPATH             REQUEST";

/// An operation, with what is known of it besides its record.
pub struct Row<'a> {
    pub op: &'a Op<'a>,
    /// [`Request::title`](crate::ovs::flow_request::Request::title).
    pub title: &'a str,
    /// The name of the datapath, if it is known.
    pub datapath: Option<&'a [u8]>,
    pub ports: Option<&'a PortNames>,
    /// Nanoseconds since 1970.
    pub wall_time: u64,
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
        column(out, 20, |out| match self.datapath {
            Some(name) => write!(out, "{}", Escaped(name)),
            None => write!(out, "{}", self.op.dp_ifindex()),
        })?;
        writeln!(out, "{message}")?;
        let port = |number| self.port(number).map(Escaped::text);
        request_text::lines(message, &self.op.request, decode, port, out)
    }

    /// Writes the fields of the record.
    pub fn json(&self, line: &mut Line) {
        line.head(&self.op.head, self.wall_time);
        line.field("operation", self.op.operation.name());
        line.field("datapath", self.datapath.map(Text));
        let (message, request) = (&self.op.message, &self.op.request);
        request_text::json(message, request, |number| self.port(number), line);
    }
}
