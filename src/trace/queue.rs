//! Records between the thread that drains the ring and the one that shows them.
//!
//! The ring lasts a fraction of a second when probes fire as fast as they can. So a thread of its own empties it, and
//! what the tool cannot show yet waits here: a tool that is held up, by a disk or by other processes, loses nothing as
//! long as there is room.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// The bytes in which memory is taken, and in which records are handed over.
const SEGMENT: usize = 256 << 10;

/// Segments that are kept when they are empty. The rest goes back to the system.
const SPARE: usize = 8;

/// What stands before an entry: the length of a record, or this before counts of what was lost.
const PAUSE: u32 = u32::MAX;
const MARK: usize = size_of::<u32>();

/// What comes out of the queue, in the order in which it went in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    Record(&'a [u8]),
    /// The ring was emptied as far as at once.
    Pause(Pause),
}

/// What was so when the ring had been emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// When that was: nanoseconds of `CLOCK_MONOTONIC`, as events have them.
    pub time: u64,
    /// So much had been lost, by reason.
    pub lost: Vec<u64>,
    /// The wall clock less the clock of the events, in nanoseconds.
    pub clock: i64,
    /// Whether the queue was full since the pause before, so that the ring could not be emptied.
    pub queue_full: bool,
}

impl Pause {
    /// Whether nothing else is new than the time.
    pub fn is_like(&self, before: &Self) -> bool {
        self.lost == before.lost && self.clock == before.clock && !self.queue_full
    }
}

/// Entries that are taken out of the queue at once.
pub struct Segment(Vec<u8>);

impl Segment {
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (mark, after) = rest.split_first_chunk()?;
            let mark = u32::from_ne_bytes(*mark);
            let (entry, after) = if mark == PAUSE {
                let (time, after) = after.split_first_chunk()?;
                let (clock, after) = after.split_first_chunk()?;
                let (queue_full, after) = after.split_first()?;
                let (count, after) = after.split_first()?;
                let (counts, after) =
                    after.split_at_checked(usize::from(*count) * size_of::<u64>())?;
                let (counts, _) = counts.as_chunks();
                let counts = counts.iter().map(|count| u64::from_ne_bytes(*count));
                let pause = Pause {
                    time: u64::from_ne_bytes(*time),
                    lost: counts.collect(),
                    clock: i64::from_ne_bytes(*clock),
                    queue_full: *queue_full != 0,
                };
                (Entry::Pause(pause), after)
            } else {
                let (record, after) = after.split_at_checked(mark as usize)?;
                (Entry::Record(record), after)
            };
            rest = after;
            Some(entry)
        })
    }
}

/// A queue of bounded size, for one thread that fills it and one that empties it.
pub struct Queue {
    state: Mutex<State>,
    /// There is a segment, or there will be no more.
    filled: Condvar,
    /// How many segments may wait.
    limit: usize,
    /// Whoever empties the queue wants no more records.
    stopped: AtomicBool,
    /// Readable when there is room again, or when the queue was stopped.
    wake: OwnedFd,
}

#[derive(Default)]
struct State {
    segments: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// Whoever fills the queue waits for room.
    waits: bool,
    /// Nothing more will be put in.
    closed: bool,
}

