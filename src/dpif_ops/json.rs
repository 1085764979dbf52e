//! JSON Lines; `docs/dpif-ops.schema.json` says what is in them.

use std::io::{self, Write};

use crate::dpif_ops::summary::Report;
use crate::dpif_ops::text::Row;
use crate::ovs::actions;
use crate::ovs::flow_key::odp_masked;
use crate::run::loss::Lost;
use crate::run::recording::Start;
use crate::show::json::{Line, Text};

/// Changes when a field changes its meaning or goes, not when one is added.
const SCHEMA: u32 = 1;

pub struct Json<W> {
    out: W,
    line: Line,
    text: String,
}

impl<W: Write> Json<W> {
    /// Writes the start record.
    pub fn new(out: W, start: &Start) -> io::Result<Self> {
        let mut json = Self {
            out,
            line: Line::default(),
            text: String::new(),
        };
        json.line.start(SCHEMA, start);
        json.write()?;
        Ok(json)
    }

    pub fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let (line, text) = (&mut self.line, &mut self.text);
        line.record("op");
        line.field("time", row.op.time);
        line.field("wall_time_ns", row.wall_time);
        line.field("cpu", row.op.cpu);
        line.field("pid", row.op.pid);
        line.field("tid", row.op.tid);
        line.field("comm", Text(row.op.comm));
        line.field("operation", row.op.operation.name());
        line.field("datapath", row.datapath.map(Text));
        line.captured("request", &row.op.request);
        line.end(b'}');
        if let Some(request) = row.request {
            line.field("dp_ifindex", request.headers.dp_ifindex.get());
            line.field("command", request.command().map(|command| command.name()));
            line.field("nlmsg_flags", request.headers.nlmsg_flags.get());
            line.field("probe", request.is_probe());
            line.field("ufid", request.ufid().map(|ufid| ufid.to_string()));
            // Writing to a String cannot fail.
            if let Some(key) = request.key() {
                text.clear();
                let mask = request.mask();
                let _ = odp_masked(&key, mask.as_ref(), true, |number| row.port(number), text);
                line.field("flow", &*text);
            }
            if let Some(list) = request.actions() {
                text.clear();
                let _ = actions::odp(&list, |number| row.port(number), text);
                line.field("actions", &*text);
            }
            if let Some(packet) = request.packet() {
                line.field("packet_length", packet.payload_len());
            }
            let problems: Vec<String> = request.problems().map(|p| p.to_string()).collect();
            if !problems.is_empty() {
                line.field("problems", problems);
            }
        }
        self.write()
    }

    pub fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.line.record("lost");
        self.line.lost(lost);
        self.write()
    }

    pub fn interval(&mut self, report: &Report) -> io::Result<()> {
        self.line.record("interval");
        self.line.field("operations", report);
        self.write()
    }

    /// Writes the last line.
    pub fn summary(&mut self, totals: &Totals, lost: &Lost, report: &Report) -> io::Result<()> {
        let line = &mut self.line;
        line.record("summary");
        line.field("shown", totals.shown);
        line.field("filtered", totals.filtered);
        line.field("undecodable", totals.undecodable);
        line.field("pending", totals.pending);
        line.lost(lost);
        line.field("operations", report);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        self.line.write(&mut self.out)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What became of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub shown: u64,
    pub filtered: u64,
    /// Records whose bytes make no sense.
    pub undecodable: u64,
    /// Records that came after the end of the run.
    pub pending: u64,
}
