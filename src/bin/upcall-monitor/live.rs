//! Tracing a running ovs-vswitchd, or several.

use std::collections::{BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject};
use ovs_tracers::bpf;
use ovs_tracers::bpf::upcall_monitor::{UpcallMonitorSkel, UpcallMonitorSkelBuilder, types};
use ovs_tracers::cli::note;
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::clock::WallClock;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::Start;
use ovs_tracers::show::escape::escape;
use ovs_tracers::trace::target::{self, Candidate, Object, Target};
use ovs_tracers::trace::tracer::{self, Delivery, End, NoTypes, RingState, Until};
use ovs_tracers::trace::usdt::{self, Site};
use ovs_tracers::upcall::flows::Flow;
use ovs_tracers::upcall::packet_filter::{Filter, InKernel, NotInKernel};
use ovs_tracers::upcall::summary::Lost;
use rustix::thread::CapabilitySet;
use zerocopy::FromBytes;

use crate::args::{Args, DEFAULT_RING, Filters, MAX_COMM, ResultFilter};
use crate::monitor::Monitor;

const PROVIDER: &str = "dpif_recv";
const PROBE: &str = "recv_upcall";
/// MAX_SPECS, RECV_UPCALL_ARGS, MAX_TARGETS, MAX_PORTS and MAX_LOST_FLOWS of bpf/upcall_monitor.h.
const MAX_SPECS: usize = 8;
const ARGS: usize = 6;
const MAX_TARGETS: usize = 8;
const MAX_PORTS: usize = 64;
const MAX_LOST_FLOWS: u32 = 16384;
const _: fn(&types::rodata) -> &[[types::usdt_arg; ARGS]; MAX_SPECS] = |rodata| &rodata.targ_args;
const _: fn(&types::rodata) -> &[u32; MAX_TARGETS] = |rodata| &rodata.targ_netns;
const _: fn(&types::bss) -> &[u64; MAX_PORTS] = |bss| &bss.filter_port;
/// COOKIE_TARGET_SHIFT of bpf/upcall_monitor.h.
const COOKIE_TARGET_SHIFT: u32 = 8;
/// Arguments that are pointers: the datapath's name, the packet, the flow key.
const POINTERS: [usize; 3] = [0, 2, 4];

/// At most one message a second tells of lost upcalls.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the kernel is asked for the names of all ports although it told of no change: devices may be renamed.
const NAMES_INTERVAL: Duration = Duration::from_secs(10);

/// How often --follow looks for the next daemon. What it receives in its first tenth of a second is missed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How long something may stand in its way before that is said.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(1);

/// Sites of one object, each with the number of its argument string.
type Sites = (Object, Vec<(Site, u64)>);

/// What tells of the upcalls that fail in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelSide {
    /// A program at the end of ovs_dp_upcall(), with its arguments and its result.
    Fexit,
    /// The tracepoint at its beginning and a probe at its end, where there is no fexit: on aarch64 before Linux 6.4,
    /// or without type information of the module.
    Tracepoint,
    Absent,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    tracer::with_libbpf_log(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    // Those that run beside the traced one are not the next one when it exits.
    let mut others = match args.follow {
        true => target::ovs_vswitchds()?,
        false => Vec::new(),
    };
    let mut targets = if args.pid.is_empty() {
        match Target::find(None) {
            Err(target::Error::NotFound) if args.follow => Vec::new(),
            target => vec![target?],
        }
    } else {
        let mut pids = args.pid.clone();
        pids.sort_unstable();
        pids.dedup();
        ensure!(
            pids.len() <= MAX_TARGETS,
            "{} processes are too many: at most {MAX_TARGETS} can be traced at once",
            pids.len()
        );
        let targets = pids.iter().map(|pid| Target::find(Some(*pid)));
        targets.collect::<Result<_, _>>()?
    };
    tracer::check_privilege()?;
    let until = Until::new(args.trace.duration)?;
    others.retain(|other| targets.iter().all(|target| target.pid() != other.pid));
    let mut monitor = None;
    let mut left = 0;
    loop {
        if !targets.is_empty() {
            let result = trace_daemons(args, &targets, &until, &mut monitor);
            let has_exited = targets.iter().all(Target::has_exited);
            match result {
                Ok((End::TargetExited, _)) if args.follow => {}
                Ok((_, count)) => {
                    left = count;
                    break;
                }
                // It did while we were about to attach.
                Err(_) if args.follow && has_exited => {}
                Err(error) => {
                    if let Some(monitor) = monitor {
                        monitor.finish(0)?;
                    }
                    return Err(error);
                }
            }
        }
        note("waiting for the next ovs-vswitchd");
        match next_daemon(args, &others, &until)? {
            Some(target) => targets = vec![target],
            None => break,
        }
    }
    monitor.map_or(Ok(()), |monitor| monitor.finish(left))
}

