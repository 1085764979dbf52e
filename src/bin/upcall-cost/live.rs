//! Tracing a running ovs-vswitchd and the kernel's datapath.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, OpenObject, ProgramMut};
use ovs_tracers::bpf::upcall_cost::{UpcallCostSkel, UpcallCostSkelBuilder, types};
use ovs_tracers::cli::note;
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::clock::WallClock;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::Start;
use ovs_tracers::trace::target::{Object, Target};
use ovs_tracers::trace::tracer::{self, Delivery, End, NoTypes, RingState, Until};
use ovs_tracers::trace::usdt::{self, Site};
use rustix::thread::CapabilitySet;

use crate::args::{Args, DEFAULT_RING, MAX_KEY_SIZE};
use crate::session::Session;

/// A probe of the daemon: how many arguments it has, which of them are pointers, and which are fetched.
struct Station<const FETCHED: usize> {
    provider: &'static str,
    name: &'static str,
    args: usize,
    pointers: &'static [usize],
    fetched: [usize; FETCHED],
}

/// MAX_SPECS of bpf/upcall_cost.h, and the arguments that it fetches: enum recv_upcall_arg and so on.
const MAX_SPECS: usize = 8;
const RECV_UPCALL: Station<6> = Station {
    provider: "dpif_recv",
    name: "recv_upcall",
    args: 6,
    pointers: &[0, 2, 4],
    fetched: [0, 1, 2, 3, 4, 5],
};
const OP_FLOW_PUT: Station<1> = Station {
    provider: "dpif_netlink_operate__",
    name: "op_flow_put",
    args: 4,
    pointers: &[0, 1, 2, 3],
    fetched: [3],
};
const OP_FLOW_EXECUTE: Station<2> = Station {
    provider: "dpif_netlink_operate__",
    name: "op_flow_execute",
    args: 5,
    pointers: &[0, 1, 2, 4],
    fetched: [2, 3],
};
const _: fn(&types::rodata) -> &[[types::usdt_arg; 6]; MAX_SPECS] = |ro| &ro.targ_recv_upcall;
const _: fn(&types::rodata) -> &[[types::usdt_arg; 1]; MAX_SPECS] = |ro| &ro.targ_op_flow_put;
const _: fn(&types::rodata) -> &[[types::usdt_arg; 2]; MAX_SPECS] = |ro| &ro.targ_op_flow_execute;

/// Bytes of a flow's request before and between what the analysis reads of it, the UFID and the key: the header and
/// the value of OVS_FLOW_ATTR_UFID, and the header of OVS_FLOW_ATTR_KEY.
const REQUEST_BEFORE_KEY: u32 = 4 + 16 + 4;

/// At most one message a second tells of lost events.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the kernel is asked for the names of all ports although it told of no change: devices may be renamed.
const NAMES_INTERVAL: Duration = Duration::from_secs(10);

/// Sites of one object, each with the number of its argument string.
type Sites = (Object, Vec<(Site, u64)>);

/// The sites of a probe, and how the arguments are fetched at each.
struct Found<const FETCHED: usize> {
    specs: Vec<[types::usdt_arg; FETCHED]>,
    objects: Vec<Sites>,
}

/// The daemon's side.
struct Daemon {
    recv_upcall: Found<6>,
    op_flow_put: Found<1>,
    op_flow_execute: Found<2>,
}

