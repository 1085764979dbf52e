//! What becomes of the upcalls, live or from a recording: filters, names, outputs, counts.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::session::{Session, Settings, Step};
use ovs_tracers::show::columns::{At, decimal};
use ovs_tracers::show::decode::Decode;
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::message::note;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::packet_filter::Filter;
use ovs_tracers::upcall::summary::{LOST, Summary};
use ovs_tracers::upcall::text::key_lines;

use crate::args::{Args, Filters};
use crate::outputs::{Outputs, Row};
use crate::top::{TopSources, datapath_label};

pub struct Monitor {
    filters: Filters,
    /// The packet filter, unless the program in the kernel applies it.
    packet_filter: Option<Filter>,
    /// Upcalls that the programs in the kernel filtered.
    pub filtered_in_kernel: Filtered,
    /// Upcalls that they counted for the summary and did not send.
    pub counted_in_kernel: u64,
    /// Upcalls that the packet filter excluded here although less was known of the packet than the filter looks at.
    doubtful: u64,
    replay: bool,
    key_decode: Decode,
    outputs: Outputs,
    /// Who causes the upcalls, if that is to be shown.
    pub top: Option<TopSources>,
    summary: Summary,
    /// Room for the name of a port, what is shown of it, and the flow key.
    name: String,
    port: String,
    key: String,
}

/// Counts of upcalls that the programs in the kernel filtered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    pub count: u64,
    /// Of these, how many may have matched: the program could not see all that the filter looks at.
    pub doubtful: u64,
}

impl Monitor {
    /// Opens the output files; `files` are those in use already. `start` describes the trace.
    pub fn new(args: &Args, start: &Start, mut files: Files) -> anyhow::Result<(Session, Self)> {
        let recording = args.recording.create(&mut files)?;
        let outputs = Outputs::open(args, start, files)?;
        let replay = args.recording.replay.is_some();
        let settings = Settings {
            count: args.trace.count,
            interval: args.summary.interval,
            reasons: LOST,
            status: match replay {
                true => None,
                false => outputs.status_line(),
            },
        };
        let monitor = Self {
            filters: args.filters.clone(),
            packet_filter: args.filter.clone(),
            filtered_in_kernel: Filtered::default(),
            counted_in_kernel: 0,
            doubtful: 0,
            replay,
            key_decode: args.flow_key_decode,
            outputs,
            top: args
                .summary_lines()
                .map(|lines| TopSources::new(lines, args.summary.interval.is_some())),
            summary: Summary {
                only_counted: args.summary.quiet,
                ..Summary::default()
            },
            name: String::new(),
            port: String::new(),
            key: String::new(),
        };
        Ok((Session::new(settings, start, recording)?, monitor))
    }

    /// Sets the packet filter that is applied here from now on, if any.
    pub fn set_packet_filter(&mut self, filter: Option<Filter>) {
        self.packet_filter = filter;
    }

    /// Takes a step.
    pub fn take(&mut self, session: &mut Session, step: Step<'_>) -> ControlFlow<()> {
        match step {
            Step::Record(record) => match Upcall::from_record(record) {
                Ok(upcall) => self.upcall(session, &upcall, record),
                Err(_) => {
                    self.summary.undecodable += 1;
                    session.record(record, None)
                }
            },
            Step::Lost(new) => self.outputs.lost(&mut session.failure, new),
            Step::Interval(past) => {
                let top = self.top.as_mut();
                let report = top.and_then(|top| top.interval(past.elapsed, session.daemons()));
                match report {
                    Some(report) => self
                        .outputs
                        .interval(&mut session.failure, &At(past, report)),
                    None => ControlFlow::Continue(()),
                }
            }
            Step::Pause => {
                let upcalls = self.summary.recorded()
                    + self.filtered_in_kernel.count
                    + self.counted_in_kernel;
                session.show_status(upcalls, "upcalls");
                self.outputs.flush(&mut session.failure)
            }
            Step::Ports => ControlFlow::Continue(()),
        }
    }