/// Waits for an ovs-vswitchd to run that is none of `others`; none if something ends the trace before that.
fn next_daemon(args: &Args, others: &[Candidate], until: &Until) -> anyhow::Result<Option<Target>> {
    let next = || -> Result<Target, target::Error> {
        let mut daemons = target::ovs_vswitchds()?;
        daemons.retain(|daemon| others.iter().all(|other| other.pid != daemon.pid));
        let target = Target::from_pid(target::only(daemons)?)?;
        if args.filters.result() != ResultFilter::Error {
            target.find_probe(PROVIDER, PROBE)?;
        }
        Ok(target)
    };
    let mut obstacle = String::new();
    let mut since = Instant::now();
    let mut told = false;
    loop {
        match next() {
            Ok(target) => return Ok(Some(target)),
            Err(target::Error::NotFound) => obstacle.clear(),
            // One that is about to exit, or to start its child, is none for long.
            Err(error) if error.to_string() == obstacle => {
                if !told && since.elapsed() >= FOLLOW_PATIENCE {
                    told = true;
                    note(format_args!("warning: still waiting: {obstacle}"));
                }
            }
            Err(error) => {
                obstacle = error.to_string();
                since = Instant::now();
                told = false;
            }
        }
        if until.sleep(FOLLOW_INTERVAL)?.is_some() {
            return Ok(None);
        }
    }
}

