//! A run of a tool, live or from a recording: the loop, and what every tool does between two events.
//!
//! Live tracing and a recording feed the same [`Step`]s to the tool: [`Session::live`] and [`Session::replay`].

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::ovs::ports::{self, PortNames};
use crate::run::loss::{Lost, Reason};
use crate::run::output::Output;
use crate::run::recording::{self, Block, Records, Start};
use crate::run::sink::{Failure, Sink};
use crate::show::message::{StatusLine, note};
use crate::show::number::number;
use crate::trace::clock::{self, WallClock};
use crate::trace::kernel::kernel_release;
use crate::trace::ring::{Delivery, Live};
use crate::trace::target::Target;
use crate::trace::until::End;

/// At most one message a second reports what was lost.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the kernel is asked for the names of all ports although it reported no change: devices may be renamed.
const NAMES_INTERVAL: Duration = Duration::from_secs(10);

/// What a tool does next.
pub enum Step<'a> {
    /// Shows one record.
    Record(&'a [u8]),
    /// The names of ports were asked for again; records may follow.
    Ports,
    /// So much was lost since this was last reported. The tool shows it in its outputs; the session warns of it.
    Lost(&'a Lost),
    /// An interval is over.
    Interval(Past),
    /// Nothing waits in the ring, or a batch is done: the tool flushes its outputs.
    Pause,
}

/// An interval that is over.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// How long it was.
    pub elapsed: Duration,
    /// When it ended: nanoseconds of `CLOCK_MONOTONIC`, as events have them.
    pub time: u64,
    /// The same in nanoseconds since 1970.
    pub wall_time: u64,
}

/// What a tool asks of its session.
pub struct Settings {
    pub count: Option<u64>,
    pub interval: Option<Duration>,
    /// Why something may be lost.
    pub reasons: &'static [Reason],
    /// Whether to show a line on the terminal that says how a live trace goes.
    pub status: Option<StatusLine>,
}

/// A traced process, with the names of the ports in its network namespace.
pub struct Daemon {
    pub pid: u32,
    pub ports: PortNames,
}

impl Daemon {
    /// Asks the kernel for the names of the ports, and waits for them: it is for before anything is attached. Missing
    /// port names must not stop the trace.
    pub fn new(target: &Target) -> Self {
        Self::within(target, ports::PATIENCE)
    }

    /// The same without much waiting, for a daemon of which upcalls are missed meanwhile.
    pub fn at_once(target: &Target) -> Self {
        Self::within(target, ports::TIMEOUT)
    }

    fn within(target: &Target, patience: Duration) -> Self {
        let pid = target.pid();
        let ports = PortNames::open(pid, patience);
        match ports.failure() {
            // They are asked for again at once.
            None | Some(ports::Error::Moving) => {}
            // There is more to say of it than that.
            Some(_) if target.has_exited() => {}
            Some(error @ ports::Error::Namespace { .. }) => note(format_args!(
                "warning: {error}, so its ports have numbers only; {} to see their names",
                error.way_out()
            )),
            Some(error) => note(format_args!(
                "warning: {error}; the others have numbers until it does"
            )),
        }
        Self { pid, ports }
    }
}

pub struct Session {
    /// The first output that failed.
    pub failure: Failure,
    /// The tool that traces, or that made the recording.
    tool: String,
    recording: Sink<Recording>,
    daemons: Vec<Daemon>,
    /// The wall clock less the clock of the events, in nanoseconds.
    clock: i64,
    /// Events still to be shown.
    remaining: Option<u64>,
    interval: Option<Interval>,
    lost: Lost,
    reported: Lost,
    reported_at: Option<Instant>,
    status: Option<StatusLine>,
    /// How many events there were when the status was last shown.
    status_events: u64,
    /// Records that came after the end of the run.
    pub pending: u64,
    /// Whether the events come from the kernel, and not from a recording.
    is_live: bool,
    /// When the run began, and the last live trace of it ended: nanoseconds of `CLOCK_MONOTONIC`.
    started: u64,
    ended: Option<u64>,
    /// Times of the first and the last event that was shown, in nanoseconds.
    times: Option<(u64, u64)>,
}

