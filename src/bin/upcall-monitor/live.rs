//! Tracing a running ovs-vswitchd, or several.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::ensure;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapHandle, OpenObject};
use ovs_tracers::bpf::upcall_monitor::types::{process_limit, upcall_monitor_limit};
use ovs_tracers::bpf::upcall_monitor::{UpcallMonitorSkel, UpcallMonitorSkelBuilder};
use ovs_tracers::run::output::Files;
use ovs_tracers::run::session::{self, Daemon, Session, Step};
use ovs_tracers::show::message::note;
use ovs_tracers::trace::attach::explain_load;
use ovs_tracers::trace::kernel::EmptyBtf;
use ovs_tracers::trace::netlink::UpcallMessages;
use ovs_tracers::trace::plan::{Attached, Plan, storage};
use ovs_tracers::trace::probes::{Group, Source};
use ovs_tracers::trace::ring::{self, Live, RingState, shared};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::{End, Until};
use ovs_tracers::trace::{self, libbpf_log, privilege, process};
use ovs_tracers::upcall::flows::Flow;
use ovs_tracers::upcall::packet_filter::InKernel;
use ovs_tracers::upcall::probes::{self, RECV_UPCALL};
use ovs_tracers::upcall::record::RECORDS;
use rustix::thread::CapabilitySet;

use crate::args::{Args, DEFAULT_RING, ResultFilter};
use crate::filters::{DatapathNames, PortFilter, check_names, filter_in_kernel, set_filters};
use crate::follow::next_daemon;
use crate::monitor::{Filtered, Monitor};
use crate::top::FlowCounts;

pub const MAX_TARGETS: usize = process_limit::MAX_TARGETS.0 as usize;
pub const MAX_PORTS: usize = upcall_monitor_limit::MAX_PORTS.0 as usize;
pub const MAX_FLOWS: u32 = upcall_monitor_limit::MAX_FLOWS.0;
/// Places of flows on each CPU, a power of two: a hundred kilobytes.
const FLOW_PLACES: u32 = 1024;

