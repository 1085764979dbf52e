//! What becomes of the operations, live or from a recording.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use ovs_tracers::dpif_ops::event::{LOST, Op};
use ovs_tracers::dpif_ops::show::{HEADING, KERNEL_HEADING, Row, SCHEMA};
use ovs_tracers::run::events::{Events, Kind};
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::session::{Session, Step};

use crate::args::Args;

pub struct Ops<'a> {
    args: &'a Args,
    pub events: Events,
    /// Room for what is counted: operation, thread, datapath.
    names: [String; 3],
}

/// By what operations are counted: what only the kernel knows comes last.
const PROPERTIES: &[&str] = &["operation", "thread", "datapath", "result"];

impl<'a> Ops<'a> {
    /// Opens the outputs; `files` are those in use already. `start` describes the trace.
    pub fn new(args: &'a Args, start: &Start, files: Files) -> anyhow::Result<(Session, Self)> {
        let (heading, properties) = match start.get("source") {
            Some("kernel") => (KERNEL_HEADING, PROPERTIES),
            _ => (HEADING, &PROPERTIES[..3]),
        };
        let kind = Kind {
            what: "operations",
            tag: "op",
            properties,
            heading,
            schema: SCHEMA,
            reasons: LOST,
        };
        let (session, events) = Events::open(kind, &args.common, start, files)?;
        let ops = Self {
            args,
            events,
            names: Default::default(),
        };
        Ok((session, ops))
    }

    pub fn take(&mut self, session: &mut Session, step: Step<'_>) -> ControlFlow<()> {
        let Step::Record(record) = step else {
            return self.events.take(session, &step);
        };
        let Some(op) = &Op::from_record(record) else {
            return self.events.undecodable(session, record);
        };
        let head = &op.head;
        if !self.args.has(op.operation) || !self.args.thread.has(head.tid, head.comm) {
            self.events.filtered += 1;
            return ControlFlow::Continue(());
        }
        let dp_ifindex = op.dp_ifindex();
        let wall_time = session.keep(&record[..op.record_len], head, dp_ifindex)?;
        let (ports, failure) = session.names(head.target.into(), dp_ifindex);
        let datapath = ports.and_then(|ports| ports.known_datapath(dp_ifindex));
        self.names.iter_mut().for_each(String::clear);
        let [title, thread, datapath_name] = &mut self.names;
        // Writing to a String cannot fail.
        let _ = op.title(title);
        let comm = String::from_utf8_lossy(head.comm);
        let _ = write!(thread, "{comm} ({})", head.tid);
        let _ = match datapath {
            Some(name) => datapath_name.write_str(&String::from_utf8_lossy(name)),
            None => write!(datapath_name, "{dp_ifindex}"),
        };
        let row = Row {
            op,
            title,
            datapath,
            ports,
            wall_time,
        };
        let result = op.handled.map(|handled| handled.result());
        let properties = [
            title,
            thread,
            datapath_name,
            result.as_deref().unwrap_or(""),
        ];
        let properties = (&properties[..], op.handled.map(|handled| handled.duration));
        let text = |out: &mut String| row.text(self.args.nlmsg_decode, out);
        self.events
            .show(failure, properties, text, |line| row.json(line))?;
        session.count()
    }
}