    fn upcall(
        &mut self,
        session: &mut Session,
        upcall: &Upcall<'_>,
        record: &[u8],
    ) -> ControlFlow<()> {
        // A datapath that is so new that the program in the kernel did not know its name.
        let unnamed = upcall.datapath.is_empty() && upcall.dp_ifindex.is_some();
        let name_of = Self::name_datapath(session, upcall);
        let named = name_of.as_deref().map(|datapath| Upcall {
            datapath,
            ..*upcall
        });
        let upcall = named.as_ref().unwrap_or(upcall);
        let datapath = upcall.datapath;
        let number = upcall.in_port();
        self.name.clear();
        let device = upcall.failed_from.map(|from| from.device);
        match device.filter(|device| !device.is_empty()) {
            Some(device) => self.name.push_str(&String::from_utf8_lossy(device)),
            None => {
                if let Some(port) = number
                    && let Some(name) = session.port_name(upcall.target as usize, datapath, port)
                {
                    self.name.push_str(name);
                }
            }
        }
        let name = (!self.name.is_empty()).then_some(&*self.name);
        // The kernel has already applied all filters, but not those by the name of a device.
        let by_name = upcall.failed_from.is_some_and(|from| from.port.is_none());
        let other = (self.replay || unnamed) && !self.filters.has(upcall);
        let other_port = (self.replay || by_name) && !self.filters.has_port(number, name);
        if other || other_port {
            self.summary.filtered += 1;
            return ControlFlow::Continue(());
        }
        let packet = &upcall.packet;
        if let Some(filter) = &mut self.packet_filter {
            let link = upcall.link();
            if !filter.matches(link, packet.bytes, packet.len) {
                self.summary.filtered += 1;
                let sure = filter.is_sure(link, packet.bytes.len(), packet.len);
                self.doubtful += u64::from(!sure);
                return ControlFlow::Continue(());
            }
        }
        self.summary.show(upcall);
        if let Some(top) = &mut self.top {
            top.upcall(upcall);
        }
        self.port.clear();
        match (number, name) {
            (_, Some(name)) => self.port.push_str(name),
            (Some(number), None) => decimal(&mut self.port, number),
            (None, None) => self.port.push_str("Unknown"),
        }
        self.key.clear();
        // Writing to a String cannot fail.
        let _ = key_lines(&mut self.key, &upcall.key, self.key_decode);
        if let Some(other) = upcall.other_attributes() {
            let daemon = session.daemons().get(upcall.target as usize);
            let port = |number| {
                let name = daemon?.ports.known(datapath, number)?;
                Some(Escaped::text(name).to_string())
            };
            let _ = match (self.key_decode, other.reason()) {
                (Decode::None, None) => Ok(()),
                (Decode::None, Some(reason)) => writeln!(self.key, "    reason={reason}"),
                _ => other.lines(port, &mut self.key),
            };
        }

        // Actions and userdata name other ports than that from which the packet came.
        let names_others = upcall.other_attributes().is_some();
        if let Some(number) = upcall.dp_ifindex.filter(|_| unnamed || names_others) {
            session.record_datapath(upcall.target as usize, number)?;
        }
        let named = number.zip(name);
        session.record(
            &record[..upcall.record_len],
            named.map(|(number, name)| (datapath, number, name)),
        )?;
        let time = upcall.time.saturating_add_signed(session.clock());
        let (daemons, lost, failure) = session.daemons_lost_and_failure();
        let number = upcall.dp_ifindex.filter(|_| datapath.is_empty());
        let label = (daemons.len() > 1 || number.is_some())
            .then(|| datapath_label(datapath, number, upcall.target, daemons));
        let daemon = daemons.get(upcall.target as usize);
        let row = Row {
            upcall,
            name,
            port: &self.port,
            ports: daemon.map(|daemon| &daemon.ports),
            daemon: daemon.map(|daemon| daemon.pid),
            datapath: label.as_ref().map(|label| label.as_bytes()),
            key: &self.key,
            time,
            lost,
        };
        self.outputs.upcall(failure, &row)?;
        session.count()
    }

    /// The name of the upcall's datapath, if its record has only the number.
    fn name_datapath(session: &mut Session, upcall: &Upcall<'_>) -> Option<Vec<u8>> {
        let number = upcall.dp_ifindex.filter(|_| upcall.datapath.is_empty())?;
        let (ports, _) = session.names(upcall.target as usize, number);
        ports?.known_datapath(number).map(<[u8]>::to_vec)
    }

    /// Completes the outputs and says what became of the upcalls.
    pub fn finish(mut self, mut session: Session) -> anyhow::Result<()> {
        let Filtered { count, doubtful } = self.filtered_in_kernel;
        self.summary.pending = session.pending;
        self.summary.filtered += count;
        self.summary.shown += self.counted_in_kernel;
        self.summary.lost.clone_from(session.lost());
        let top = self.top.as_ref();
        let report = top.map(|top| top.whole(self.replay, session.elapsed(), session.daemons()));
        self.outputs
            .finish(&mut session.failure, &self.summary, report.as_ref());
        let result = session.finish();
        note(&self.summary);
        if self.summary.lost.ring_full() {
            note(match self.summary.lost.queue_full {
                false => {
                    "the ring was full; a larger --buffer-page-count makes upcall-monitor lose less"
                }
                true => "the queue was full; a larger --queue-size makes upcall-monitor lose less",
            });
        }
        let doubtful = self.doubtful + doubtful;
        if doubtful > 0 {
            note(format_args!(
                "warning: {doubtful} of the filtered upcalls may have matched: \
                 what the packet filter looks at, or the flow key, was cut off or could not be read"
            ));
        }
        result
    }
}