struct Recording {
    writer: recording::Writer<Output>,
    /// The port names that it has.
    ports: PortNames,
    /// The datapaths whose ports it has.
    datapaths: Vec<u32>,
}

/// The interval that is not over yet.
struct Interval {
    length: Duration,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    since: u64,
    /// None if it is later than the clock can represent.
    due: Option<u64>,
}

impl Interval {
    fn new(length: Duration, since: u64) -> Self {
        let due = u64::try_from(length.as_nanos()).ok();
        Self {
            length,
            since,
            due: due.and_then(|length| since.checked_add(length)),
        }
    }

    /// How long it was, if it is over; then the next one begins.
    fn over(&mut self, now: u64) -> Option<Duration> {
        let late = now.checked_sub(self.due?)?;
        let elapsed = Duration::from_nanos(now - self.since);
        self.since = now;
        // If this process was stopped for long, the intervals that passed are reported as one.
        let length = self.length.as_nanos().max(1);
        let next = u64::try_from(length - u128::from(late) % length).ok();
        self.due = next.and_then(|next| now.checked_add(next));
        Some(elapsed)
    }
}

/// What a recording, or another output, says of its origin.
pub fn start(records: &Records, targets: &[Target]) -> Start {
    describe(Start::new(records), targets)
}

/// The same of a tool that makes no recordings.
pub fn start_of(tool: &str, targets: &[Target]) -> Start {
    describe(Start::of(tool), targets)
}

fn describe(mut start: Start, targets: &[Target]) -> Start {
    let pids: Vec<String> = targets
        .iter()
        .map(|target| target.pid().to_string())
        .collect();
    start.set("kernel", kernel_release());
    start.set("pid", pids.join(" "));
    start
}

impl Session {
    /// `start` describes the trace, and `recording` is where it is recorded.
    pub fn new(settings: Settings, start: &Start, recording: Option<Output>) -> io::Result<Self> {
        let recording = match recording {
            None => None,
            Some(output) => Some(Recording {
                writer: recording::Writer::new(output, start)?,
                ports: PortNames::default(),
                datapaths: Vec::new(),
            }),
        };
        let pids = start.get("pid").unwrap_or_default();
        let daemon = |pid| Daemon {
            pid,
            ports: PortNames::default(),
        };
        Ok(Self {
            failure: Failure::default(),
            tool: start.get("tool").unwrap_or_default().to_string(),
            recording: Sink::new("the recording", recording),
            // The daemons of a recording; for a live trace, `set_daemons` replaces them.
            daemons: pids.split(' ').flat_map(str::parse).map(daemon).collect(),
            clock: 0,
            remaining: settings.count,
            interval: settings
                .interval
                .map(|length| Interval::new(length, clock::monotonic())),
            lost: Lost::new(settings.reasons),
            reported: Lost::new(settings.reasons),
            reported_at: None,
            status: settings.status,
            status_events: 0,
            pending: 0,
            is_live: false,
            started: clock::monotonic(),
            ended: None,
            times: None,
        })
    }

