//! Tracing a running ovs-vswitchd.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;

use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use ovs_tracers::bpf::dpif_ops::types::dpif_op;
use ovs_tracers::bpf::dpif_ops::{DpifOpsSkel, DpifOpsSkelBuilder};
use ovs_tracers::cost::probes::OP_FLOW_PUT;
use ovs_tracers::dpif_ops::event::RECORDS;
use ovs_tracers::dpif_ops::probes::{
    DEL, EXECUTE, GET, OP_FLOW_DEL, OP_FLOW_EXECUTE, OP_FLOW_GET, PUT,
};
use ovs_tracers::ovs::flow_request::Operation;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::session::{self, Daemon, Live, Step};
use ovs_tracers::trace::attach::explain_load;
use ovs_tracers::trace::kernel::EmptyBtf;
use ovs_tracers::trace::plan::{Attached, Group, Plan, Usdt, storage};
use ovs_tracers::trace::ring::{self, RingState, shared};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, libbpf_log, privilege};
use rustix::thread::CapabilitySet;

use crate::args::{Args, DEFAULT_RING, MAX_REQUEST};
use crate::ops::Ops;

/// What is attached for each operation.
const OPERATIONS: [(Operation, dpif_op, &Group, &Usdt); 4] = [
    (Operation::Put, dpif_op::OP_FLOW_PUT, &PUT, &OP_FLOW_PUT),
    (Operation::Del, dpif_op::OP_FLOW_DEL, &DEL, &OP_FLOW_DEL),
    (Operation::Get, dpif_op::OP_FLOW_GET, &GET, &OP_FLOW_GET),
    (
        Operation::Execute,
        dpif_op::OP_FLOW_EXECUTE,
        &EXECUTE,
        &OP_FLOW_EXECUTE,
    ),
];

pub fn run(args: &Args) -> anyhow::Result<()> {
    libbpf_log::with(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let targets = [Target::find(args.daemon.pid)?];
    privilege::check_privilege()?;
    let wanted = OPERATIONS
        .iter()
        .filter(|(operation, ..)| args.has(*operation));
    let groups: Vec<&Group> = wanted.map(|(_, _, group, _)| *group).collect();
    let mut plan = Plan::new(&groups, &targets, None)?;
    let until = Until::new(args.trace.duration)?;
    let mut storage = storage();
    let (mut skel, attached) = plan.load(&mut storage, args.trace.verbose, |plan, room| {
        load(args, plan, room)
    })?;

    let start = session::start(&RECORDS, &targets);
    let (mut session, mut ops) = Ops::new(args, &start, Files::default())?;
    session.set_daemons(targets.iter().map(Daemon::new).collect());
    let bss = skel.maps.bss_data.as_deref_mut();
    let bss = bss.ok_or(trace::Error::NoVariables)?;
    let filtered = shared(&mut bss.filtered);
    let live = Live {
        ring: &skel.maps.ring,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until: &until,
        targets: &targets,
        attached,
        keep: Some(CapabilitySet::empty()),
    };
    session.live(live, |session, step| {
        if let Step::Pause = step {
            ops.totals.filtered = filtered.iter().map(|count| count.load(Relaxed)).sum();
        }
        ops.take(session, step)
    });
    ops.finish(session)
}

fn load<'obj>(
    args: &Args,
    plan: &Plan,
    room: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(DpifOpsSkel<'obj>, Attached), trace::Error> {
    let ring_bytes = args
        .trace
        .buffer_page_count
        .map_or(DEFAULT_RING, ring::ring_size);
    let explain = |error| explain_load(error, ring_bytes);
    let mut builder = DpifOpsSkelBuilder::default();
    let _types = EmptyBtf::provide(builder.object_builder_mut())?;
    let mut open = builder.open(room).map_err(explain)?;
    plan.select(open.open_object_mut(), &[]);
    let max_entries = ring::max_entries(ring_bytes)?;
    open.maps
        .ring
        .set_max_entries(max_entries)
        .map_err(explain)?;
    let rodata = open.maps.rodata_data.as_deref_mut();
    let rodata = rodata.ok_or(trace::Error::NoVariables)?;
    for (_, op, _, probe) in OPERATIONS {
        let op = op.0 as usize;
        rodata.targ_specs[op] = plan.sites().install(probe, &mut rodata.targ_args[op]);
    }
    rodata.targ_request_size = args.nlmsg_size.unwrap_or(MAX_REQUEST);
    rodata.targ_wake_at = ring_bytes as u64 / 4;
    if let Some(thread) = &args.thread {
        match thread.parse() {
            Ok(tid) => rodata.targ_tid = tid,
            Err(_) => {
                rodata.targ_by_comm = 1;
                for (to, from) in rodata.targ_comm[..15].iter_mut().zip(thread.bytes()) {
                    *to = from.cast_signed();
                }
            }
        }
    }
    let skel = open.load().map_err(explain)?;
    let attached = plan.attach(skel.object())?;
    Ok((skel, attached))
}