/// Traces until the last of the daemons exits, or something else ends it.
fn trace_daemons(
    args: &Args,
    targets: &[Target],
    until: &Until,
    monitor: &mut Option<Monitor>,
) -> anyhow::Result<(End, u64)> {
    let outcome = args.filters.result();
    let probes = if outcome == ResultFilter::Error {
        Probes::default()
    } else {
        Probes::find(targets)?
    };
    if (probes.specs.len() > 1 || targets.len() > 1) && !tracer::has_cookie() {
        bail!(tracer::Error::NoCookie(tracer::kernel_release()));
    }
    let names = targets.iter().map(|target| {
        PortNames::open(target.pid()).unwrap_or_else(|error| {
            note(format_args!("warning: {error}"));
            // No names are better than no upcalls.
            PortNames::default()
        })
    });
    let names: Vec<PortNames> = names.collect();
    let ports = PortFilter::new(&args.filters.port)?;
    // The next daemon may make its ports only after we have found it.
    if monitor.is_none() {
        check_names(&args.filters, &names)?;
    }

    let ring_bytes = args
        .trace
        .buffer_page_count
        .map_or(DEFAULT_RING, tracer::ring_size);
    let in_kernel = match &args.filter {
        Some(filter) => filter_in_kernel(filter, args.trace.verbose)
            .inspect_err(|why| {
                note(format_args!(
                    "the packet filter is applied in user space: {why}"
                ));
            })
            .ok(),
        None => None,
    };
    let filter = args.filter.clone().filter(|_| in_kernel.is_none());
    let filtered = in_kernel.is_some();
    let packet_size = args.packet_snaplen(filter.as_ref());
    let mut storage = [const { MaybeUninit::uninit() }; KernelSide::ALL.len()];
    let (mut skel, side, mut links) = {
        let config = Config {
            args,
            targets,
            probes: &probes,
            ports: ports.numbers(&names),
            packet_filter: in_kernel,
            packet_size,
            ring_bytes,
        };
        config.load(&mut storage)?
    };
    let multi = tracer::has_uprobe_multi();
    let progs = &skel.progs;
    let program = match (multi, filtered) {
        (true, false) => &progs.recv_upcall_multi,
        (false, false) => &progs.recv_upcall,
        (true, true) => &progs.recv_filtered_multi,
        (false, true) => &progs.recv_filtered,
    };
    let mut count = 0;
    for (index, (target, sites)) in targets.iter().zip(&probes.sites).enumerate() {
        for (object, sites) in sites {
            let cookie = |spec: u64| spec | (index as u64) << COOKIE_TARGET_SHIFT;
            let sites: Vec<_> = sites
                .iter()
                .map(|(site, spec)| (site.clone(), cookie(*spec)))
                .collect();
            links.extend(tracer::attach(
                program,
                multi,
                target.pid(),
                object,
                &sites,
            )?);
            count += sites.len();
        }
    }

    let mut clock = WallClock::now();
    let pids: Vec<String> = targets
        .iter()
        .map(|target| target.pid().to_string())
        .collect();
    let monitor = match monitor {
        Some(monitor) => monitor,
        None => {
            let mut start = Start::new(env!("CARGO_BIN_NAME"));
            start.set("kernel", tracer::kernel_release());
            start.set("pid", pids.join(" "));
            start.set("packet_size", packet_size);
            start.set("flow_key_size", args.key_snaplen());
            monitor.insert(Monitor::new(args, &start, Files::default())?)
        }
    };
    monitor.set_daemons(targets.iter().map(Target::pid).collect(), names);
    monitor.set_filter(filter);
    let _ = monitor.clock(clock.offset());
    let what = match (count, side) {
        (0, _) => "the upcalls that fail in the kernel".to_string(),
        (1, _) => format!(
            "{PROVIDER}:{PROBE} of process {} (1 site)",
            pids.join(" and ")
        ),
        _ => format!(
            "{PROVIDER}:{PROBE} of process {} ({count} sites)",
            pids.join(" and ")
        ),
    };
    let also = match side {
        KernelSide::Absent => "",
        _ if count == 0 => "",
        _ => " and to the upcalls that fail in the kernel",
    };
    let Some(bss) = skel.maps.bss_data.as_deref_mut() else {
        bail!("the BPF program has no variables to share");
    };
    let filtered = tracer::shared(&mut bss.filtered);
    let unknown = tracer::shared(std::slice::from_mut(&mut bss.filter_unknown));
    let filter_ports = (
        tracer::shared(std::slice::from_mut(&mut bss.filter_ports)),
        tracer::shared(&mut bss.filter_port),
    );
    let state = RingState::new(&mut bss.ring_sleeping, &mut bss.lost);
    let mut told = None::<Instant>;
    let mut named = Instant::now();
    let before = monitor.reported();
    let kept_back_before = monitor.kept_back();
    let mut lost_now = before;
    let mut lost_flows = LostFlows::new(args, &skel.maps.lost_flows);
    let targets: Vec<&Target> = targets.iter().collect();
    let (end, left) = tracer::drain(
        &skel.maps.ring,
        &state,
        until,
        &targets,
        links,
        &mut |delivery| match delivery {
            Delivery::Ready => {
                drop_privilege(args);
                note(format_args!("attached to {what}{also}; Ctrl-C ends it"));
                ControlFlow::Continue(())
            }
            Delivery::Wake => {
                if monitor.ports_have_changed() || named.elapsed() >= NAMES_INTERVAL {
                    named = Instant::now();
                    monitor.refresh_ports();
                    ports.install(monitor.ports(), filter_ports);
                }
                ControlFlow::Continue(())
            }
            Delivery::Record(record) => monitor.record(record),
            Delivery::Pause { lost } => {
                lost_now = before.plus(&Lost::new(lost));
                let sum = |counts: &[AtomicU64]| -> u64 {
                    counts.iter().map(|count| count.load(Relaxed)).sum()
                };
                let (kept_back, doubtful) = kept_back_before;
                monitor.set_kept_back((kept_back + sum(filtered), doubtful + sum(unknown)));
                if lost_now != monitor.reported()
                    && told.is_none_or(|told| told.elapsed() >= LOSS_INTERVAL)
                {
                    told = Some(Instant::now());
                    monitor.lost(lost_now)?;
                }
                if clock.follow() {
                    monitor.clock(clock.offset())?;
                }
                if monitor.interval_is_over() {
                    lost_flows.tell(monitor);
                    monitor.interval()?;
                }
                monitor.flush()
            }
        },
    )?;
    let _ = monitor.lost(lost_now);
    lost_flows.finish(monitor, lost_now.since(&before));
    if end == End::TargetExited {
        note(format_args!("process {} has exited", pids.join(" and ")));
    }
    Ok((end, left))
}

