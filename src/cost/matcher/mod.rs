//! Puts the events of each upcall together, in one pass and in memory bounded by what is in flight.
//!
//! An upcall has up to five events, each a [`Kind`]: the kernel sends it up (the kernel upcall), a handler thread of
//! the daemon takes it from its socket (the receive), prepares requests to install a flow (the put) and to execute
//! actions on the packet (the execute), and the kernel begins to execute them (the kernel execution).
//!
//! * A kernel upcall and a receive belong together if the address of the message is known of both and is the same.
//!   The kernel as the source of all events knows it, except where one of the events was lost.
//! * Otherwise they belong together if datapath, port, type, size and the bytes that were captured of
//!   both are equal. Of several equal kernel upcalls the matcher prefers those whose socket no other thread is known to
//!   read, and of these the oldest.
//! * A put, an execute and a kernel execution belong to what their own thread received. The thread receives a batch of
//!   upcalls in a row, and then handles them in that order.
//! * A put belongs to the upcall whose flow key it has or, if the put has no key, to the next in order. An execute
//!   belongs to the next upcall with its packet, and a kernel execution to the oldest execute without one or, where it
//!   is known when the kernel began with the request of each, to the execute of that request.
//!
//! The events that remain alone are counted by [`Reason`]. [`MAX_AGE`], [`MAX_WAITING`] and [`MAX_BYTES`] bound the
//! upcalls in flight, and [`MAX_HELD`] bounds the batches of all threads together.

mod batch;
mod class;
mod entry;
mod flight;
mod found;
mod same;
mod waiting;

pub use flight::{MAX_AGE, MAX_BYTES, MAX_WAITING};
pub use found::{Found, Reason, Request, Set};

use std::collections::{BTreeMap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use batch::Thread;
use flight::Flight;
use found::Unmatched;

use super::event::{Event, Kind};

/// How many bytes the batches of all threads may have. When they have more, all batches are ended.
pub const MAX_HELD: usize = 32 << 20;
/// How many receives may be waiting for a kernel upcall whose event comes after theirs.
const MAX_EARLY: usize = 64;
/// How many threads may have a batch. When there is one more, all batches are ended.
const MAX_THREADS: usize = 4096;

/// A receive without a kernel upcall, whose event may be still to come.
struct Early {
    tid: u32,
    batch: u64,
    entry: usize,
    time: u64,
}

/// Puts the events of each upcall together, as the [module](self) says.
#[derive(Default)]
pub struct Matcher {
    flight: Flight,
    threads: HashMap<u32, Thread, RandomState>,
    early: VecDeque<Early>,
    unmatched: Unmatched,
    /// Failed upcalls by errno.
    failed: BTreeMap<i32, u64>,
    /// Requests of the daemon that failed, by kind and errno.
    failed_requests: BTreeMap<(Kind, i32), u64>,
    /// Bytes that are allocated for the batches of all threads.
    held: usize,
}

impl Matcher {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>, found: &mut impl FnMut(Found<'_>)) {
        match event.kind {
            Kind::DpUpcall => self.upcall(event),
            Kind::DpFailed => self.failure(event),
            Kind::DpQueued => self.flight.queue(event, &mut self.unmatched),
            Kind::RecvUpcall => self.receive(event, found),
            Kind::OpFlowPut | Kind::OpFlowExecute | Kind::OvsPktExec => self.operation(event),
        }
    }

    /// Ends all batches and gives up all upcalls in flight, as there are no more events.
    pub fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.close_all(found);
        self.flight.finish(&mut self.unmatched);
    }

    /// How many events belong to no set, by reason.
    pub fn unmatched(&self) -> impl Iterator<Item = (Kind, Reason, u64)> {
        self.unmatched.counts()
    }

    /// How many upcalls failed, by errno.
    pub fn failed(&self) -> impl Iterator<Item = (i32, u64)> {
        self.failed.iter().map(|(errno, count)| (*errno, *count))
    }

    /// The same for all errors.
    pub fn failed_in_all(&self) -> u64 {
        let counts = self.failed.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many requests of the daemon failed in the kernel, by kind and errno.
    pub fn failed_requests(&self) -> impl Iterator<Item = (Kind, i32, u64)> {
        let failed = self.failed_requests.iter();
        failed.map(|((kind, errno), count)| (*kind, *errno, *count))
    }

    fn upcall(&mut self, event: &Event<'_>) {
        self.flight.evict(event.time, &mut self.unmatched);
        match self.received_early(event) {
            Some(Early { tid, entry, .. }) => {
                if let Some(thread) = self.threads.get_mut(&tid) {
                    thread.set_upcall(entry, event);
                }
            }
            None => self.flight.insert(event),
        }
    }

    /// The receive of a kernel upcall, if its event came first.
    fn received_early(&mut self, event: &Event<'_>) -> Option<Early> {
        while self
            .early
            .front()
            .is_some_and(|early| early.time < event.time)
        {
            self.early.pop_front();
        }
        let position = self.early.iter().position(|early| {
            let thread = self.threads.get(&early.tid);
            thread.is_some_and(|thread| thread.has(early.batch, early.entry, event))
        })?;
        self.early.remove(position)
    }

    fn failure(&mut self, event: &Event<'_>) {
        let errno = event.result.saturating_neg();
        *self.failed.entry(errno).or_default() += 1;
        self.flight.fail(event, &mut self.unmatched);
    }

    fn receive(&mut self, event: &Event<'_>, found: &mut impl FnMut(Found<'_>)) {
        let upcall = self.flight.take(event, &mut self.unmatched);
        let many = self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&event.tid);
        if many || self.held > MAX_HELD {
            self.close_all(found);
        }
        let thread = self
            .threads
            .entry(event.tid)
            .or_insert_with(|| Thread::new(event.tid, event.comm));
        if thread.is_complete() {
            thread.close(&mut self.unmatched, found);
        }
        // Where the address of a message is known, its upcall cannot come after it.
        if upcall.is_none() && event.message == 0 {
            if self.early.len() == MAX_EARLY {
                self.early.pop_front();
            }
            let (batch, entry) = thread.place();
            self.early.push_back(Early {
                tid: event.tid,
                batch,
                entry,
                time: event.time,
            });
        }
        self.held += thread.receive(event, upcall);
    }

    fn operation(&mut self, event: &Event<'_>) {
        if let Some(error) = Request::of(event).and_then(|request| request.error) {
            *self.failed_requests.entry((event.kind, error)).or_default() += 1;
        }
        let reason = match (self.threads.get_mut(&event.tid), event.kind) {
            (Some(thread), _) => return thread.operate(event, &mut self.unmatched),
            (None, Kind::OvsPktExec) => Reason::NoExecute,
            (None, _) => Reason::NoBatch,
        };
        self.unmatched.add(event.kind, reason, 1);
    }

    /// Ends all batches.
    fn close_all(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let mut threads: Vec<Thread> = self.threads.drain().map(|(_, thread)| thread).collect();
        threads.sort_unstable_by_key(Thread::tid);
        for thread in &mut threads {
            thread.close(&mut self.unmatched, found);
        }
        self.early.clear();
        self.held = 0;
    }
}
