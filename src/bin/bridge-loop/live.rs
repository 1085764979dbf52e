//! Tracing a running ovs-vswitchd.

use std::fs;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{bail, ensure};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle, OpenObject};
use ovs_tracers::bpf::bridge_loop::{BridgeLoopSkel, BridgeLoopSkelBuilder, types};
use ovs_tracers::bpf::record::read;
use ovs_tracers::bridge_loop::figures::{Figures, LONG, Totals};
use ovs_tracers::bridge_loop::kernel_stack::KernelSymbols;
use ovs_tracers::bridge_loop::probes::{POLLS, SWITCHES, TOOL, TRACEPOINTS};
use ovs_tracers::bridge_loop::{Group, Kind};
use ovs_tracers::run::loss::{RING_FULL, Reason, SKIPPED};
use ovs_tracers::run::session::{self, Session, Settings, Step};
use ovs_tracers::run::sink::Sink;
use ovs_tracers::show::histogram::{BUCKETS, Histogram};
use ovs_tracers::show::message::{StatusLine, cause, note};
use ovs_tracers::trace::attach::{explain_load, thread_clock};
use ovs_tracers::trace::clock::monotonic;
use ovs_tracers::trace::kernel::EmptyBtf;
use ovs_tracers::trace::plan::{Attached, Plan, storage};
use ovs_tracers::trace::probes::{self, Source};
use ovs_tracers::trace::ring::{self, Live, RingState, shared};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, kernel, libbpf_log, privilege};
use rustix::thread::CapabilitySet;

use crate::args::{Args, DEFAULT_RING};
use crate::report::{self, Report};

/// How far past the threshold a stack may be taken, as the CPU time of the thread.
const STACK_PERIOD: Duration = Duration::from_millis(1);

/// As many as are timed.
const MAX_THREADS: u32 = types::bridge_loop_limit::MAX_THREADS.0;

/// `enum bridge_loop_lost` of bpf/bridge_loop.h, in its order.
pub const LOST: &[Reason] = &[
    Reason {
        what: "lines",
        why: RING_FULL,
        hint: "they are counted; a --threshold or a larger --buffer-page-count helps",
    },
    Reason {
        what: "probes",
        why: "too many threads",
        hint: "",
    },
    Reason {
        what: "probes",
        why: SKIPPED,
        hint: "",
    },
];
const _: fn(&types::bss) -> &[u64; LOST.len()] = |bss| &bss.lost;