fn drop_privilege(args: &Args) {
    // The next daemon takes them all again.
    if args.follow {
        return;
    }
    let mut keep = CapabilitySet::empty();
    if !args.rotate.is_empty() {
        // Files are still to be made, wherever the first one could be.
        keep |= CapabilitySet::DAC_OVERRIDE;
    }
    if args.summary_lines().is_some() {
        // Before Linux 5.19, looking into a map of one's own took it.
        keep |= CapabilitySet::BPF;
    }
    tracer::drop_privilege(keep);
}

/// What the programs are loaded with.
struct Config<'a> {
    args: &'a Args,
    targets: &'a [Target],
    probes: &'a Probes,
    ports: Vec<u64>,
    /// The packet filter, if it is applied in the kernel.
    packet_filter: Option<InKernel>,
    packet_size: u32,
    ring_bytes: usize,
}

impl Config<'_> {
    /// Loads the programs, and attaches what tells of failed upcalls by the first way that this kernel has.
    fn load<'obj>(
        &self,
        storage: &'obj mut [MaybeUninit<OpenObject>],
    ) -> anyhow::Result<(UpcallMonitorSkel<'obj>, KernelSide, Vec<Link>)> {
        let outcome = self.args.filters.result();
        // What the best way lacks comes first.
        let mut lacks: Vec<String> = Vec::new();
        for (side, storage) in KernelSide::ALL.into_iter().zip(storage) {
            let why = lacks.join("; ");
            match side {
                KernelSide::Absent if outcome == ResultFilter::Error => bail!(
                    "upcalls that fail in the kernel cannot be seen: {why}\nusdt-probes --check tells more"
                ),
                KernelSide::Absent if outcome == ResultFilter::Any => note(format_args!(
                    "warning: upcalls that fail in the kernel cannot be seen: {why}"
                )),
                KernelSide::Absent => {}
                _ if outcome == ResultFilter::Ok => continue,
                _ if self.args.kernel_side.is_some_and(|wanted| wanted != side) => continue,
                _ => {
                    if let Err(why) = tracer::check_datapath(side == KernelSide::Fexit) {
                        lacks.push(why);
                        lacks.dedup();
                        continue;
                    }
                }
            }
            match self.load_side(side, storage) {
                Ok((skel, links)) => return Ok((skel, side, links)),
                Err(error) if side == KernelSide::Absent => return Err(error),
                Err(error) => {
                    let error = error.to_string();
                    lacks.push(error.lines().next().unwrap_or_default().to_string());
                    // It explains nothing that may fail later.
                    let log = tracer::take_libbpf_log();
                    if self.args.trace.verbose {
                        eprint!("{log}");
                    }
                }
            }
        }
        bail!("no way to trace is left")
    }

    fn load_side<'obj>(
        &self,
        side: KernelSide,
        storage: &'obj mut MaybeUninit<OpenObject>,
    ) -> anyhow::Result<(UpcallMonitorSkel<'obj>, Vec<Link>)> {
        let explain = |error| tracer::explain_load(error, self.ring_bytes);
        let multi = tracer::has_uprobe_multi();
        let received = !self.probes.specs.is_empty();
        let mut builder = UpcallMonitorSkelBuilder::default();
        let _types = NoTypes::stand_in(builder.object_builder_mut())?;
        let mut open = builder.open(storage).map_err(explain)?;
        let progs = &mut open.progs;
        progs.run_packet_filter.set_autoload(false);
        let filtered = self.packet_filter.is_some();
        for (program, of_multi, of_filter) in [
            (&mut progs.recv_upcall_multi, true, false),
            (&mut progs.recv_upcall, false, false),
            (&mut progs.recv_filtered_multi, true, true),
            (&mut progs.recv_filtered, false, true),
        ] {
            program.set_autoload(received && (of_multi, of_filter) == (multi, filtered));
        }
        let fexit = side == KernelSide::Fexit;
        progs.upcall_failed.set_autoload(fexit && !filtered);
        progs.failed_filtered.set_autoload(fexit && filtered);
        let tracepoint = side == KernelSide::Tracepoint;
        progs.upcall_begins.set_autoload(tracepoint);
        progs.upcall_returns.set_autoload(tracepoint && !filtered);
        progs.returns_filtered.set_autoload(tracepoint && filtered);
        open.maps
            .ring
            .set_max_entries(tracer::max_entries(self.ring_bytes)?)?;
        if self.args.summary_lines().is_some() {
            open.maps.lost_flows.set_max_entries(MAX_LOST_FLOWS)?;
        }
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            self.fill(rodata, side)?;
        }
        if let Some(bss) = open.maps.bss_data.as_deref_mut() {
            bss.filter_port[..self.ports.len()].copy_from_slice(&self.ports);
            bss.filter_ports = self.ports.len() as u64;
        }
        let skel = open.load().map_err(explain)?;
        let failed = |error| tracer::Error::Attach {
            path: "ovs_dp_upcall() of the kernel".to_string(),
            error,
        };
        let mut links = Vec::new();
        let progs = &skel.progs;
        match side {
            KernelSide::Fexit => {
                let end = match filtered {
                    false => &progs.upcall_failed,
                    true => &progs.failed_filtered,
                };
                links.push(end.attach().map_err(failed)?);
            }
            KernelSide::Tracepoint => {
                // The end first: without it a beginning is nothing.
                let end = match filtered {
                    false => &progs.upcall_returns,
                    true => &progs.returns_filtered,
                };
                links.push(end.attach().map_err(failed)?);
                links.push(progs.upcall_begins.attach().map_err(failed)?);
            }
            KernelSide::Absent => {}
        }
        Ok((skel, links))
    }

    fn fill(&self, rodata: &mut types::rodata, side: KernelSide) -> anyhow::Result<()> {
        let (args, specs) = (self.args, &self.probes.specs);
        rodata.targ_specs = u32::try_from(specs.len())?;
        rodata.targ_args[..specs.len()].copy_from_slice(specs);
        rodata.targ_packet_size = self.packet_size;
        rodata.targ_key_size = args.key_snaplen();
        rodata.targ_wake_at = self.ring_bytes as u64 / 4;
        rodata.targ_count_lost = args.summary_lines().is_some().into();
        rodata.targ_targets = u32::try_from(self.targets.len())?;
        if side != KernelSide::Absent {
            for (netns, target) in rodata.targ_netns.iter_mut().zip(self.targets) {
                *netns = target.network_namespace()?;
            }
        }
        set_filters(&args.filters, rodata);
        if let Some(filter) = &self.packet_filter {
            rodata.set_packet_filter(filter);
        }
        Ok(())
    }
}