/// How the kernel's side is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelSide {
    /// By trampolines.
    Fentry,
    /// By kprobes, which cost more, where there are none: on aarch64 before Linux 6.4.
    Kprobe,
    Absent,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    tracer::with_libbpf_log(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let target = Target::find(args.daemon.pid)?;
    let pid = target.pid();
    tracer::check_privilege()?;
    let daemon = Daemon {
        recv_upcall: RECV_UPCALL.find(&target)?,
        op_flow_put: OP_FLOW_PUT.find(&target)?,
        op_flow_execute: OP_FLOW_EXECUTE.find(&target)?,
    };
    let ring_bytes = args
        .trace
        .buffer_page_count
        .map_or(DEFAULT_RING, tracer::ring_size);
    let until = Until::new(args.trace.duration)?;
    let mut storage = [const { MaybeUninit::uninit() }; KernelSide::ALL.len()];
    let (mut skel, side, links) = load(args, &target, &daemon, ring_bytes, &mut storage)?;

    let mut clock = WallClock::now();
    let mut start = Start::new(env!("CARGO_BIN_NAME"));
    start.set("kernel", tracer::kernel_release());
    start.set("pid", pid);
    start.set("packet_size", args.packet_snaplen());
    start.set("flow_key_size", args.key_snaplen());
    let mut session = Session::new(args, &start, Files::default())?;
    // No names are better than no upcalls.
    session.set_ports(PortNames::open(pid).unwrap_or_else(|error| {
        note(format_args!("warning: {error}"));
        PortNames::default()
    }));
    let _ = session.clock(clock.offset());
    let also = match side {
        KernelSide::Absent => "",
        _ => " and the kernel's datapath",
    };

    let Some(bss) = skel.maps.bss_data.as_deref_mut() else {
        bail!("the BPF program has no variables to share");
    };
    let state = RingState::new(&mut bss.ring_sleeping, &mut bss.lost);
    let mut told = None::<Instant>;
    let mut named = Instant::now();
    let mut lost_now = Vec::new();
    let (end, left) = tracer::drain(
        &skel.maps.ring,
        &state,
        &until,
        &[&target],
        links,
        &mut |delivery| match delivery {
            Delivery::Ready => {
                tracer::drop_privilege(CapabilitySet::empty());
                note(format_args!(
                    "attached to process {pid}{also}; Ctrl-C ends it"
                ));
                ControlFlow::Continue(())
            }
            Delivery::Wake => {
                if session.ports_have_changed() || named.elapsed() >= NAMES_INTERVAL {
                    named = Instant::now();
                    session.refresh_ports();
                }
                ControlFlow::Continue(())
            }
            Delivery::Record(record) => session.record(record),
            Delivery::Pause { lost } => {
                if lost != lost_now {
                    lost_now.clear();
                    lost_now.extend_from_slice(lost);
                }
                if lost_now != session.reported()
                    && lost_now.iter().any(|&lost| lost > 0)
                    && told.is_none_or(|told| told.elapsed() >= LOSS_INTERVAL)
                {
                    told = Some(Instant::now());
                    session.lost(&lost_now)?;
                }
                if clock.follow() {
                    session.clock(clock.offset())?;
                }
                session.flush()
            }
        },
    )?;
    let _ = session.lost(&lost_now);
    if end == End::TargetExited {
        note(format_args!("process {pid} has exited"));
    }
    session.finish(left)
}

/// Why loading or attaching failed, and whether it is for the kernel's side that it did.
enum Failure {
    KernelSide(tracer::Error),
    Other(anyhow::Error),
}

