//! JSON Lines; `docs/dpif-ops.schema.json` says what is in them.

use std::io::{self, Write};

use crate::dpif_ops::event::Op;
use crate::dpif_ops::summary::Summary;
use crate::dpif_ops::text::{Context, write_odp};
use crate::ovs::flow_key::odp_masked;
use crate::ovs::flow_request::Request;
use crate::ovs::actions;
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

    /// Writes an operation that was at `wall_time`, nanoseconds since 1970.
    pub fn op<'n>(
        &mut self,
        op: &Op<'_>,
        context: &Context<'_, impl Fn(u32) -> Option<&'n str>>,
        wall_time: u64,
    ) -> io::Result<()> {
        let line = &mut self.line;
        line.record("op");
        line.field("time_ns", op.time);
        line.field("wall_time_ns", wall_time);
        line.field("cpu", op.cpu);
        line.field("pid", op.pid);
        line.field("tid", op.tid);
        line.field("comm", Text(op.comm));
        line.field("operation", op.operation.name());
        let request = Request::parse(op.operation, op.request.bytes);
        line.field("datapath", context.datapath.map(Text));
        line.begin("request", b'{');
        line.captured(&op.request);
        line.end(b'}');
        if let Ok(request) = &request {
            line.field("dp_ifindex", request.headers.dp_ifindex.get());
            line.field("command", request.command().map(|command| command.name()));
            line.field("flags", request.headers.nlmsg_flags.get());
            line.field("probe", request.is_probe());
            line.field("ufid", request.ufid().map(|ufid| ufid.to_string()));
            let names = &context.port_name;
            let mut texts = |name: &str, write: &mut dyn FnMut(&mut String)| {
                self.text.clear();
                write(&mut self.text);
                line.field(name, &self.text);
            };
            // Writing to a String cannot fail.
            if let Some(key) = request.key() {
                let mask = request.mask();
                texts("key", &mut |text| {
                    let _ = odp_masked(&key, mask.as_ref(), true, names, text);
                });
            }
            if let Some(list) = request.actions() {
                texts("actions", &mut |text| {
                    let _ = actions::odp(&list, names, text);
                });
            }
            let problems: Vec<String> = request.problems().map(|p| p.to_string()).collect();
            if !problems.is_empty() {
                line.field("problems", problems);
            }
        }
        self.write()
    }
}