impl KernelSide {
    const ALL: [Self; 3] = [Self::Fexit, Self::Tracepoint, Self::Absent];
}

/// The packet filter as the kernel runs it, if it can.
fn filter_in_kernel(filter: &Filter, verbose: bool) -> Result<InKernel, NotInKernel> {
    let filter = filter.in_kernel()?;
    let loaded = bpf::load_packet_filter(&filter, &mut MaybeUninit::uninit()).map(drop);
    let log = tracer::take_libbpf_log();
    if loaded.is_err() {
        if verbose {
            eprint!("{log}");
        }
        return Err(NotInKernel::Refused);
    }
    Ok(filter)
}

/// Tells the programs which upcalls are wanted.
fn set_filters(chosen: &Filters, rodata: &mut types::rodata) {
    if let Some(kind) = chosen.kind {
        rodata.targ_by_type = 1;
        rodata.targ_type = kind.number();
    }
    rodata.targ_min_size = chosen.min_size;
    if let Some(thread) = &chosen.thread {
        match thread.parse() {
            Ok(tid) => rodata.targ_tid = tid,
            Err(_) => {
                rodata.targ_by_comm = 1;
                copy_name(&mut rodata.targ_comm[..MAX_COMM], thread);
            }
        }
    }
    if let Some(name) = chosen.datapath() {
        rodata.targ_by_datapath = 1;
        copy_name(&mut rodata.targ_datapath[..31], &name);
    }
    rodata.targ_by_port = (!chosen.port.is_empty()).into();
    rodata.targ_filters =
        (chosen.min_size > 0 || chosen.dp.is_some() || !chosen.port.is_empty()).into();
}

fn copy_name(to: &mut [i8], name: &str) {
    for (to, from) in to.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
}

