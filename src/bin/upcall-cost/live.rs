//! Tracing a running ovs-vswitchd and the kernel's datapath.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapHandle, OpenObject};
use ovs_tracers::bpf::upcall_cost::{UpcallCostSkel, UpcallCostSkelBuilder};
use ovs_tracers::cost;
use ovs_tracers::cost::probes::{OP_FLOW_EXECUTE, OP_FLOW_PUT, TOOL, flow_family};
use ovs_tracers::run::output::Files;
use ovs_tracers::run::session::{self, Daemon};
use ovs_tracers::trace::attach::explain_load;
use ovs_tracers::trace::kernel::EmptyBtf;
use ovs_tracers::trace::netlink::UpcallMessages;
use ovs_tracers::trace::plan::{Attached, Plan, storage};
use ovs_tracers::trace::probes::Source;
use ovs_tracers::trace::ring::{self, Live, RingState};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, libbpf_log, privilege};
use ovs_tracers::upcall::probes::RECV_UPCALL;
use rustix::thread::CapabilitySet;

use crate::account::Account;
use crate::args::{Args, DEFAULT_RING, MAX_KEY_SIZE};

/// Bytes of a flow's request before and between what the analysis reads of it, the UFID and the key: the header and
/// the value of OVS_FLOW_ATTR_UFID, and the header of OVS_FLOW_ATTR_KEY.
const REQUEST_BEFORE_KEY: u32 = 4 + 16 + 4;

pub fn run(args: &Args) -> anyhow::Result<()> {
    libbpf_log::with(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let targets = [Target::find(args.daemon.pid)?];
    privilege::check_privilege()?;
    let only = args.kernel_side.as_deref();
    let asked = args.trace.source.asked();
    let groups = |source| TOOL.groups(source).to_vec();
    let mut plan = Plan::new(asked, groups, &targets, only)?;
    let messages = match plan.source() {
        Source::Usdt => None,
        Source::Kernel => Some(messages(args).map_err(|error| plan.explain(error))?),
    };
    let until = Until::new(args.trace.duration)?;
    let daemons = targets.iter().map(Daemon::new).collect();
    let mut storage = storage();
    let (mut skel, attached) = plan.load(&mut storage, args.trace.verbose, |plan, room| {
        load(args, plan, &targets, messages, room)
    })?;

    let mut start = session::start(&cost::RECORDS, &targets);
    start.set("packet_size", args.packet_snaplen());
    start.set("flow_key_size", args.key_snaplen());
    start.set("source", plan.source().name());
    let (mut session, mut account) = Account::new(args, &start, Files::default())?;
    session.set_daemons(daemons);
    let bss = skel.maps.bss_data.as_deref_mut();
    let bss = bss.ok_or(trace::Error::NoVariables)?;
    let live = Live {
        ring: MapHandle::try_from(&skel.maps.ring)?,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until: &until,
        done: None,
        targets: &targets,
        attached,
        keep: Some(CapabilitySet::empty()),
        queue_size: args.trace.queue_bytes(),
    };
    session.live(live, |session, step| account.take(session, step));
    account.finish(session)
}

/// What is looked for in netlink messages: upcalls, and the number of the family by which flows are put.
type Messages = (UpcallMessages, u16);

fn messages(args: &Args) -> Result<Messages, trace::Error> {
    Ok(match args.netlink {
        Some(upcalls) => (upcalls, 0),
        None => (UpcallMessages::of_kernel()?, flow_family()?),
    })
}

fn load<'obj>(
    args: &Args,
    plan: &Plan,
    targets: &[Target],
    messages: Option<Messages>,
    room: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(UpcallCostSkel<'obj>, Attached), trace::Error> {
    let ring_bytes = args.trace.ring_bytes(DEFAULT_RING);
    let explain = |error| explain_load(error, ring_bytes);
    let mut builder = UpcallCostSkelBuilder::default();
    let _types = EmptyBtf::provide(builder.object_builder_mut())?;
    let mut open = builder.open(room).map_err(explain)?;
    plan.select(open.open_object_mut(), &[]);
    ring::resize(&mut open.maps.ring, ring_bytes)?;
    let rodata = open.maps.rodata_data.as_deref_mut();
    let rodata = rodata.ok_or(trace::Error::NoVariables)?;
    let sites = plan.sites();
    rodata.targ_recv_upcall_specs = sites.install(&RECV_UPCALL, &mut rodata.targ_recv_upcall);
    rodata.targ_op_flow_put_specs = sites.install(&OP_FLOW_PUT, &mut rodata.targ_op_flow_put);
    rodata.targ_op_flow_execute_specs =
        sites.install(&OP_FLOW_EXECUTE, &mut rodata.targ_op_flow_execute);
    rodata.targ_packet_size = args.packet_snaplen();
    rodata.targ_key_size = args.key_snaplen();
    rodata.targ_request_size = MAX_KEY_SIZE.min(args.key_snaplen() + REQUEST_BEFORE_KEY);
    rodata.targ_wake_at = ring_bytes as u64 / 4;
    if let Some((upcalls, flow_family)) = messages {
        rodata.targ_netlink_protocol = upcalls.protocol;
        rodata.targ_packet_family = upcalls.family;
        rodata.targ_flow_family = flow_family;
        let namespace = &mut rodata.targ_pid_namespace;
        Target::install(targets, &mut rodata.targ_tgid, namespace)?;
    }
    if plan.is_in_kernel() {
        rodata.targ_netns = targets[0].network_namespace()?;
    }
    let skel = open.load().map_err(explain)?;
    let attached = plan.attach(skel.object())?;
    Ok((skel, attached))
}