    /// Takes steps with what the kernel delivers until something ends the trace. If the tool ended it, the records that
    /// remain in the ring are counted as pending.
    pub fn live(
        &mut self,
        live: Live<'_>,
        mut take: impl FnMut(&mut Self, Step<'_>) -> ControlFlow<()>,
    ) -> End {
        self.is_live = true;
        self.ended = None;
        let what = live.attached.what.clone();
        let clock = WallClock::now();
        let _ = self.set_clock(clock.offset());
        let mut named = Instant::now();
        // What was lost while a daemon before this one was traced.
        let before = self.lost.counts().to_vec();
        let targets = live.targets;
        let drained = live.drain(clock, |delivery| match delivery {
            Delivery::Ready => {
                note(format_args!("attached to {what}; Ctrl-C ends it"));
                ControlFlow::Continue(())
            }
            Delivery::Wake => {
                let all = named.elapsed() >= NAMES_INTERVAL;
                if all {
                    named = Instant::now();
                }
                if self.refresh_ports(all) {
                    let _ = self.recording.write(&mut self.failure, |recording| {
                        recording.datapaths.clear();
                        Ok(())
                    });
                    return take(self, Step::Ports);
                }
                ControlFlow::Continue(())
            }
            Delivery::Record(record) => take(self, Step::Record(record)),
            Delivery::Pause(pause) => {
                self.lost.set(&pause.lost);
                self.lost.add(&before);
                self.lost.queue_full |= pause.queue_full;
                let due = |at: Instant| at.elapsed() >= LOSS_INTERVAL;
                if self.reported_at.is_none_or(due) {
                    self.report_lost(&mut take)?;
                }
                if pause.clock != self.clock {
                    self.set_clock(pause.clock)?;
                }
                let interval = self.interval.as_mut();
                if let Some(elapsed) = interval.and_then(|interval| interval.over(pause.time)) {
                    let past = Past {
                        elapsed,
                        time: pause.time,
                        wall_time: pause.time.saturating_add_signed(self.clock),
                    };
                    take(self, Step::Interval(past))?;
                }
                take(self, Step::Pause)?;
                let recording = |recording: &mut Recording| recording.writer.flush();
                self.recording.write(&mut self.failure, recording)
            }
        });
        let reported = self.report_lost(&mut take);
        match drained {
            Ok(drained) => {
                self.pending += drained.pending;
                self.ended = Some(drained.time);
                let end = match reported {
                    ControlFlow::Continue(()) => drained.end,
                    ControlFlow::Break(()) => End::Enough,
                };
                if end == End::TargetExited {
                    let pids: Vec<String> = targets.iter().map(|t| t.pid().to_string()).collect();
                    note(format_args!("process {} has exited", pids.join(" and ")));
                }
                end
            }
            Err(error) => {
                self.failure.set(error.into());
                End::Failed
            }
        }
    }

    /// Takes steps with what a recording has, up to its end or to where it cannot be read on.
    ///
    /// # Errors
    /// Why it cannot be read on. What was read before has been shown.
    pub fn replay<R: Read>(
        &mut self,
        reader: &mut recording::Reader<R>,
        mut take: impl FnMut(&mut Self, Step<'_>) -> ControlFlow<()>,
    ) -> Result<(), recording::Error> {
        loop {
            let flow = match reader.next_block()? {
                Block::Record(record) => take(self, Step::Record(record)),
                Block::Port {
                    datapath,
                    port,
                    name,
                } => {
                    if let Some(daemon) = self.daemons.first_mut() {
                        daemon.ports.insert(datapath, port, name);
                    }
                    ControlFlow::Continue(())
                }
                Block::Clock(offset) => self.set_clock(offset),
                Block::Daemons(pids) => {
                    self.take_over(&pids);
                    ControlFlow::Continue(())
                }
                Block::Datapath { ifindex, name } => {
                    if let Some(daemon) = self.daemons.first_mut() {
                        daemon.ports.insert_datapath(ifindex, name);
                    }
                    ControlFlow::Continue(())
                }
                Block::Lost(counts) => self.set_lost(&counts, &mut take),
                Block::End => return Ok(()),
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// Sets the daemons that are traced from now on. A recording has the first ones in its start block, and a block for
    /// others.
    pub fn set_daemons(&mut self, daemons: Vec<Daemon>) {
        let pids =
            |daemons: &[Daemon]| -> Vec<u32> { daemons.iter().map(|daemon| daemon.pid).collect() };
        let (before, now) = (pids(&self.daemons), pids(&daemons));
        self.daemons = daemons;
        if before != now {
            let _ = self.recording.write(&mut self.failure, |recording| {
                // The ports of another daemon are others.
                recording.ports = PortNames::default();
                recording.datapaths.clear();
                recording.writer.daemons(&now)
            });
        }
    }

    /// Goes on to other daemons of a recording. The names of ports until now are those of the daemons before.
    fn take_over(&mut self, pids: &[u32]) {
        let daemon = |pid: &u32| Daemon {
            pid: *pid,
            ports: PortNames::default(),
        };
        self.daemons = pids.iter().map(daemon).collect();
    }

    /// The traced daemons, in the order in which records number them.
    pub fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    /// The daemons, all that was lost, and what notes the failure of an output that shows the names of their ports.
    pub fn daemons_lost_and_failure(&mut self) -> (&[Daemon], &Lost, &mut Failure) {
        (&self.daemons, &self.lost, &mut self.failure)
    }

    /// The name of a port of a daemon, which the kernel is asked for if it is not known yet.
    pub fn port_name(&mut self, daemon: usize, datapath: &[u8], port: u32) -> Option<&str> {
        self.daemons.get_mut(daemon)?.ports.lookup(datapath, port)
    }

    /// The names of a daemon's ports, and what notes the failure of an output that shows them. If the name of the
    /// datapath with this number is not known yet, the kernel is asked for it.
    pub fn names(&mut self, daemon: usize, ifindex: u32) -> (Option<&PortNames>, &mut Failure) {
        let ports = self.daemons.get_mut(daemon).map(|daemon| {
            daemon.ports.datapath(ifindex);
            &daemon.ports
        });
        (ports, &mut self.failure)
    }

    /// Asks the kernel for the names of ports where that is worth while, or of all. Returns whether it asked.
    fn refresh_ports(&mut self, all: bool) -> bool {
        let mut asked = false;
        for daemon in &mut self.daemons {
            if daemon.ports.needs_refresh() || all {
                daemon.ports.refresh();
                asked = true;
            }
        }
        asked
    }

    /// The wall clock less the clock of the events, in nanoseconds.
    pub fn clock(&self) -> i64 {
        self.clock
    }

    fn set_clock(&mut self, offset: i64) -> ControlFlow<()> {
        self.clock = offset;
        self.recording.write(&mut self.failure, |recording| {
            recording.writer.clock(offset)
        })
    }

    /// Whether records are recorded.
    pub fn records(&self) -> bool {
        self.recording.is_open()
    }

    /// Records a record, and before it the name of its port if the recording does not have that yet: the datapath, the
    /// number and the name.
    pub fn record(&mut self, record: &[u8], port: Option<(&[u8], u32, &str)>) -> ControlFlow<()> {
        self.recording.write(&mut self.failure, |recording| {
            if let Some((datapath, port, name)) = port
                && recording.ports.lookup(datapath, port) != Some(name)
            {
                recording.ports.insert(datapath, port, name);
                recording.writer.port(datapath, port, name)?;
            }
            recording.writer.record(record)
        })
    }

    /// Records the name of a datapath and of all its ports, if the recording does not have them yet.
    pub fn record_datapath(&mut self, daemon: usize, ifindex: u32) -> ControlFlow<()> {
        let Some(daemon) = self.daemons.get_mut(daemon) else {
            return ControlFlow::Continue(());
        };
        self.recording.write(&mut self.failure, |recording| {
            if recording.datapaths.contains(&ifindex) {
                return Ok(());
            }
            let Some(name) = daemon.ports.datapath(ifindex).map(<[u8]>::to_vec) else {
                return Ok(());
            };
            recording.datapaths.push(ifindex);
            recording.writer.datapath(ifindex, &name)?;
            for (datapath, port, port_name) in daemon.ports.snapshot() {
                if datapath == name {
                    recording.writer.port(datapath, port, port_name)?;
                }
            }
            Ok(())
        })
    }

    /// How long the run was until now: that of a recording is from its first event to its last.
    pub fn elapsed(&self) -> Duration {
        match (self.is_live, self.times) {
            (true, _) => Duration::from_nanos(self.ended().saturating_sub(self.started)),
            (false, times) => {
                let (first, last) = times.unwrap_or_default();
                Duration::from_nanos(last.saturating_sub(first))
            }
        }
    }

    /// When the last live trace ended, or now if it has not: nanoseconds of `CLOCK_MONOTONIC`. To show what waits then may
    /// take longer.
    pub fn ended(&self) -> u64 {
        self.ended.unwrap_or_else(clock::monotonic)
    }

    /// Notes the time of an event.
    pub fn seen(&mut self, time: u64) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }

    /// Counts an event that was shown; breaks with the last one that was asked for.
    pub fn count(&mut self) -> ControlFlow<()> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(1);
            if *remaining == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// The tool that traces, or that made the recording.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// All that was lost.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Sets what was lost until now, as a file says.
    pub fn set_lost(
        &mut self,
        counts: &[u64],
        take: &mut impl FnMut(&mut Self, Step<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.lost.set(counts);
        self.report_lost(take)
    }

    /// Reports what was lost since that was last reported, if anything was.
    fn report_lost(
        &mut self,
        take: &mut impl FnMut(&mut Self, Step<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let new = self.lost.since(&self.reported);
        if new.total() == 0 {
            return ControlFlow::Continue(());
        }
        self.reported.clone_from(&self.lost);
        self.reported_at = Some(Instant::now());
        // The outputs come first, so that whoever sees both sees them in the order of events.
        take(self, Step::Lost(&new))?;
        for line in new.lines(&self.tool) {
            note(format_args!("warning: {line}"));
        }
        let counts = self.lost.counts();
        self.recording
            .write(&mut self.failure, |recording| recording.writer.lost(counts))
    }

    /// Says on the terminal how the trace goes, if it is time to: how many events there were, and what they are.
    pub fn show_status(&mut self, events: u64, what: &str) {
        let Some(status) = &mut self.status else {
            return;
        };
        if let Some(since) = status.is_due() {
            let new = events.saturating_sub(self.status_events);
            let rate = new as f64 / since.as_secs_f64();
            self.status_events = events;
            status.show(&format!(
                "{}, {rate:.0} a second, {} lost by {}",
                number(events, what),
                self.lost.total(),
                self.tool
            ));
        }
    }

    /// Completes the recording.
    ///
    /// # Errors
    /// Why the run ended early, if an output failed.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.recording.complete(&mut self.failure, |recording| {
            recording.writer.finish().map(drop)
        });
        self.failure.result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1000 * SECOND;

    /// An interval of a second that began so long ago.
    fn begun(ago: u64) -> Interval {
        Interval::new(Duration::from_secs(1), NOW - ago)
    }

    /// Check that an interval which is not over stays as it is, and that one which has just ended is followed by one
    /// that ends a second later.
    #[test]
    fn in_time() {
        let mut interval = begun(SECOND / 2);
        assert_eq!(interval.over(NOW), None);
        assert_eq!(
            (interval.since, interval.due),
            (NOW - SECOND / 2, Some(NOW + SECOND / 2))
        );

        let mut interval = begun(SECOND + 7);
        assert_eq!(interval.over(NOW), Some(Duration::from_nanos(SECOND + 7)));
        // In the rhythm of the first one, however late this was.
        assert_eq!(
            (interval.since, interval.due),
            (NOW, Some(NOW + SECOND - 7))
        );
        assert_eq!(interval.over(NOW), None);
    }

    /// Check that a time in which nothing was looked at belongs to the interval in which it began, that this gives one
    /// interval and not several, and that the next one begins where it ended.
    #[test]
    fn held_up() {
        let mut interval = begun(SECOND * 53 / 10);
        assert_eq!(interval.over(NOW), Some(Duration::from_millis(5300)));
        assert_eq!(
            (interval.since, interval.due),
            (NOW, Some(NOW + SECOND * 7 / 10))
        );
        assert_eq!(interval.over(NOW), None);
    }

    /// Check that no length overflows the clock: the shortest one is over at once, and one beyond the end of the clock
    /// never is.
    #[test]
    fn extreme_lengths() {
        let mut interval = Interval::new(Duration::from_nanos(1), NOW);
        assert_eq!(interval.over(NOW), None);
        assert_eq!(interval.over(NOW + 1), Some(Duration::from_nanos(1)));
        let mut interval = Interval::new(Duration::ZERO, NOW);
        assert_eq!(interval.over(NOW), Some(Duration::ZERO));
        for length in [
            Duration::from_secs(1 << 62),
            Duration::from_secs_f64(1e19),
            Duration::MAX,
        ] {
            assert_eq!(
                Interval::new(length, NOW).over(u64::MAX),
                None,
                "{length:?}"
            );
            // Over, although the next one is beyond the end of the clock.
            let mut interval = begun(SECOND);
            interval.length = length;
            assert!(interval.over(NOW).is_some(), "{length:?}");
            assert_eq!(interval.over(NOW), None, "{length:?}");
        }
    }
}