pub fn run(args: &Args) -> anyhow::Result<()> {
    libbpf_log::with(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    // When the traced daemon exits, those that ran beside it are not taken for the next one.
    let mut others = match args.follow {
        true => process::ovs_vswitchds()?,
        false => Vec::new(),
    };
    let mut targets = find_targets(args)?;
    privilege::check_privilege()?;
    let until = Until::new(args.trace.duration)?;
    others.retain(|other| targets.iter().all(|target| target.pid() != other.pid));
    let mut run = None;
    loop {
        if !targets.is_empty() {
            let result = trace_daemons(args, &targets, &until, &mut run);
            let has_exited = targets.iter().all(Target::has_exited);
            match result {
                Ok(End::TargetExited) if args.follow => {}
                Ok(_) => break,
                // The daemon exited while its probes were being attached.
                Err(_) if args.follow && has_exited => {}
                Err(error) => {
                    if let Some((session, monitor)) = run {
                        monitor.finish(session)?;
                    }
                    return Err(Target::gone(&targets).map_or(error, Into::into));
                }
            }
        }
        match next_daemon(args, &others, &until)? {
            Some(target) => targets = vec![target],
            None => break,
        }
    }
    run.map_or(Ok(()), |(session, monitor)| monitor.finish(session))
}

/// The processes to begin with; an empty list if --follow has to wait for the first one.
fn find_targets(args: &Args) -> anyhow::Result<Vec<Target>> {
    if args.pid.is_empty() {
        return Ok(match Target::find(None) {
            Err(trace::Error::NotFound) if args.follow => Vec::new(),
            target => vec![target?],
        });
    }
    let mut pids = args.pid.clone();
    pids.sort_unstable();
    pids.dedup();
    ensure!(
        pids.len() <= MAX_TARGETS,
        "{} processes are too many: at most {MAX_TARGETS} can be traced at once",
        pids.len()
    );
    let targets = pids.iter().map(|pid| Target::find(Some(*pid)));
    Ok(targets.collect::<Result<_, _>>()?)
}

/// Traces until the last of the daemons exits, or something else ends it.
fn trace_daemons(
    args: &Args,
    targets: &[Target],
    until: &Until,
    run: &mut Option<(Session, Monitor)>,
) -> anyhow::Result<End> {
    let in_kernel = args.filter.as_ref().and_then(|filter| {
        let filter = filter_in_kernel(filter, args.trace.verbose);
        let filter = filter.inspect_err(|why| {
            note(format_args!(
                "the packet filter is applied in user space: {why}"
            ));
        });
        filter.ok()
    });
    let packet_filter = args.filter.clone().filter(|_| in_kernel.is_none());
    let (namespaces, without_failed) = match network_namespaces(args, targets) {
        Err(error @ trace::Error::Permission(_)) if args.filters.result() == ResultFilter::Any => {
            (Vec::new(), Some(error))
        }
        namespaces => (namespaces?, None),
    };
    let result = match without_failed {
        Some(_) => ResultFilter::Ok,
        None => args.filters.result(),
    };
    let groups = |source| groups(result, source, in_kernel.is_some());
    let asked = args.trace.source.asked();
    let mut plan = Plan::new(asked, groups, targets, args.kernel_side.as_deref())?;
    let daemon = match run {
        None => Daemon::new,
        Some(_) => Daemon::at_once,
    };
    let daemons: Vec<Daemon> = targets.iter().map(daemon).collect();
    let mut ports = PortFilter::new(&args.filters.port)?;
    // The next daemon may create its ports only after it was found.
    if run.is_none() {
        check_names(&args.filters, &daemons)?;
    }

    let messages = match plan.source() {
        Source::Usdt => None,
        Source::Kernel => Some(upcall_messages(args).map_err(|error| plan.explain(error))?),
    };
    let config = Config {
        args,
        messages,
        targets,
        namespaces,
        ports: ports.numbers(&daemons),
        only_counts: args.only_counts() && packet_filter.is_none(),
        packet_size: args.packet_snaplen(packet_filter.as_ref()),
        packet_filter: in_kernel,
    };
    let mut storage = storage();
    let (mut skel, attached) = plan.load(&mut storage, args.trace.verbose, |plan, room| {
        config.load(plan, room)
    })?;
    if let Some(error) = without_failed {
        let why = error.fact();
        note(format_args!(
            "warning: upcalls that fail in the kernel cannot be seen: {why}"
        ));
    }

    let (session, monitor) = match run {
        Some(run) => run,
        None => {
            let mut start = session::start(&RECORDS, targets);
            start.set("source", plan.source().name());
            start.set("packet_size", config.packet_size);
            start.set("flow_key_size", args.key_snaplen());
            run.insert(Monitor::new(args, &start, Files::default())?)
        }
    };
    session.set_daemons(daemons);
    monitor.set_packet_filter(packet_filter);
    let bss = skel.maps.bss_data.as_deref_mut();
    let bss = bss.ok_or(trace::Error::NoVariables)?;
    let filtered = shared(&mut bss.filtered);
    let counted = shared(&mut bss.counted);
    let unknown = shared(std::slice::from_mut(&mut bss.filter_unknown));
    let filter_ports = (
        shared(std::slice::from_mut(&mut bss.filter_ports)),
        shared(&mut bss.filter_port),
    );
    let datapaths = DatapathNames {
        numbers: shared(&mut bss.datapath_number),
        names: shared(bss.datapath_name_of.as_flattened_mut()),
    };
    datapaths.install(session.daemons());
    let (lost_before, filtered_before) = (session.lost().total(), monitor.filtered_in_kernel);
    let counted_before = monitor.counted_in_kernel;
    let mut lost_flows = FlowCounts::new(&skel.maps.lost_flows, Flow::from_flow_id, None);
    let mut counted_flows = FlowCounts::new(
        &skel.maps.counted_flows,
        Flow::from_counted_flow,
        Some(&skel.maps.flow_places),
    );
    let live = Live {
        ring: MapHandle::try_from(&skel.maps.ring)?,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until,
        done: None,
        targets,
        attached,
        keep: privileges(args),
        queue_size: args.trace.queue_bytes(),
    };
    let end = session.live(live, |session, step| {
        match &step {
            Step::Ports => {
                ports.install(session.daemons(), filter_ports);
                datapaths.install(session.daemons());
            }
            Step::Interval(_) => {
                if let Some(top) = &mut monitor.top {
                    lost_flows.count(top);
                    counted_flows.count(top);
                }
            }
            Step::Pause => {
                let sum = |counts: &[AtomicU64]| -> u64 {
                    counts.iter().map(|count| count.load(Relaxed)).sum()
                };
                monitor.counted_in_kernel = counted_before + sum(counted);
                monitor.filtered_in_kernel = Filtered {
                    count: filtered_before.count + sum(filtered),
                    doubtful: filtered_before.doubtful + sum(unknown),
                };
            }
            Step::Record(_) | Step::Lost(_) => {}
        }
        monitor.take(session, step)
    });
    if let Some(top) = &mut monitor.top {
        lost_flows.finish(top, session.lost().total() - lost_before);
        counted_flows.finish(top, monitor.counted_in_kernel - counted_before);
    }
    Ok(end)
}

/// The messages that bring upcalls.
pub fn upcall_messages(args: &Args) -> Result<UpcallMessages, trace::Error> {
    args.netlink.map_or_else(UpcallMessages::of_kernel, Ok)
}

/// The network namespaces of the daemons, which distinguish the datapaths in which upcalls fail, if those are asked for.
fn network_namespaces(args: &Args, targets: &[Target]) -> Result<Vec<u32>, trace::Error> {
    match args.filters.result() {
        ResultFilter::Ok => Ok(Vec::new()),
        ResultFilter::Error | ResultFilter::Any => {
            targets.iter().map(Target::network_namespace).collect()
        }
    }
}

/// What is to be attached for upcalls with such a result: `filtered` says that a packet filter is applied in the kernel.
fn groups(result: ResultFilter, source: Source, filtered: bool) -> Vec<&'static Group> {
    let received = match (source, filtered) {
        (Source::Usdt, false) => &probes::RECEIVED,
        (Source::Usdt, true) => &probes::RECEIVED_FILTERED,
        (Source::Kernel, false) => &probes::RECEIVED_KERNEL,
        (Source::Kernel, true) => &probes::RECEIVED_KERNEL_FILTERED,
    };
    let (failed, failed_too) = match filtered {
        false => (&probes::FAILED, &probes::FAILED_TOO),
        true => (&probes::FAILED_FILTERED, &probes::FAILED_TOO_FILTERED),
    };
    match result {
        ResultFilter::Ok => vec![received],
        ResultFilter::Error => vec![failed],
        ResultFilter::Any => vec![failed_too, received],
    }
}

