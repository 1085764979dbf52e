//! Tracing a running ovs-vswitchd.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags};
use ovs_tracers::bpf::bridge_loop::{BridgeLoopSkelBuilder, types};
use ovs_tracers::bridge_loop::Kind;
use ovs_tracers::bridge_loop::figures::{Figures, Lost, Totals};
use ovs_tracers::cli::{cause, note};
use ovs_tracers::show::histogram::{BUCKETS, Histogram};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::tracer::{self, Delivery, End, RingState, Until};
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

use crate::args::{Args, DEFAULT_RING};
use crate::report::Report;

const PROVIDER: &str = "main";

/// At most one message a second tells of lost lines.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How far past the threshold a stack may be taken, as the CPU time of the thread.
const STACK_PERIOD: Duration = Duration::from_millis(1);

pub fn run(args: &Args) -> anyhow::Result<()> {
    tracer::with_libbpf_log(args.trace.verbose, || trace(args))
}

fn trace(args: &Args) -> anyhow::Result<()> {
    let target = Target::find(args.daemon.pid)?;
    let pid = target.pid();
    tracer::check_privilege()?;
    let starts = target.find_probe(PROVIDER, "run_start")?;
    let ends = target.find_probe(PROVIDER, "poll_block")?;

    let multi = tracer::has_uprobe_multi();
    let ring_bytes = args
        .trace
        .buffer_page_count
        .map_or(DEFAULT_RING, tracer::ring_size);
    let mut storage = MaybeUninit::uninit();
    let mut open = BridgeLoopSkelBuilder::default()
        .open(&mut storage)
        .map_err(|error| tracer::explain_load(error, ring_bytes))?;
    open.progs.run_start_multi.set_autoload(multi);
    open.progs.poll_block_multi.set_autoload(multi);
    open.progs.run_start.set_autoload(!multi);
    open.progs.poll_block.set_autoload(!multi);
    open.progs.take_stack.set_autoload(args.stack);
    open.maps
        .ring
        .set_max_entries(tracer::max_entries(ring_bytes)?)?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
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
    }
    let mut skel = open
        .load()
        .map_err(|error| tracer::explain_load(error, ring_bytes))?;
    let Some(bss) = skel.maps.bss_data.as_deref_mut() else {
        bail!("the BPF program has no variables to share");
    };

    let mut report = Report::new(args, pid)?;
    let until = Until::new(args.trace.duration)?;
    let (run_start, poll_block) = if multi {
        (&skel.progs.run_start_multi, &skel.progs.poll_block_multi)
    } else {
        (&skel.progs.run_start, &skel.progs.poll_block)
    };
    // The beginnings of runs are attached first and detached last: a poll_block whose run_start was missed would be
    // taken for the end of a run that had begun before.
    let mut links = Vec::new();
    for (program, probe) in [(run_start, &starts), (poll_block, &ends)] {
        for (object, probe) in probe {
            let sites: Vec<_> = probe.sites.iter().map(|site| (site.clone(), 0)).collect();
            let new = tracer::attach(program, multi, pid, object, &sites)?;
            links.splice(0..0, new);
        }
    }
    if args.stack {
        // The main loop's thread is the one that has the process's id.
        match tracer::thread_clock(pid, STACK_PERIOD) {
            Ok(clock) => {
                // The link closes it.
                let link = skel.progs.take_stack.attach_perf_event(clock.into_raw_fd());
                links.push(link?);
            }
            Err(error) => note(format_args!(
                "warning: no clock to sample the daemon with ({}); stacks are those at the end of a run",
                cause(&error)
            )),
        }
    }
    // The counts are in a map, into which only CAP_BPF let one look before Linux 5.19.
    let mut keep = CapabilitySet::BPF;
    if args.stack {
        // The names of a stack are looked up in the daemon's mappings as it comes.
        keep |= CapabilitySet::SYS_PTRACE | CapabilitySet::CHECKPOINT_RESTORE;
    }
    tracer::drop_privilege(keep);
    let begun = Instant::now();
    tracer::shared(std::slice::from_mut(&mut bss.attached))[0].store(monotonic(), Relaxed);
    note(format_args!(
        "attached to {PROVIDER}:run_start and {PROVIDER}:poll_block of process {pid}; Ctrl-C ends it"
    ));

    let state = RingState::new(&mut bss.ring_sleeping, &mut bss.lost);
    let done = &tracer::shared(std::slice::from_mut(&mut bss.done))[0];
    let counts = Counts {
        threads: &skel.maps.threads,
        buckets: tracer::shared(bss.buckets.as_flattened_mut()),
        linear: tracer::shared(bss.linear.as_flattened_mut()),
    };
    let mut told = None::<Instant>;
    let mut lost_now = Lost::default();
    // The end of the interval, and what had been counted at its beginning.
    let mut interval = args
        .summary
        .interval
        .map(|interval| (begun + interval, begun));
    let mut before = counts.figures()?;
    let mut failure = None;
    let (mut records, mut was_done) = (0u64, false);
    let (end, _) = tracer::drain(
        &skel.maps.ring,
        &state,
        &until,
        &[&target],
        links,
        &mut |delivery| match delivery {
            Delivery::Ready | Delivery::Wake => ControlFlow::Continue(()),
            Delivery::Record(record) => {
                records += 1;
                report.line(record)
            }
            Delivery::Pause { lost } => {
                lost_now = Lost::new(lost);
                if lost_now != report.reported()
                    && told.is_none_or(|told| told.elapsed() >= LOSS_INTERVAL)
                {
                    told = Some(Instant::now());
                    report.lost(lost_now);
                }
                if let Some(step) = args.summary.interval
                    && let Some((due, since)) = &mut interval
                    && Instant::now() >= *due
                {
                    match counts.figures() {
                        Ok(now) => {
                            report.interval(&now.since(&before), since.elapsed())?;
                            before = now;
                        }
                        Err(error) => {
                            failure = Some(error);
                            return ControlFlow::Break(());
                        }
                    }
                    *since = Instant::now();
                    // Never two at once, after we were stopped for long. The interval may be a nanosecond: no loop.
                    let late = since.saturating_duration_since(*due).as_nanos() % step.as_nanos();
                    *due = *since + step - Duration::from_nanos(late as u64);
                }
                // What the last run sent is in the ring before the flag is set: the pause after that has it all.
                if was_done && records == 0 {
                    return ControlFlow::Break(());
                }
                was_done = done.load(Relaxed) != 0;
                records = 0;
                report.flush()
            }
        },
    )?;
    if let Some(error) = failure {
        return Err(error);
    }
    report.lost(lost_now);
    if end == End::TargetExited {
        note(format_args!("process {pid} has exited"));
    }
    let figures = counts.figures()?;
    let elapsed = if was_done {
        // What came after the last run that counts is not part of it.
        Duration::from_nanos(figures.timed() / figures.threads.max(1))
    } else {
        begun.elapsed()
    };
    report.finish(&figures, elapsed)
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
            ensure!(
                value.len() >= size_of::<types::thread_state>(),
                "the kernel keeps {} bytes of a thread",
                value.len()
            );
            // SAFETY: thread_state is a C struct of integers, valid for any bytes, as many as there are at least; an
            // unaligned read needs no alignment.
            let thread = unsafe {
                value
                    .as_ptr()
                    .cast::<types::thread_state>()
                    .read_unaligned()
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
