//! Shows every operation that ovs-vswitchd asks of the kernel datapath.

mod args;
mod manual;
mod ops;

use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapHandle, OpenObject};
use ovs_tracers::bpf::dpif_ops::{DpifOpsSkel, DpifOpsSkelBuilder};
use ovs_tracers::cli;
use ovs_tracers::dpif_ops::event::RECORDS;
use ovs_tracers::dpif_ops::probes::{CHUNKS, OPERATIONS, TOOL, families};
use ovs_tracers::ovs::family::Family;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::session::{self, Daemon, Step};
use ovs_tracers::trace::attach::explain_load;
use ovs_tracers::trace::kernel::EmptyBtf;
use ovs_tracers::trace::plan::{Attached, Plan, storage};
use ovs_tracers::trace::probes::{Group, Source};
use ovs_tracers::trace::ring::{self, Live, RingState, shared};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, libbpf_log, privilege};
use rustix::thread::CapabilitySet;

use args::{Args, DEFAULT_RING, MAX_REQUEST};
use ops::Ops;

fn main() -> ExitCode {
    let args: Args = cli::parse(&manual::sections());
    cli::exit(match args.common.recording.replay {
        Some(_) => replay(&args),
        None => libbpf_log::with(args.common.trace.verbose, || trace(&args)),
    })
}

/// Shows a recording.
fn replay(args: &Args) -> anyhow::Result<()> {
    let mut files = Files::default();
    let mut reader = args.common.recording.open(&mut files, &RECORDS)?;
    let (mut session, mut ops) = Ops::new(args, reader.start(), files)?;
    let read = session.replay(&mut reader, |session, step| ops.take(session, step));
    ops.events.finish(session)?;
    read.map_err(|error| anyhow::anyhow!("{error}\nwhat comes before is shown above"))
}

/// Shows what a running ovs-vswitchd does.
fn trace(args: &Args) -> anyhow::Result<()> {
    let asked = args.source()?;
    let targets = [Target::find(args.common.daemon.pid)?];
    privilege::check_privilege()?;
    let wanted = |(_, operation, group, _): &(_, _, &'static Group, _)| {
        args.has(*operation).then_some(*group)
    };
    let groups = |source| match source {
        Source::Usdt => OPERATIONS.iter().filter_map(wanted).collect(),
        Source::Kernel => {
            let groups = TOOL.kernel.iter().copied();
            let unwanted =
                |group: &&'static Group| std::ptr::eq(*group, &CHUNKS) && !args.has_dumps();
            groups.filter(|group| !unwanted(group)).collect()
        }
    };
    let mut plan = Plan::new(asked, groups, &targets, args.kernel_side.as_deref())?;
    let until = Until::new(args.common.trace.duration)?;
    let daemons = targets.iter().map(Daemon::new).collect();
    let mut storage = storage();
    let verbose = args.common.trace.verbose;
    let (mut skel, attached) = plan.load(&mut storage, verbose, |plan, room| {
        load(args, plan, &targets, room)
    })?;

    let mut start = session::start(&RECORDS, &targets);
    start.set("source", plan.source().name());
    let (mut session, mut ops) = Ops::new(args, &start, Files::default())?;
    session.set_daemons(daemons);
    let bss = skel.maps.bss_data.as_deref_mut();
    let bss = bss.ok_or(trace::Error::NoVariables)?;
    let filtered = shared(&mut bss.filtered);
    let live = Live {
        ring: MapHandle::try_from(&skel.maps.ring)?,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until: &until,
        done: None,
        targets: &targets,
        attached,
        keep: Some(CapabilitySet::empty()),
        queue_size: args.common.trace.queue_bytes(),
    };
    session.live(live, |session, step| {
        if let Step::Pause = step {
            ops.events.filtered = filtered.iter().map(|count| count.load(Relaxed)).sum();
        }
        ops.take(session, step)
    });
    ops.events.finish(session)
}

fn load<'obj>(
    args: &Args,
    plan: &Plan,
    targets: &[Target],
    room: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(DpifOpsSkel<'obj>, Attached), trace::Error> {
    let ring_bytes = args.common.trace.ring_bytes(DEFAULT_RING);
    let explain = |error| explain_load(error, ring_bytes);
    let mut builder = DpifOpsSkelBuilder::default();
    let _types = EmptyBtf::provide(builder.object_builder_mut())?;
    let mut open = builder.open(room).map_err(explain)?;
    plan.select(open.open_object_mut(), &[]);
    ring::resize(&mut open.maps.ring, ring_bytes)?;
    let rodata = open.maps.rodata_data.as_deref_mut();
    let rodata = rodata.ok_or(trace::Error::NoVariables)?;
    for (op, _, _, probe) in OPERATIONS {
        let op = op.0 as usize;
        rodata.targ_specs[op] = plan.sites().install(probe, &mut rodata.targ_args[op]);
    }
    if plan.source() == Source::Kernel {
        let namespaces = &mut rodata.targ_pid_namespace;
        Target::install(targets, &mut rodata.targ_tgid, namespaces)?;
        for (i, number) in families()?.into_iter().enumerate() {
            rodata.targ_families[i] = number.unwrap_or(0);
            rodata.targ_commands[i] = Family::ALL[i].commands(|operation| args.has(operation));
        }
    }
    rodata.targ_request_size = args.nlmsg_size.unwrap_or(MAX_REQUEST);
    rodata.targ_wake_at = ring_bytes as u64 / 4;
    rodata.targ_tid = args.thread.id().unwrap_or(0);
    (rodata.targ_by_comm, rodata.targ_comm) = args.thread.comm();
    let skel = open.load().map_err(explain)?;
    let attached = plan.attach(skel.object())?;
    Ok((skel, attached))
}