/// The privileges that are still needed when everything is attached.
fn privileges(args: &Args) -> Option<CapabilitySet> {
    // To attach to the next daemon takes all of them again.
    if args.follow {
        return None;
    }
    let mut keep = CapabilitySet::empty();
    if !args.rotate.is_empty() {
        // More files will be created, wherever the first one could be.
        keep |= CapabilitySet::DAC_OVERRIDE;
    }
    if args.summary_lines().is_some() {
        // Before Linux 5.19, reading the maps of this process took it.
        keep |= CapabilitySet::BPF;
    }
    Some(keep)
}

/// What the programs are loaded with.
struct Config<'a> {
    args: &'a Args,
    /// The messages that bring upcalls, if the kernel is the source.
    messages: Option<UpcallMessages>,
    targets: &'a [Target],
    /// Of each daemon, unless failed upcalls are not looked for.
    namespaces: Vec<u32>,
    ports: Vec<u64>,
    /// The packet filter, if it is applied in the kernel.
    packet_filter: Option<InKernel>,
    /// Upcalls need not be sent, only counted.
    only_counts: bool,
    packet_size: u32,
}

impl Config<'_> {
    fn load<'obj>(
        &self,
        plan: &Plan,
        room: &'obj mut MaybeUninit<OpenObject>,
    ) -> Result<(UpcallMonitorSkel<'obj>, Attached), trace::Error> {
        let args = self.args;
        let ring_bytes = args.trace.ring_bytes(DEFAULT_RING);
        let explain = |error| explain_load(error, ring_bytes);
        let mut builder = UpcallMonitorSkelBuilder::default();
        let _types = EmptyBtf::provide(builder.object_builder_mut())?;
        let mut open = builder.open(room).map_err(explain)?;
        plan.select(open.open_object_mut(), &[]);
        let maps = &mut open.maps;
        ring::resize(&mut maps.ring, ring_bytes)?;
        if args.summary_lines().is_some() {
            let flows = maps.lost_flows.set_max_entries(MAX_FLOWS);
            flows.map_err(explain)?;
            let flows = maps.counted_flows.set_max_entries(MAX_FLOWS);
            flows.map_err(explain)?;
        }
        let places = if self.only_counts { FLOW_PLACES } else { 1 };
        let flows = maps.flow_places.set_max_entries(places);
        flows.map_err(explain)?;
        let rodata = maps.rodata_data.as_deref_mut();
        let rodata = rodata.ok_or(trace::Error::NoVariables)?;
        rodata.targ_specs = plan.sites().install(&RECV_UPCALL, &mut rodata.targ_args);
        rodata.targ_packet_size = self.packet_size;
        rodata.targ_key_size = args.key_snaplen();
        rodata.targ_wake_at = ring_bytes as u64 / 4;
        rodata.targ_count_lost = args.summary_lines().is_some().into();
        rodata.targ_flow_places = places;
        rodata.targ_count_only = self.only_counts.into();
        rodata.targ_targets = self.targets.len() as u32;
        if let Some(messages) = self.messages {
            rodata.targ_netlink_protocol = messages.protocol;
            rodata.targ_packet_family = messages.family;
            let namespaces = &mut rodata.targ_pid_namespace;
            Target::install(self.targets, &mut rodata.targ_tgid, namespaces)?;
        }
        for (netns, namespace) in rodata.targ_netns.iter_mut().zip(&self.namespaces) {
            *netns = *namespace;
        }
        set_filters(&args.filters, rodata);
        if let Some(filter) = &self.packet_filter {
            rodata.set_packet_filter(filter);
        }
        let bss = maps.bss_data.as_deref_mut();
        let bss = bss.ok_or(trace::Error::NoVariables)?;
        bss.filter_port[..self.ports.len()].copy_from_slice(&self.ports);
        bss.filter_ports = self.ports.len() as u64;
        let skel = open.load().map_err(explain)?;
        let attached = plan.attach(skel.object())?;
        Ok((skel, attached))
    }
}
