//! The ring buffer by which the BPF programs hand out their records.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libbpf_rs::{ErrorKind, MapCore, MapHandle, OpenMapMut, RingBufferBuilder};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;

use super::Error;
use super::clock::{WallClock, monotonic};
use super::kernel::kernel_version;
use super::plan::Attached;
use super::privilege::drop_privilege;
use super::queue::{Entry, Filler, Pause, Queue};
use super::target::Target;
use super::until::{End, Until};
use crate::show::message::{cause, note};

/// How often the ring is drained. The traced thread wakes nobody: see `bpf/ring.bpf.h`.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// Records between two looks at the signals, the clock and the target.
const BATCH: usize = 4096;

/// How often, and how long after one another, the last records are waited for.
const LAST_TRIES: usize = 100;
const LAST_INTERVAL: Duration = Duration::from_millis(1);

/// The nice value of the thread that empties the ring. It needs little time, but soon.
const HIGHEST_PRIORITY: i32 = -20;

/// The bytes of a ring of at least `pages` pages: a power of two of them, as the kernel demands.
pub fn ring_size(pages: u32) -> usize {
    (pages.max(1) as usize).next_power_of_two() * rustix::param::page_size()
}

/// Sets the size, in bytes, of the ring of an object that is not loaded yet.
///
/// # Errors
/// [`Error::RingSize`].
pub fn resize(ring: &mut OpenMapMut<'_>, ring_bytes: usize) -> Result<(), Error> {
    let refused = || Error::RingSize(ring_bytes);
    let max_entries = u32::try_from(ring_bytes).map_err(|_| refused())?;
    ring.set_max_entries(max_entries).map_err(|_| refused())
}

/// The variables of `bpf/ring.bpf.h`, which the program shares.
pub struct RingState<'a> {
    pub sleeping: &'a AtomicU64,
    pub lost: &'a [AtomicU64],
}

impl<'a> RingState<'a> {
    pub fn new(sleeping: &'a mut u64, lost: &'a mut [u64]) -> Self {
        Self {
            sleeping: &shared(std::slice::from_mut(sleeping))[0],
            lost: shared(lost),
        }
    }
}

/// Variables of a BPF program's `.bss`, which the kernel changes at any time.
pub fn shared(variables: &mut [u64]) -> &[AtomicU64] {
    // SAFETY: the layout is the same, and whoever writes them, here and in the kernel, does so atomically. The slice
    // was borrowed for as long as the result lives, so that nobody here sees them as plain numbers meanwhile.
    unsafe { std::slice::from_raw_parts(variables.as_mut_ptr().cast(), variables.len()) }
}

/// A live trace: what it is fed from, and what ends it.
pub struct Live<'a> {
    pub ring: MapHandle,
    pub state: RingState<'a>,
    pub until: &'a Until,
    /// A variable that is not 0 when the programs have sent all that they will.
    pub done: Option<&'a AtomicU64>,
    pub targets: &'a [Target],
    pub attached: Attached,
    /// The privileges that are still needed once everything is attached. If this is `None`, all are kept.
    pub keep: Option<CapabilitySet>,
    /// How many bytes of records may wait outside of the ring until they are shown.
    pub queue_size: usize,
}