impl Queue {
    /// An empty queue, which takes memory as it fills, up to `size` bytes.
    pub fn new(size: usize) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            limit: (size / SEGMENT).max(1),
            stopped: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// The state is whole at each unlock, so that a panic of the other thread does no harm to it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what waits, or waits for it. None if there will be no more.
    pub fn take(&self) -> Option<Segment> {
        let mut state = self.state();
        let segment = loop {
            match state.segments.pop_front() {
                Some(segment) => break segment,
                None if state.closed => return None,
                None => {
                    let woken = self.filled.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        if state.waits && state.segments.len() < self.limit {
            state.waits = false;
            self.wake();
        }
        Some(Segment(segment))
    }

    /// Takes back the memory of a segment.
    pub fn give_back(&self, Segment(mut segment): Segment) {
        segment.clear();
        let mut state = self.state();
        if state.spare.len() < SPARE && segment.capacity() == SEGMENT {
            state.spare.push(segment);
        }
    }

    /// No more records are wanted.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// What becomes readable when the queue was stopped, or when there is room after it was full.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn wake(&self) {
        // It fails if nobody has read it for 2^64 times.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// What puts records into a queue. When it is dropped, whoever empties the queue learns that there will be no more.
pub struct Filler<'a> {
    queue: &'a Queue,
    segment: Vec<u8>,
    pause: Pause,
    /// Whether the queue was full when that was last asked.
    waits: bool,
    /// Whether it was full since the last pause.
    was_full: bool,
}

impl<'a> Filler<'a> {
    pub fn new(queue: &'a Queue) -> Self {
        Self {
            queue,
            segment: Vec::with_capacity(SEGMENT),
            pause: Pause::default(),
            waits: false,
            was_full: false,
        }
    }

    pub fn queue(&self) -> &'a Queue {
        self.queue
    }

    /// Puts a record in, whether or not there is room. It breaks when there is no more.
    pub fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        let mut room = ControlFlow::Continue(());
        if !self.segment.is_empty() && self.segment.len() + MARK + record.len() > SEGMENT {
            room = self.push();
        }
        // The records of a ring are far shorter.
        let len = record.len().min(PAUSE as usize - 1);
        self.segment.extend((len as u32).to_ne_bytes());
        self.segment.extend(&record[..len]);
        room
    }

    /// The ring was emptied as far as at once. What was put in comes out from now on.
    pub fn pause(&mut self, pause: &Pause) {
        // Whoever is held up need not be told that nothing happened.
        if self.segment.is_empty()
            && !self.was_full
            && pause.is_like(&self.pause)
            && !self.queue.state().segments.is_empty()
        {
            return;
        }
        self.pause.clone_from(pause);
        let size = MARK + 2 * size_of::<u64>() + 2 + size_of_val(&pause.lost[..]);
        if self.segment.len() + size > SEGMENT {
            let _ = self.push();
        }
        self.segment.extend(PAUSE.to_ne_bytes());
        self.segment.extend(pause.time.to_ne_bytes());
        self.segment.extend(pause.clock.to_ne_bytes());
        self.segment.push(self.was_full.into());
        self.segment.push(pause.lost.len() as u8);
        for count in &pause.lost {
            self.segment.extend(count.to_ne_bytes());
        }
        self.was_full = false;
        self.publish();
    }

    /// What little it is goes into a segment that waits already, so that few records do not take much memory.
    fn publish(&mut self) {
        let mut state = self.queue.state();
        match state.segments.back_mut() {
            Some(last) if last.len() + self.segment.len() <= SEGMENT => {
                last.extend(&self.segment);
                self.segment.clear();
            }
            _ => {
                drop(state);
                let _ = self.push();
            }
        }
    }

    /// Hands over a segment. It breaks if the queue is full now.
    fn push(&mut self) -> ControlFlow<()> {
        let mut state = self.queue.state();
        let next = state.spare.pop();
        let segment = std::mem::replace(&mut self.segment, next.unwrap_or_default());
        state.segments.push_back(segment);
        let full = state.segments.len() >= self.queue.limit;
        drop(state);
        self.queue.filled.notify_one();
        self.segment.reserve_exact(SEGMENT);
        match full {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Whether the queue is full. If it is, [`Queue::wake_fd`] becomes readable when there is room.
    pub fn is_full(&mut self) -> bool {
        let mut state = self.queue.state();
        if self.waits && !state.waits {
            // It was woken.
            let _ = rustix::io::read(&self.queue.wake, &mut [0; size_of::<u64>()]);
        }
        self.waits = state.segments.len() >= self.queue.limit;
        state.waits = self.waits;
        self.was_full |= self.waits;
        self.waits
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// All that waits.
    fn all(queue: &Queue) -> (Vec<Vec<u8>>, Vec<Pause>) {
        let (mut records, mut pauses) = (Vec::new(), Vec::new());
        while let Some(segment) = queue.take() {
            for entry in segment.entries() {
                match entry {
                    Entry::Record(record) => records.push(record.to_vec()),
                    Entry::Pause(pause) => pauses.push(pause),
                }
            }
            queue.give_back(segment);
        }
        (records, pauses)
    }

    fn pause(lost: &[u64]) -> Pause {
        Pause {
            time: lost.iter().sum(),
            lost: lost.to_vec(),
            clock: -5 * lost.len() as i64,
            queue_full: false,
        }
    }

    fn record(i: usize) -> Vec<u8> {
        (0..i * 7 % 3000).map(|byte| (byte + i) as u8).collect()
    }

    /// Check that records of all lengths come out as they went in, one that is longer than a segment and an empty one
    /// among them, while another thread fills the queue.
    #[test]
    fn in_order() {
        let queue = Queue::new(64 << 20).expect("a queue");
        let filler = Filler::new(&queue);
        let mut expected: Vec<_> = (0..10_000).map(record).collect();
        expected.insert(5000, vec![7; SEGMENT + 1]);
        let (records, pauses) = thread::scope(|scope| {
            scope.spawn(|| {
                // It is dropped here, which is the end of the queue.
                let mut filler = filler;
                for (i, record) in expected.iter().enumerate() {
                    assert!(filler.record(record).is_continue());
                    if i % 1000 == 0 {
                        filler.pause(&pause(&[i as u64, 1]));
                    }
                }
                filler.pause(&pause(&[10_001, 1]));
            });
            all(&queue)
        });
        assert!(records == expected, "{} records", records.len());
        assert_eq!(pauses.last(), Some(&pause(&[10_001, 1])));
        assert!(pauses.contains(&pause(&[3000, 1])), "{pauses:?}");
    }

    /// Check that a queue says when it is full, keeps what it is given nonetheless, and wakes whoever fills it when there
    /// is room.
    #[test]
    fn full() {
        let queue = Queue::new(3 * SEGMENT).expect("a queue");
        let mut filler = Filler::new(&queue);
        let half = vec![1; SEGMENT / 2];
        let put = (0..100).take_while(|_| filler.record(&half).is_continue());
        assert_eq!(put.count(), 3);
        assert!(filler.is_full());
        assert!(!readable(&queue));
        filler.pause(&pause(&[]));
        let segment = queue.take().expect("a segment");
        assert!(!readable(&queue) && filler.is_full());
        queue.give_back(segment);
        while filler.is_full() {
            drop(queue.take());
        }
        assert!(!readable(&queue), "it was read");
        filler.pause(&pause(&[]));
        drop(filler);
        let (records, pauses) = all(&queue);
        assert_eq!(records.len(), 2);
        let full: Vec<bool> = pauses.iter().map(|pause| pause.queue_full).collect();
        assert_eq!(full, [true, true]);
    }

    /// Check that few records at a time share the memory of a segment, and that pauses without anything new take none.
    #[test]
    fn little_by_little() {
        let queue = Queue::new(2 * SEGMENT).expect("a queue");
        let mut filler = Filler::new(&queue);
        for _ in 0..1000 {
            let _ = filler.record(&[1; 100]);
            filler.pause(&pause(&[0]));
            for _ in 0..100 {
                filler.pause(&pause(&[0]));
            }
        }
        assert_eq!(queue.state().segments.len(), 1);
        filler.pause(&pause(&[1]));
        drop(filler);
        let (records, pauses) = all(&queue);
        assert_eq!((records.len(), pauses.len()), (1000, 1001));
        assert_eq!(pauses.last(), Some(&pause(&[1])));
    }

    /// Check that memory is used again, and that after a burst most of it is given back.
    #[test]
    fn memory() {
        let queue = Queue::new(64 << 20).expect("a queue");
        let mut filler = Filler::new(&queue);
        for _ in 0..100 {
            let _ = filler.record(&vec![0; SEGMENT - MARK]);
        }
        drop(filler);
        all(&queue);
        assert_eq!(queue.state().spare.len(), SPARE);
        let mut filler = Filler::new(&queue);
        filler.pause(&pause(&[]));
        assert_eq!(queue.state().spare.len(), SPARE - 1);
    }

    fn readable(queue: &Queue) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&queue.wake, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("a poll") == 1
    }
}