/// Fails if a port or the datapath that is asked for has a name that none has now.
fn check_names(chosen: &Filters, names: &[PortNames]) -> anyhow::Result<()> {
    let known = || names.iter().flat_map(PortNames::snapshot);
    if let Some(port) = chosen
        .port
        .iter()
        .find(|port| numbers(port, names).is_empty())
    {
        match list(known().map(|(_, _, name)| name.as_bytes())) {
            None => bail!("no port named {port}\nthe kernel names no port here; use its number"),
            Some(ports) => bail!("no port named {port}\nknown: {ports}"),
        }
    }
    // Where the kernel names none, there is nothing to compare with.
    if let Some(wanted) = chosen.datapath()
        && let Some(datapaths) = list(known().map(|(datapath, _, _)| datapath))
        && !known().any(|(datapath, _, _)| datapath == wanted.as_bytes())
    {
        bail!("no datapath named {wanted}; a bridge is not a datapath\nknown: {datapaths}");
    }
    Ok(())
}

/// The different ones of these names, as many as can be read; none if there are none.
fn list<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    const SHOWN: usize = 20;
    let names: BTreeSet<&[u8]> = names.collect();
    let mut text = String::new();
    for (i, name) in names.iter().take(SHOWN).enumerate() {
        text.push_str(if i == 0 { "" } else { ", " });
        // Writing to a String cannot fail.
        let _ = escape(&mut text, name);
    }
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} others", names.len() - SHOWN));
    }
    (!text.is_empty()).then_some(text)
}

/// The ports of --port.
struct PortFilter<'a> {
    wanted: &'a [String],
}

impl<'a> PortFilter<'a> {
    fn new(wanted: &'a [String]) -> anyhow::Result<Self> {
        ensure!(
            wanted.len() <= MAX_PORTS / MAX_TARGETS,
            "{} ports are too many: at most {} can be asked for",
            wanted.len(),
            MAX_PORTS / MAX_TARGETS
        );
        Ok(Self { wanted })
    }

    /// What the program looks for.
    fn numbers(&self, names: &[PortNames]) -> Vec<u64> {
        let all = self.wanted.iter().flat_map(|port| numbers(port, names));
        // The same name may be that of several ports, of a device that came and went.
        all.take(MAX_PORTS).collect()
    }

    /// Lets the program know which numbers the ports have now.
    fn install(&self, names: &[PortNames], (count, ports): (&[AtomicU64], &[AtomicU64])) {
        let wanted = self.numbers(names);
        for (to, number) in ports.iter().zip(&wanted) {
            to.store(*number, Relaxed);
        }
        count[0].store(wanted.len() as u64, Relaxed);
    }
}

/// What the program looks for where `port` is asked for: the index of the daemon, above, and the number of the port.
fn numbers(port: &str, names: &[PortNames]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (target, names) in names.iter().enumerate() {
        let target = (target as u64) << 32;
        match port.parse::<u32>() {
            Ok(number) => numbers.push(target | u64::from(number)),
            Err(_) => {
                let named = names.snapshot().filter(|(_, _, name)| *name == port);
                numbers.extend(named.map(|(_, number, _)| target | u64::from(number)));
            }
        }
    }
    numbers
}

/// The upcalls that were lost, by flow, as the program counts them.
struct LostFlows<'a, M: MapCore> {
    map: Option<&'a M>,
    /// What was told of each.
    told: HashMap<Flow, u64>,
    told_total: u64,
}

impl<'a, M: MapCore> LostFlows<'a, M> {
    fn new(args: &Args, map: &'a M) -> Self {
        Self {
            map: args.summary_lines().is_some().then_some(map),
            told: HashMap::new(),
            told_total: 0,
        }
    }

    /// Tells `monitor` of what was lost since it was last told.
    fn tell(&mut self, monitor: &mut Monitor) {
        let Some(map) = self.map else { return };
        let entries = map.lookup_batch(MAX_LOST_FLOWS, MapFlags::ANY, MapFlags::ANY);
        for (key, value) in entries.into_iter().flatten() {
            let (Ok(flow), Ok(count)) = (Flow::read_from_bytes(&key), value.try_into()) else {
                continue;
            };
            let told = self.told.entry(flow).or_default();
            let new = u64::from_ne_bytes(count).saturating_sub(*told);
            *told += new;
            self.told_total += new;
            monitor.lost_flow(&flow, new);
        }
    }