/// What a ring hands out.
pub enum Delivery<'a> {
    /// The ring is mapped, and privileges that are not needed from here on were given up.
    Ready,
    /// Records may follow. Whatever they are shown with, names for example, is to be brought up to date now.
    Wake,
    Record(&'a [u8]),
    /// No record waits, or a batch is done.
    Pause(&'a Pause),
}

/// How draining ended.
pub struct Drained {
    pub end: End,
    /// When the programs were detached: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Records that came after the end that `deliver` made.
    pub pending: u64,
}

impl Live<'_> {
    /// Hands the records of the ring to `deliver` until something ends it; then detaches the programs and hands out the
    /// records that are still in the ring.
    ///
    /// If `deliver` ended it, these pending records are only counted.
    ///
    /// The ring is emptied by a thread of its own, so that it has room however long `deliver` takes.
    ///
    /// # Errors
    /// [`Error::RingSize`] if there is no memory to map the ring; [`Error::Ring`].
    pub fn drain(
        self,
        clock: WallClock,
        mut deliver: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<Drained, Error> {
        let queue = Queue::new(self.queue_size).map_err(Error::Ring)?;
        let filler = Filler::new(&queue);
        let (mapped, is_mapped) = mpsc::sync_channel(1);
        let keep = self.keep;
        thread::scope(|scope| {
            let drainer = thread::Builder::new()
                .name("drain".to_string())
                .spawn_scoped(scope, move || self.fill(filler, clock, mapped))
                .map_err(Error::Ring)?;
            // Also if `deliver` panics: the scope waits for the thread.
            let stop = Stop(&queue);
            let mut enough = false;
            let mut pending = 0;
            let mut last = Pause {
                clock: clock.offset(),
                ..Pause::default()
            };
            if is_mapped.recv().is_ok() {
                if let Err(error) = give_up(keep) {
                    note(format_args!(
                        "warning: failed to give up privileges: {}",
                        cause(&error.into())
                    ));
                }
                enough = deliver(Delivery::Ready).is_break();
            }
            while let Some(segment) = queue.take() {
                enough |= deliver(Delivery::Wake).is_break();
                let mut entries = segment.entries().peekable();
                while let Some(entry) = entries.next() {
                    match entry {
                        Entry::Record(_) if enough => pending += 1,
                        Entry::Record(record) => {
                            enough = deliver(Delivery::Record(record)).is_break();
                        }
                        // Who is held up has no time for pauses that say nothing.
                        Entry::Pause(pause) if entries.peek().is_some() && pause.is_like(&last) => {
                        }
                        Entry::Pause(pause) => {
                            last = pause;
                            enough |= deliver(Delivery::Pause(&last)).is_break();
                        }
                    }
                    if enough && !queue.is_stopped() {
                        queue.stop();
                    }
                }
                drop(entries);
                queue.give_back(segment);
            }
            drop(stop);
            let drained = drainer.join().unwrap_or_else(|panic| resume_unwind(panic));
            // What the programs count by themselves has come to its end only now.
            enough |= deliver(Delivery::Pause(&last)).is_break();
            let mut drained = drained?;
            drained.pending += pending;
            if enough {
                drained.end = End::Enough;
            }
            Ok(drained)
        })
    }

    /// Empties the ring into the queue until something ends the trace. The pending records are those that came after the
    /// queue was stopped.
    fn fill(
        self,
        filler: Filler<'_>,
        mut clock: WallClock,
        mapped: mpsc::SyncSender<()>,
    ) -> Result<Drained, Error> {
        // What stops the emptying: the queue is full.
        const FULL: i32 = -1;
        let queue = filler.queue();
        let filler = RefCell::new(filler);
        let pending = Cell::new(0);
        let mut builder = RingBufferBuilder::new();
        let buffer = builder
            .add(&self.ring, |record: &[u8]| {
                if queue.is_stopped() {
                    pending.set(pending.get() + 1);
                    return 0;
                }
                match filler.borrow_mut().record(record) {
                    ControlFlow::Continue(()) => 0,
                    ControlFlow::Break(()) => FULL,
                }
            })
            .map(|_| ())
            .and_then(|()| builder.build())
            .map_err(|error| match error.kind() {
                ErrorKind::OutOfMemory => Error::RingSize(self.ring.max_entries() as usize),
                _ => Error::Ring(io::Error::other(error)),
            })?;
        // Not the one of `buffer`, which stays readable as long as the ring is never found empty.
        let filled = epoll::create(CreateFlags::CLOEXEC)
            .and_then(|filled| {
                let events = EventFlags::IN | EventFlags::ET;
                epoll::add(&filled, self.ring.as_fd(), EventData::new_u64(0), events)?;
                Ok(filled)
            })
            .map_err(|error| Error::Ring(error.into()))?;

        let Attached {
            links, programs, ..
        } = self.attached;
        let mut pause = Pause {
            lost: vec![0; self.state.lost.len()],
            clock: clock.offset(),
            ..Pause::default()
        };
        // Returns how many records there were.
        let mut consume = || -> Result<usize, Error> {
            let consumed = buffer.consume_raw_n(BATCH);
            if consumed < 0 && consumed != FULL {
                return Err(Error::Ring(io::Error::from_raw_os_error(-consumed)));
            }
            if let Some(skipped) = self.state.lost.last() {
                skipped.store(programs.skipped(), Relaxed);
            }
            for (count, shared) in pause.lost.iter_mut().zip(self.state.lost) {
                *count = shared.load(Relaxed);
            }
            if clock.follow() {
                pause.clock = clock.offset();
            }
            pause.time = monotonic();
            filler.borrow_mut().pause(&pause);
            Ok(usize::try_from(consumed).unwrap_or(BATCH))
        };

        // Before the privilege for it is given up. Without it, the thread waits for its turn as others do.
        let _ = rustix::process::setpriority_process(None, HIGHEST_PRIORITY);
        // If that fails, it does in the other thread as well, which says so.
        let _ = give_up(self.keep);
        let _ = mapped.send(());
        let mut targets: Vec<&Target> = self.targets.iter().collect();
        let end = loop {
            let is_done = self.done.is_some_and(|done| done.load(Relaxed) != 0);
            let full = filler.borrow_mut().is_full();
            let consumed = if full { 0 } else { consume()? };
            if queue.is_stopped() || is_done && !full && consumed == 0 {
                break End::Enough;
            }
            let mut interval = Duration::ZERO;
            if consumed < BATCH {
                // Records that came since wait for the next drain, or fill the ring and end the sleep. If the queue is
                // full, the ring fills as well: there is nothing to wake for.
                self.state.sleeping.store((!full).into(), Relaxed);
                interval = DRAIN_INTERVAL;
            }
            let fds = [queue.wake_fd(), filled.as_fd()];
            let end = self
                .until
                .wait(&fds[..if full { 1 } else { 2 }], &mut targets, interval)
                .map_err(Error::Ring)?;
            self.state.sleeping.store(0, Relaxed);
            // The wake-up was heard.
            let mut event = [Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0),
            }];
            let _ = epoll::wait(&filled, &mut event[..], Some(&Timespec::default()));
            if let Some(end) = end {
                break end;
            }
        };
        drop(links);
        let time = monotonic();
        // However full the queue is: what is left is no more than the ring. A record that a program has not finished yet,
        // because its thread was preempted, hides those behind it.
        for _ in 0..LAST_TRIES {
            while consume()? > 0 {}
            let mut left = [PollFd::from_borrowed_fd(self.ring.as_fd(), PollFlags::IN)];
            match poll(&mut left, Some(&Timespec::default())) {
                Ok(1..) => thread::sleep(LAST_INTERVAL),
                _ => break,
            }
        }
        Ok(Drained {
            end,
            time,
            pending: pending.get(),
        })
    }
}

/// Gives up all privileges of this thread but `keep`.
fn give_up(keep: Option<CapabilitySet>) -> rustix::io::Result<()> {
    let Some(mut keep) = keep else {
        return Ok(());
    };
    if kernel_version() < (5, 19) {
        // Until then, asking how often a program was skipped took it.
        keep |= CapabilitySet::BPF;
    }
    drop_privilege(keep)
}

/// Stops a queue when it is dropped.
struct Stop<'a>(&'a Queue);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