pub fn run(args: &Args) -> anyhow::Result<()> {
    libbpf_log::with(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let targets = [Target::find(args.daemon.pid)?];
    let pid = targets[0].pid();
    privilege::check_privilege()?;
    let wanted = args.groups();
    let mut asked = args.trace.source.asked();
    if wanted != [Group::Main] {
        // The probes are those of the main loop.
        ensure!(
            asked != Some(Source::Usdt),
            "only the main thread has these probes\nother --threads take --source kernel"
        );
        asked = Some(Source::Kernel);
    }
    let mut plan = Plan::new(
        asked,
        |source| points(args, source),
        &targets,
        args.kernel_side.as_deref(),
    )?;
    let until = Until::new(args.trace.duration)?;
    let mut storage = storage();
    let loaded = plan.load(&mut storage, args.trace.verbose, |plan, room| {
        load(args, plan, &targets, room)
    });
    let (mut skel, mut attached) = loaded.map_err(|error| plan.explain(error))?;
    let in_kernel = plan.source() == Source::Kernel;
    if plan.way(&POLLS).is_some_and(|way| way.name == TRACEPOINTS) {
        note(
            "warning: every system call of this machine is slower while poll() is traced by tracepoints",
        );
    }
    // Before the privilege to see addresses is given up.
    let symbols = plan.way(&SWITCHES).map(|_| KernelSymbols::read());
    if symbols.as_ref().is_some_and(KernelSymbols::is_empty) {
        note(
            "warning: the kernel hides its addresses (kernel.kptr_restrict, CAP_SYSLOG)\n  \
             so its functions have no names, only system calls have",
        );
    }
    if args.stack {
        let mut failed = None;
        for tid in threads(pid, &wanted) {
            match thread_clock(tid, STACK_PERIOD) {
                Ok(clock) => {
                    // The link closes it.
                    let link = skel.progs.take_stack.attach_perf_event(clock.into_raw_fd());
                    attached.links.push(link.map_err(|error| {
                        Target::gone(&targets).map_or(error.into(), anyhow::Error::from)
                    })?);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(gone) = Target::gone(&targets) {
            return Err(gone.into());
        }
        if let Some(error) = failed {
            note(format_args!(
                "warning: no clock to sample the daemon with ({}); stacks are those at the end of a run",
                cause(&error)
            ));
        }
    }
    let bss = skel.maps.bss_data.as_deref_mut();
    let bss = bss.ok_or(trace::Error::NoVariables)?;
    // The counts are in a map. Before Linux 5.19, reading it took CAP_BPF.
    let mut keep = CapabilitySet::BPF;
    if args.stack {
        // The names of a stack's frames are looked up in the daemon's mappings when the stack arrives.
        keep |= CapabilitySet::SYS_PTRACE | CapabilitySet::CHECKPOINT_RESTORE;
    }
    let begun = monotonic();
    shared(std::slice::from_mut(&mut bss.attached))[0].store(begun, Relaxed);

    let settings = Settings {
        count: None,
        interval: args.summary.interval,
        reasons: LOST,
        status: StatusLine::new(false),
    };
    let start = session::start_of(TOOL.name, &targets);
    let mut session = Session::new(settings, &start, None)?;
    let report = Report::new(args, &start, pid, symbols, in_kernel)?;
    let mut report = Sink::new("standard output", Some(report));
    let done = &shared(std::slice::from_mut(&mut bss.done))[0];
    let counts = Counts {
        threads: &skel.maps.threads,
        pid,
        wanted: &wanted,
        buckets: shared(bss.buckets.as_flattened_mut().as_flattened_mut()),
        linear: shared(bss.linear.as_flattened_mut().as_flattened_mut()),
    };
    // What had been counted when the interval began.
    let mut before = counts.figures(begun)?;
    let mut shown = 0u64;
    let live = Live {
        ring: MapHandle::try_from(&skel.maps.ring)?,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until: &until,
        done: Some(done),
        targets: &targets,
        attached,
        keep: Some(keep),
        queue_size: args.trace.queue_bytes(),
    };
    session.live(live, |session, step| match step {
        Step::Record(record) => report.write(&mut session.failure, |report| {
            shown += u64::from(report.line(record)?);
            Ok(())
        }),
        Step::Interval(past) => match counts.figures(past.time) {
            Ok(now) => {
                let since = now.iter().zip(&before);
                let figures: Vec<_> = since
                    .map(|((group, now), (_, before))| (*group, now.since(before)))
                    .collect();
                before = now;
                report.write(&mut session.failure, |report| {
                    report.interval(&figures, past)
                })
            }
            Err(error) => {
                session.failure.set(error);
                ControlFlow::Break(())
            }
        },
        Step::Pause => report.write(&mut session.failure, Report::flush),
        Step::Lost(_) | Step::Ports => ControlFlow::Continue(()),
    });
    let figures = counts.figures(session.ended())?;
    let whole = Duration::from_nanos(session.ended().saturating_sub(begun));
    let elapsed = |figures: &Figures| {
        if done.load(Relaxed) != 0 {
            // What came after the last run that counts is not part of it.
            Duration::from_nanos(figures.timed() / figures.threads.max(1))
        } else {
            whole
        }
    };
    let lost = session.lost().clone();
    report.complete(&mut session.failure, |report| {
        report.finish(&figures, elapsed, shown, &lost)
    });
    report::end(&figures, shown, &lost, in_kernel);
    session.finish()
}

/// What is attached to. What holds runs up is found out for those that get a line past a threshold.
fn points(args: &Args, source: Source) -> Vec<&'static probes::Group> {
    let holds = args.threshold.is_some() && args.only != Some(Kind::Wait);
    let groups = TOOL.groups(source).iter().copied();
    let wanted = |group: &&'static probes::Group| holds || !std::ptr::eq(*group, &SWITCHES);
    groups.filter(wanted).collect()
}

/// The threads of a process that are of these groups now.
fn threads(pid: u32, groups: &[Group]) -> Vec<u32> {
    let folder = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(folder).into_iter().flatten().flatten();
    let threads = tasks.filter_map(|task| {
        let tid: u32 = task.file_name().to_str()?.parse().ok()?;
        let group = if tid == pid {
            // The main loop's thread is the one that has the process's id.
            Group::Main
        } else {
            let name = fs::read(task.path().join("comm")).ok()?;
            Group::of(&String::from_utf8_lossy(&name))
        };
        groups.contains(&group).then_some(tid)
    });
    threads.collect()
}

fn load<'obj>(
    args: &Args,
    plan: &Plan,
    targets: &[Target],
    room: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(BridgeLoopSkel<'obj>, Attached), trace::Error> {
    let ring_bytes = args.trace.ring_bytes(DEFAULT_RING);
    let explain = |error| explain_load(error, ring_bytes);
    let mut builder = BridgeLoopSkelBuilder::default();
    let in_kernel = plan.source() == Source::Kernel;
    // Opened until the object is loaded.
    // Those of the kernel say whether a program can ask for a thread's registers.
    let _empty = if in_kernel || args.stack {
        EmptyBtf::provide(&mut builder.obj_builder)?
    } else {
        Some(EmptyBtf::instead(&mut builder.obj_builder)?)
    };
    let mut open = builder.open(room).map_err(explain)?;
    let stack: &[&str] = if args.stack { &["take_stack"] } else { &[] };
    plan.select(open.open_object_mut(), stack);
    ring::resize(&mut open.maps.ring, ring_bytes)?;
    if args.stack {
        let threads = threads(targets[0].pid(), &args.groups()).len();
        let room = u32::try_from(2 * threads)
            .unwrap_or(u32::MAX)
            .saturating_add(8);
        let copies = &mut open.maps.stack_copies;
        copies
            .set_max_entries(room.min(MAX_THREADS))
            .map_err(explain)?;
    }
    let holds = plan.way(&SWITCHES).is_some();
    if !holds {
        open.maps.held_states.set_max_entries(1).map_err(explain)?;
    }
    let rodata = open.maps.rodata_data.as_deref_mut();
    let rodata = rodata.ok_or(trace::Error::NoVariables)?;
    rodata.targ_threshold = Kind::ALL.map(|kind| {
        if args.summary.quiet || args.only.is_some_and(|only| only != kind) {
            u64::MAX
        } else {
            nanoseconds(args.threshold.unwrap_or_default())
        }
    });
    rodata.targ_count = args.trace.count.unwrap_or(0);
    rodata.targ_linear = args.linear.into();
    rodata.targ_stack = args.stack.into();
    let bits = args.groups().into_iter().map(|group| 1 << group as u8);
    rodata.targ_groups = bits.fold(0, |all, bit: u8| all | bit);
    rodata.targ_held = holds.into();
    let namespace = &mut rodata.targ_pid_namespace;
    Target::install(targets, &mut rodata.targ_tgid, namespace)?;
    rodata.targ_wake_at = ring_bytes as u64 / 4;
    let skel = open.load().map_err(explain)?;
    let attached = plan.attach(skel.object())?;
    Ok((skel, attached))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the kernel counts.
struct Counts<'a, M> {
    threads: &'a M,
    /// The traced process.
    pid: u32,
    /// The groups of threads that are timed.
    wanted: &'a [Group],
    buckets: &'a [AtomicU64],
    linear: &'a [AtomicU64],
}

impl<M: MapCore> Counts<'_, M> {
    /// Whether a thread, a key of the map, still lives. Handlers and revalidators end within a run when
    /// other_config:n-handler-threads or n-revalidator-threads changes.
    fn lives(&self, tid: &[u8], group: u32) -> bool {
        let Ok(tid) = tid.try_into().map(u32::from_ne_bytes) else {
            return false;
        };
        // In another pid namespace the threads have other numbers there than in the kernel.
        match kernel::pid_namespace() {
            None => Path::new(&format!("/proc/{}/task/{tid}", self.pid)).exists(),
            Some(_) => group == Group::Main as u32,
        }
    }

    /// Of each group that is timed.
    fn figures(&self, now: u64) -> anyhow::Result<Vec<(Group, Figures)>> {
        let load = |counts: &[AtomicU64]| -> Vec<u64> {
            counts.iter().map(|count| count.load(Relaxed)).collect()
        };
        let (groups, kinds) = (Group::ALL.len(), Kind::ALL.len());
        let linear_buckets = self.linear.len() / (groups * kinds);
        let totals = |group: Group, kind: Kind| {
            let index = group as usize * kinds + kind as usize;
            Totals {
                histogram: Histogram::new(load(&self.buckets[index * BUCKETS..][..BUCKETS])),
                linear: load(&self.linear[index * linear_buckets..][..linear_buckets]),
                ..Totals::default()
            }
        };
        let figures = |group: &Group| {
            let figures = Figures {
                kinds: Kind::ALL.map(|kind| totals(*group, kind)),
                ..Figures::default()
            };
            (*group, figures)
        };
        let mut all: Vec<_> = self.wanted.iter().map(figures).collect();
        for tid in self.threads.keys() {
            let Some(value) = self.threads.lookup(&tid, MapFlags::ANY)? else {
                continue;
            };
            let Some((thread, _)) = read::<types::thread_state>(&value) else {
                bail!("the kernel keeps {} bytes of a thread", value.len());
            };
            if thread.since == 0 {
                continue;
            }
            let of_thread = |(group, _): &&mut (Group, _)| *group as u32 == thread.group;
            let Some((_, figures)) = all.iter_mut().find(of_thread) else {
                continue;
            };
            figures.threads += 1;
            let running = now.saturating_sub(thread.since);
            let in_run = thread.kind == Kind::Run as u32;
            if in_run && (running < LONG || self.lives(&tid, thread.group)) {
                figures.running = figures.running.max(running);
            }
            for kind in Kind::ALL {
                let i = kind as usize;
                let totals = &mut figures.kinds[i];
                totals.count += thread.count[i];
                totals.lines += thread.lines[i];
                totals.sum += thread.sum[i];
                totals.min = totals.min.min(thread.min[i]);
                totals.max = totals.max.max(thread.max[i]);
            }
        }
        Ok(all)
    }
}