/// Loads the programs and attaches them, with the kernel's side by the first way that this kernel has.
fn load<'obj>(
    args: &Args,
    target: &Target,
    daemon: &Daemon,
    ring_bytes: usize,
    storage: &'obj mut [MaybeUninit<OpenObject>],
) -> anyhow::Result<(UpcallCostSkel<'obj>, KernelSide, Vec<Link>)> {
    let mut why = String::new();
    for (side, storage) in KernelSide::ALL.into_iter().zip(storage) {
        if side == KernelSide::Absent {
            note(format_args!(
                "warning: the kernel's side of upcalls cannot be seen: {why}\n  \
                 there are only the times within ovs-vswitchd"
            ));
        } else if let Err(lacks) = side.is_possible(args) {
            why = lacks;
            continue;
        }
        match load_side(args, target, daemon, ring_bytes, side, storage) {
            Ok((skel, links)) => return Ok((skel, side, links)),
            Err(Failure::KernelSide(error)) if side != KernelSide::Absent => {
                if args.trace.verbose {
                    eprint!("{}", tracer::libbpf_log());
                }
                let error = error.to_string();
                why = error.lines().next().unwrap_or_default().to_string();
            }
            Err(Failure::KernelSide(error)) => return Err(error.into()),
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    bail!("no way to trace is left")
}

impl KernelSide {
    const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Absent];

    /// What this way lacks, if anything is known to.
    fn is_possible(self, args: &Args) -> Result<(), String> {
        if args.kernel_side.is_some_and(|wanted| wanted != self) {
            return Err("another way was asked for".to_string());
        }
        tracer::check_datapath(true)
    }
}

fn load_side<'obj>(
    args: &Args,
    target: &Target,
    daemon: &Daemon,
    ring_bytes: usize,
    side: KernelSide,
    storage: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(UpcallCostSkel<'obj>, Vec<Link>), Failure> {
    let multi = tracer::has_uprobe_multi();
    let mut builder = UpcallCostSkelBuilder::default();
    let _types = NoTypes::stand_in(builder.object_builder_mut())
        .map_err(|error| Failure::Other(error.into()))?;
    let mut open = builder
        .open(storage)
        .map_err(|error| Failure::Other(tracer::explain_load(error, ring_bytes).into()))?;
    let progs = &mut open.progs;
    progs.recv_upcall_multi.set_autoload(multi);
    progs.op_flow_put_multi.set_autoload(multi);
    progs.op_flow_execute_multi.set_autoload(multi);
    progs.recv_upcall.set_autoload(!multi);
    progs.op_flow_put.set_autoload(!multi);
    progs.op_flow_execute.set_autoload(!multi);
    let fentry = side == KernelSide::Fentry;
    progs.upcall_begins.set_autoload(fentry);
    progs.upcall_ends.set_autoload(fentry);
    progs.queue_begins.set_autoload(fentry);
    progs.queue_ends.set_autoload(fentry);
    progs.execute.set_autoload(fentry);
    let kprobe = side == KernelSide::Kprobe;
    progs.upcall_begins_kprobe.set_autoload(kprobe);
    progs.upcall_ends_kprobe.set_autoload(kprobe);
    progs.queue_begins_kprobe.set_autoload(kprobe);
    progs.queue_ends_kprobe.set_autoload(kprobe);
    progs.execute_kprobe.set_autoload(kprobe);
    let max_entries =
        tracer::max_entries(ring_bytes).map_err(|error| Failure::Other(error.into()))?;
    let sized = open.maps.ring.set_max_entries(max_entries);
    sized.map_err(|error| Failure::Other(error.into()))?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        let Daemon {
            recv_upcall,
            op_flow_put,
            op_flow_execute,
        } = daemon;
        rodata.targ_recv_upcall_specs = recv_upcall.install(&mut rodata.targ_recv_upcall);
        rodata.targ_op_flow_put_specs = op_flow_put.install(&mut rodata.targ_op_flow_put);
        rodata.targ_op_flow_execute_specs =
            op_flow_execute.install(&mut rodata.targ_op_flow_execute);
        rodata.targ_packet_size = args.packet_snaplen();
        rodata.targ_key_size = args.key_snaplen();
        rodata.targ_request_size = MAX_KEY_SIZE.min(args.key_snaplen() + REQUEST_BEFORE_KEY);
        rodata.targ_wake_at = ring_bytes as u64 / 4;
        if side != KernelSide::Absent {
            rodata.targ_netns = target
                .network_namespace()
                .map_err(|error| Failure::Other(error.into()))?;
        }
    }
    let skel = open
        .load()
        .map_err(|error| Failure::KernelSide(tracer::explain_load(error, ring_bytes)))?;
    let links = attach(&skel, target.pid(), daemon, side, multi)?;
    Ok((skel, links))
}

