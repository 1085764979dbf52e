//! Tracing a running ovs-vswitchd.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::bail;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, OpenObject};
use ovs_tracers::bpf::bridge_loop::{BridgeLoopSkel, BridgeLoopSkelBuilder, types};
use ovs_tracers::bpf::record::read;
use ovs_tracers::bridge_loop::Kind;
use ovs_tracers::bridge_loop::figures::{Figures, Totals};
use ovs_tracers::bridge_loop::probes::TOOL;
use ovs_tracers::run::loss::{RING_FULL, Reason, SKIPPED};
use ovs_tracers::run::session::{self, Live, Session, Settings, Step};
use ovs_tracers::run::sink::Sink;
use ovs_tracers::show::histogram::{BUCKETS, Histogram};
use ovs_tracers::show::message::{StatusLine, cause, note};
use ovs_tracers::trace::attach::{explain_load, thread_clock};
use ovs_tracers::trace::plan::{Attached, Plan, storage};
use ovs_tracers::trace::ring::{self, RingState, shared};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, libbpf_log, privilege};
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

use crate::args::{Args, DEFAULT_RING};
use crate::report::{self, Report};

/// How far past the threshold a stack may be taken, as the CPU time of the thread.
const STACK_PERIOD: Duration = Duration::from_millis(1);

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
    let groups = |source| TOOL.groups(source).to_vec();
    let mut plan = Plan::new(args.trace.source.asked(), groups, &targets, None)?;
    let until = Until::new(args.trace.duration)?;
    let mut storage = storage();
    let (mut skel, mut attached) = plan.load(&mut storage, args.trace.verbose, |plan, room| {
        load(args, plan, room)
    })?;
    if args.stack {
        // The main loop's thread is the one that has the process's id.
        match thread_clock(pid, STACK_PERIOD) {
            Ok(clock) => {
                // The link closes it.
                let link = skel.progs.take_stack.attach_perf_event(clock.into_raw_fd());
                attached.links.push(link?);
            }
            Err(error) => note(format_args!(
                "warning: no clock to sample the daemon with ({}); stacks are those at the end of a run",
                cause(&error)
            )),
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
    let begun = Instant::now();
    shared(std::slice::from_mut(&mut bss.attached))[0].store(monotonic(), Relaxed);

    let settings = Settings {
        count: None,
        interval: args.summary.interval,
        reasons: LOST,
        status: StatusLine::new(false),
    };
    let start = session::start_of(TOOL.name, &targets);
    let mut session = Session::new(settings, &start, None)?;
    let report = Report::new(args, &start, pid)?;
    let mut report = Sink::new("standard output", Some(report));
    let done = &shared(std::slice::from_mut(&mut bss.done))[0];
    let counts = Counts {
        threads: &skel.maps.threads,
        buckets: shared(bss.buckets.as_flattened_mut()),
        linear: shared(bss.linear.as_flattened_mut()),
    };
    // What had been counted when the interval began.
    let mut before = counts.figures()?;
    let (mut shown, mut records, mut was_done) = (0u64, 0u64, false);
    let live = Live {
        ring: &skel.maps.ring,
        state: RingState::new(&mut bss.ring_sleeping, &mut bss.lost),
        until: &until,
        targets: &targets,
        attached,
        keep: Some(keep),
    };
    session.live(live, |session, step| match step {
        Step::Record(record) => {
            records += 1;
            report.write(&mut session.failure, |report| {
                shown += u64::from(report.line(record)?);
                Ok(())
            })
        }
        Step::Interval(elapsed) => match counts.figures() {
            Ok(now) => {
                let figures = now.since(&before);
                before = now;
                report.write(&mut session.failure, |report| {
                    report.interval(&figures, elapsed)
                })
            }
            Err(error) => {
                session.failure.set(error);
                ControlFlow::Break(())
            }
        },
        Step::Pause => {
            // What the last run sent is in the ring before the flag is set: the pause after that has it all.
            if was_done && records == 0 {
                return ControlFlow::Break(());
            }
            was_done = done.load(Relaxed) != 0;
            records = 0;
            report.write(&mut session.failure, Report::flush)
        }
        Step::Lost(_) | Step::Ports => ControlFlow::Continue(()),
    });
    let figures = counts.figures()?;
    let elapsed = if was_done {
        // What came after the last run that counts is not part of it.
        Duration::from_nanos(figures.timed() / figures.threads.max(1))
    } else {
        begun.elapsed()
    };
    let lost = session.lost().clone();
    report.complete(&mut session.failure, |report| {
        report.finish(&figures, elapsed, shown, &lost)
    });
    report::end(&figures, shown, &lost);
    session.finish()
}

fn load<'obj>(
    args: &Args,
    plan: &Plan,
    room: &'obj mut MaybeUninit<OpenObject>,
) -> Result<(BridgeLoopSkel<'obj>, Attached), trace::Error> {
    let ring_bytes = args.trace.ring_bytes(DEFAULT_RING);
    let explain = |error| explain_load(error, ring_bytes);
    let builder = BridgeLoopSkelBuilder::default();
    let mut open = builder.open(room).map_err(explain)?;
    let stack: &[&str] = if args.stack { &["take_stack"] } else { &[] };
    plan.select(open.open_object_mut(), stack);
    ring::resize(&mut open.maps.ring, ring_bytes)?;
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
    rodata.targ_wake_at = ring_bytes as u64 / 4;
    let skel = open.load().map_err(explain)?;
    let attached = plan.attach(skel.object())?;
    Ok((skel, attached))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned()
}

/// What the kernel counts.
struct Counts<'a, M> {
    threads: &'a M,
    buckets: &'a [AtomicU64],
    linear: &'a [AtomicU64],
}

impl<M: MapCore> Counts<'_, M> {
    fn figures(&self) -> anyhow::Result<Figures> {
        let load = |counts: &[AtomicU64]| -> Vec<u64> {
            counts.iter().map(|count| count.load(Relaxed)).collect()
        };
        let buckets = self.buckets.chunks(BUCKETS);
        let linear = self.linear.chunks(self.linear.len() / Kind::ALL.len());
        let mut kinds = buckets.zip(linear).map(|(buckets, linear)| Totals {
            histogram: Histogram::new(load(buckets)),
            linear: load(linear),
            ..Totals::default()
        });
        let mut figures = Figures {
            kinds: Kind::ALL.map(|_| kinds.next().unwrap_or_default()),
            ..Figures::default()
        };
        let now = monotonic();
        for tid in self.threads.keys() {
            let Some(value) = self.threads.lookup(&tid, MapFlags::ANY)? else {
                continue;
            };
            let Some((thread, _)) = read::<types::thread_state>(&value) else {
                bail!("the kernel keeps {} bytes of a thread", value.len());
            };
            figures.threads += 1;
            if thread.kind == Kind::Run as u32 {
                figures.running = figures.running.max(now.saturating_sub(thread.since));
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
        Ok(figures)
    }
}
