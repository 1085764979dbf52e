//! The ring buffer by which the BPF programs hand out their records.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use libbpf_rs::{ErrorKind, MapCore, OpenMapMut, RingBufferBuilder};

use super::Error;
use super::plan::Attached;
use super::target::Target;
use super::until::{End, Until};

/// How often the ring is drained. The traced thread wakes nobody: see `bpf/ring.bpf.h`.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// Records between two looks at the signals, the clock and the target.
const BATCH: usize = 4096;

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

/// What a ring hands out.
pub enum Delivery<'a> {
    /// The ring is mapped. Before Linux 5.19 that took CAP_BPF, which is not needed from here on.
    Ready,
    /// Records may follow. Whatever they are shown with, names for example, is to be brought up to date now.
    Wake,
    Record(&'a [u8]),
    /// No record waits, or a batch is done. `lost` counts all that was lost so far, by reason.
    Pause {
        lost: &'a [u64],
    },
}

/// Hands the records of `ring` to `deliver` until something ends it; then detaches the programs and hands out the
/// records that are still in the ring.
///
/// If `deliver` ended it, these pending records are only counted: the second result is how many they were.
pub fn drain(
    ring: &dyn MapCore,
    state: &RingState<'_>,
    until: &Until,
    targets: &[&Target],
    attached: Attached,
    deliver: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
) -> Result<(End, u64), Error> {
    const STOP: i32 = -1;
    let deliver = RefCell::new(deliver);
    // Set when `deliver` has enough; then records are counted and not delivered.
    let enough = Cell::new(false);
    let pending = Cell::new(0);
    let mut builder = RingBufferBuilder::new();
    let buffer = builder
        .add(ring, |record: &[u8]| {
            if enough.get() {
                pending.set(pending.get() + 1);
                return 0;
            }
            match deliver.borrow_mut()(Delivery::Record(record)) {
                ControlFlow::Continue(()) => 0,
                ControlFlow::Break(()) => {
                    enough.set(true);
                    STOP
                }
            }
        })
        .map(|_| ())
        .and_then(|()| builder.build())
        .map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => Error::RingSize(ring.max_entries() as usize),
            _ => Error::Ring(io::Error::other(error)),
        })?;
    // SAFETY: the descriptor belongs to `buffer`, which outlives this borrow of it.
    let ring_fd = unsafe { BorrowedFd::borrow_raw(buffer.epoll_fd()) };

    let mut targets = targets.to_vec();
    let mut lost = vec![0; state.lost.len()];
    // Returns how many records there were.
    let mut consume = || -> Result<usize, Error> {
        let wake = deliver.borrow_mut()(Delivery::Wake);
        enough.set(enough.get() || wake.is_break());
        let consumed = buffer.consume_raw_n(BATCH);
        if consumed < 0 && consumed != STOP {
            return Err(Error::Ring(io::Error::from_raw_os_error(-consumed)));
        }
        if let Some(skipped) = state.lost.last() {
            skipped.store(attached.programs.skipped(), Relaxed);
        }
        for (count, shared) in lost.iter_mut().zip(state.lost) {
            *count = shared.load(Relaxed);
        }
        let pause = deliver.borrow_mut()(Delivery::Pause { lost: &lost });
        enough.set(enough.get() || pause.is_break());
        // If `deliver` stopped in between, there was at least one.
        Ok(usize::try_from(consumed).unwrap_or(1))
    };

    let ready = deliver.borrow_mut()(Delivery::Ready);
    enough.set(ready.is_break());
    let end = loop {
        let consumed = consume()?;
        if enough.get() {
            break End::Enough;
        }
        let mut interval = Duration::ZERO;
        if consumed < BATCH {
            // Records that came since wait for the next drain, or fill the ring and end the sleep.
            state.sleeping.store(1, Relaxed);
            interval = DRAIN_INTERVAL;
        }
        let end = until
            .wait(Some(ring_fd), &mut targets, interval)
            .map_err(Error::Ring)?;
        state.sleeping.store(0, Relaxed);
        if let Some(end) = end {
            break end;
        }
    };
    drop(attached.links);
    while consume()? > 0 {}
    Ok((end, pending.get()))
}