/// Attaches the stations of an upcall from its last to its first, and returns the links in the order in which they
/// are to be detached: from the first to the last. So whatever is seen at one of them is seen at all that follow.
/// The other way round, an upcall that left the datapath just before recv_upcall was watched would wait for its
/// receipt for ever, or be taken for a later one that is equal.
fn attach(
    skel: &UpcallCostSkel<'_>,
    pid: u32,
    daemon: &Daemon,
    side: KernelSide,
    multi: bool,
) -> Result<Vec<Link>, Failure> {
    let progs = &skel.progs;
    let mut links = Vec::new();
    let kernel = |function: &str, program: &ProgramMut<'_>| {
        program.attach().map_err(|error| {
            Failure::KernelSide(tracer::Error::Attach {
                path: format!("{function}() of the kernel"),
                error,
            })
        })
    };
    let (upcall_begins, upcall_ends, queue_begins, queue_ends, execute) = match side {
        KernelSide::Kprobe => (
            &progs.upcall_begins_kprobe,
            &progs.upcall_ends_kprobe,
            &progs.queue_begins_kprobe,
            &progs.queue_ends_kprobe,
            &progs.execute_kprobe,
        ),
        _ => (
            &progs.upcall_begins,
            &progs.upcall_ends,
            &progs.queue_begins,
            &progs.queue_ends,
            &progs.execute,
        ),
    };
    let (recv_upcall, op_flow_put, op_flow_execute) = if multi {
        (
            &progs.recv_upcall_multi,
            &progs.op_flow_put_multi,
            &progs.op_flow_execute_multi,
        )
    } else {
        (
            &progs.recv_upcall,
            &progs.op_flow_put,
            &progs.op_flow_execute,
        )
    };
    if side != KernelSide::Absent {
        links.push(kernel("ovs_packet_cmd_execute", execute)?);
    }
    for (program, objects) in [
        (op_flow_execute, &daemon.op_flow_execute.objects),
        (op_flow_put, &daemon.op_flow_put.objects),
        (recv_upcall, &daemon.recv_upcall.objects),
    ] {
        for (object, sites) in objects {
            let attached = tracer::attach(program, multi, pid, object, sites);
            links.extend(attached.map_err(|error| Failure::Other(error.into()))?);
        }
    }
    if side != KernelSide::Absent {
        links.push(kernel("ovs_dp_upcall", upcall_ends)?);
        links.push(kernel("queue_userspace_packet", queue_ends)?);
        links.push(kernel("queue_userspace_packet", queue_begins)?);
        links.push(kernel("ovs_dp_upcall", upcall_begins)?);
    }
    links.reverse();
    Ok(links)
}

impl<const FETCHED: usize> Found<FETCHED> {
    /// Writes the specs where the program looks for them, and returns how many they are.
    fn install(&self, rodata: &mut [[types::usdt_arg; FETCHED]; MAX_SPECS]) -> u32 {
        let mut count = 0;
        for (to, spec) in rodata.iter_mut().zip(&self.specs) {
            *to = *spec;
            count += 1;
        }
        count
    }
}

impl<const FETCHED: usize> Station<FETCHED> {
    /// The sites of the probe, and which of its different argument strings each has.
    fn find(&self, target: &Target) -> anyhow::Result<Found<FETCHED>> {
        let mut strings: Vec<String> = Vec::new();
        let mut specs = Vec::new();
        let mut objects = Vec::new();
        for (object, probe) in target.find_probe(self.provider, self.name)? {
            let mut sites = Vec::new();
            for site in probe.sites {
                let spec = match strings.iter().position(|known| *known == site.args) {
                    Some(spec) => spec,
                    None => {
                        specs.push(self.parse(&site.args, probe.machine)?);
                        strings.push(site.args.clone());
                        strings.len() - 1
                    }
                };
                sites.push((site, spec as u64));
            }
            objects.push((object, sites));
        }
        let Self { provider, name, .. } = self;
        ensure!(
            specs.len() <= MAX_SPECS,
            "the sites of {provider}:{name} have {} different argument strings, and {MAX_SPECS} can be told apart\n\
             please report it with the output of readelf -n",
            specs.len()
        );
        if specs.len() > 1 && !tracer::has_cookie() {
            bail!(tracer::Error::NoCookie(tracer::kernel_release()));
        }
        Ok(Found { specs, objects })
    }

    fn parse(
        &self,
        args: &str,
        machine: usdt::Machine,
    ) -> anyhow::Result<[types::usdt_arg; FETCHED]> {
        let parsed = usdt::parse_args(args, machine)?;
        let Self { provider, name, .. } = self;
        ensure!(
            parsed.len() == self.args && self.pointers.iter().all(|&i| parsed[i].size == 8),
            "{provider}:{name} has other arguments than Open vSwitch 2.17 and later give it: {args:?}\n\
             is this process ovs-vswitchd?"
        );
        let specs = self.fetched.map(|i| types::usdt_arg::from(&parsed[i]));
        Ok(types::usdt_arg::in_windows(specs))
    }
}
