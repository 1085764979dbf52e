//! Tracing a running ovs-vswitchd.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use ovs_tracers::bpf::upcall_monitor::{UpcallMonitorSkelBuilder, types};
use ovs_tracers::cli::note;
use ovs_tracers::clock::WallClock;
use ovs_tracers::output::Files;
use ovs_tracers::ports::PortNames;
use ovs_tracers::recording::Start;
use ovs_tracers::summary::Lost;
use ovs_tracers::target::{Object, Target};
use ovs_tracers::tracer::{self, Delivery, End, RingState, Until};
use ovs_tracers::usdt::{self, Probe, Site};

use crate::args::Args;
use crate::monitor::Monitor;

const PROVIDER: &str = "dpif_recv";
const PROBE: &str = "recv_upcall";
/// MAX_SPECS and RECV_UPCALL_ARGS of bpf/upcall_monitor.h.
const MAX_SPECS: usize = 8;
const ARGS: usize = 6;
const _: fn(&types::rodata) -> &[[types::usdt_arg; ARGS]; MAX_SPECS] = |rodata| &rodata.targ_args;
/// Arguments that are pointers: the datapath's name, the packet, the flow key.
const POINTERS: [usize; 3] = [0, 2, 4];

/// Bytes: some hundredths of a second of jumbo frames at full speed, for a machine that is busy with other things.
const DEFAULT_RING: usize = 16 << 20;

/// At most one message a second tells of lost upcalls.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the kernel is asked for the names of all ports; a port that has none yet does not wait for it.
const NAMES_INTERVAL: Duration = Duration::from_secs(10);

/// Sites of one object, each with the number of its argument string.
type Sites = (Object, Vec<(Site, u64)>);

pub fn run(args: &Args) -> anyhow::Result<()> {
    tracer::with_libbpf_log(args.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let target = Target::find(args.pid)?;
    let pid = target.pid();
    tracer::check_privilege()?;
    let (specs, sites) = specs(target.find_probe(PROVIDER, PROBE)?)?;
    if specs.len() > 1 && !tracer::has_cookie() {
        bail!(tracer::Error::NoCookie(tracer::kernel_release()));
    }

    let multi = tracer::has_uprobe_multi();
    let ring_bytes = args
        .buffer_page_count
        .map_or(DEFAULT_RING, tracer::ring_size);
    let mut storage = MaybeUninit::uninit();
    let mut open = UpcallMonitorSkelBuilder::default()
        .open(&mut storage)
        .map_err(|error| tracer::explain_load(error, ring_bytes))?;
    open.progs.recv_upcall_multi.set_autoload(multi);
    open.progs.recv_upcall.set_autoload(!multi);
    open.maps
        .ring
        .set_max_entries(tracer::max_entries(ring_bytes)?)?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.targ_specs = u32::try_from(specs.len())?;
        rodata.targ_args[..specs.len()].copy_from_slice(&specs);
        rodata.targ_packet_size = args.packet_snaplen();
        rodata.targ_key_size = args.key_snaplen();
        rodata.targ_wake_at = ring_bytes as u64 / 4;
    }
    let mut skel = open
        .load()
        .map_err(|error| tracer::explain_load(error, ring_bytes))?;

    let until = Until::new(&target, args.duration)?;
    let program = if multi {
        &skel.progs.recv_upcall_multi
    } else {
        &skel.progs.recv_upcall
    };
    let mut links = Vec::new();
    for (object, sites) in &sites {
        links.extend(tracer::attach(program, multi, pid, object, sites)?);
    }
    let mut clock = WallClock::now();
    let mut start = Start::new(env!("CARGO_BIN_NAME"));
    start.set("kernel", tracer::kernel_release());
    start.set("pid", pid);
    start.set("packet_size", args.packet_snaplen());
    start.set("flow_key_size", args.key_snaplen());
    let mut monitor = Monitor::new(args, &start, Files::default())?;
    // No names are better than no upcalls.
    monitor.set_ports(PortNames::open(pid).unwrap_or_else(|error| {
        note(format_args!("warning: {error}"));
        PortNames::default()
    }));
    let _ = monitor.clock(clock.offset());

    let count: usize = sites.iter().map(|(_, sites)| sites.len()).sum();
    note(format_args!(
        "attached to {PROVIDER}:{PROBE} of process {pid} ({count} site{}); Ctrl-C ends it",
        if count == 1 { "" } else { "s" }
    ));

    let Some(bss) = skel.maps.bss_data.as_deref_mut() else {
        bail!("the BPF program has no variables to share");
    };
    let state = RingState::new(&mut bss.ring_sleeping, &mut bss.lost);
    let mut told = None::<Instant>;
    let mut named = Instant::now();
    let mut lost_now = Lost::default();
    let (end, left) =
        tracer::drain(
            &skel.maps.ring,
            &state,
            &until,
            links,
            &mut |delivery| match delivery {
                Delivery::Record(record) => monitor.record(record),
                Delivery::Pause { lost } => {
                    lost_now = Lost::new(lost);
                    if lost_now != monitor.reported()
                        && told.is_none_or(|told| told.elapsed() >= LOSS_INTERVAL)
                    {
                        told = Some(Instant::now());
                        monitor.lost(lost_now)?;
                    }
                    if named.elapsed() >= NAMES_INTERVAL {
                        named = Instant::now();
                        monitor.refresh_ports();
                    }
                    if clock.follow() {
                        monitor.clock(clock.offset())?;
                    }
                    monitor.flush()
                }
            },
        )?;
    let _ = monitor.lost(lost_now);
    if end == End::TargetExited {
        note(format_args!("process {pid} has exited"));
    }
    monitor.finish(left)
}

/// The different argument strings of the probe's sites, and which of them each site has.
fn specs(
    found: Vec<(Object, Probe)>,
) -> anyhow::Result<(Vec<[types::usdt_arg; ARGS]>, Vec<Sites>)> {
    let mut strings: Vec<String> = Vec::new();
    let mut specs = Vec::new();
    let mut objects = Vec::new();
    for (object, probe) in found {
        let mut sites = Vec::new();
        for site in probe.sites {
            let spec = match strings.iter().position(|known| *known == site.args) {
                Some(spec) => spec,
                None => {
                    specs.push(parse_spec(&site.args, probe.machine)?);
                    strings.push(site.args.clone());
                    strings.len() - 1
                }
            };
            sites.push((site, spec as u64));
        }
        objects.push((object, sites));
    }
    ensure!(
        specs.len() <= MAX_SPECS,
        "the sites of {PROVIDER}:{PROBE} have {} different argument strings, and {MAX_SPECS} can be told apart\n\
         please report it with the output of readelf -n",
        specs.len()
    );
    Ok((specs, objects))
}

fn parse_spec(args: &str, machine: usdt::Machine) -> anyhow::Result<[types::usdt_arg; ARGS]> {
    let parsed = usdt::parse_args(args, machine)?;
    let pointers = POINTERS
        .iter()
        .all(|&i| parsed.get(i).is_some_and(|arg| arg.size == 8));
    match <[usdt::Arg; ARGS]>::try_from(parsed) {
        Ok(parsed) if pointers => Ok(parsed.map(|arg| types::usdt_arg::from(&arg))),
        _ => bail!(
            "{PROVIDER}:{PROBE} has other arguments than Open vSwitch 2.17 and later give it: {args:?}\n\
             is this process ovs-vswitchd?"
        ),
    }
}