    /// The same, at the end; `lost` is all that was lost. What the program could not count by flow is of an unknown one.
    fn finish(mut self, monitor: &mut Monitor, lost: Lost) {
        self.tell(monitor);
        monitor.lost_of_unknown_flow(lost.total().saturating_sub(self.told_total));
    }
}

/// Where the probe is in each daemon, and its arguments.
#[derive(Default)]
struct Probes {
    /// The different argument strings.
    specs: Vec<[types::usdt_arg; ARGS]>,
    /// The sites in each daemon's objects.
    sites: Vec<Vec<Sites>>,
}

impl Probes {
    fn find(targets: &[Target]) -> anyhow::Result<Self> {
        let mut probes = Self::default();
        let mut strings: Vec<(String, usdt::Machine)> = Vec::new();
        for target in targets {
            let mut objects = Vec::new();
            for (object, probe) in target.find_probe(PROVIDER, PROBE)? {
                let mut sites = Vec::new();
                for site in probe.sites {
                    let string = (site.args.clone(), probe.machine);
                    let spec = match strings.iter().position(|known| *known == string) {
                        Some(spec) => spec,
                        None => {
                            probes.specs.push(parse_spec(&site.args, probe.machine)?);
                            strings.push(string);
                            strings.len() - 1
                        }
                    };
                    sites.push((site, spec as u64));
                }
                objects.push((object, sites));
            }
            probes.sites.push(objects);
        }
        ensure!(
            probes.specs.len() <= MAX_SPECS,
            "the sites of {PROVIDER}:{PROBE} have {} different argument strings, and {MAX_SPECS} can be told apart\n\
             please report it with the output of readelf -n",
            probes.specs.len()
        );
        Ok(probes)
    }
}

fn parse_spec(args: &str, machine: usdt::Machine) -> anyhow::Result<[types::usdt_arg; ARGS]> {
    let parsed = usdt::parse_args(args, machine)?;
    let pointers = POINTERS
        .iter()
        .all(|&i| parsed.get(i).is_some_and(|arg| arg.size == 8));
    match <[usdt::Arg; ARGS]>::try_from(parsed) {
        Ok(parsed) if pointers => {
            let specs = parsed.map(|arg| types::usdt_arg::from(&arg));
            Ok(types::usdt_arg::in_windows(specs))
        }
        _ => bail!(
            "{PROVIDER}:{PROBE} has other arguments than Open vSwitch 2.17 and later give it: {args:?}\n\
             is this process ovs-vswitchd?"
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Check that a name that no port or datapath has is an error that lists those there are, safe for a terminal; that
    /// numbers need no name; and that nothing is held against a datapath where the kernel names none.
    #[test]
    fn names_are_checked() {
        let mut names = PortNames::default();
        names.insert(b"system@ovs-system", 1, "veth0");
        names.insert(b"system@ovs-system", 2, "a\x1b[31m");
        names.insert(b"system@dp1", 1, "veth0");
        let names = [PortNames::default(), names];
        let check = |names: &[PortNames], args: &[&str]| {
            let args = Args::parse_from([&["upcall-monitor"], args].concat());
            check_names(&args.filters, names).map_err(|error| error.to_string())
        };
        for good in [
            &["--port", "veth0"][..],
            &["--port", "77", "--dp", "dp1"],
            &["--dp", "system@ovs-system"],
        ] {
            assert_eq!(check(&names, good), Ok(()));
        }
        for (bad, expected) in [
            (
                ["--port", "veth1"],
                "no port named veth1\nknown: a\\u{1b}[31m, veth0",
            ),
            (
                ["--dp", "br0"],
                "no datapath named system@br0; a bridge is not a datapath\nknown: system@dp1, system@ovs-system",
            ),
        ] {
            assert_eq!(check(&names, &bad), Err(expected.to_string()));
        }
        assert_eq!(check(&names[..1], &["--dp", "br0"]), Ok(()));
        let error = check(&names[..1], &["--port", "p"]).unwrap_err();
        assert!(error.ends_with("use its number"), "{error}");

        let many: Vec<String> = (0..30).map(|i| format!("p{i}")).collect();
        let text = list(many.iter().map(String::as_bytes)).unwrap();
        assert!(text.ends_with("p26 and 10 others"), "{text}");
    }
}
