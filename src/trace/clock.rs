//! The wall clock of an event that the kernel stamped with its monotonic clock.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, in nanoseconds.
pub fn monotonic() -> u64 {
    read(ClockId::Monotonic).cast_unsigned()
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// By how much the wall clock must have moved to be followed: below that, the difference is the noise of reading two
/// clocks, and following it would put events out of order.
const TOLERANCE: u64 = 50_000;

/// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset: i64,
}

impl WallClock {
    pub fn now() -> Self {
        Self { offset: measure() }
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Looks at the clocks again. Returns whether the wall clock was set, or the machine suspended, since.
    pub fn follow(&mut self) -> bool {
        let offset = measure();
        let moved = offset.abs_diff(self.offset) > TOLERANCE;
        if moved {
            self.offset = offset;
        }
        moved
    }
}

/// The offset, from the tightest of a few pairs of readings.
fn measure() -> i64 {
    let sample = || {
        let before = read(ClockId::Monotonic);
        let wall = read(ClockId::Realtime);
        let after = read(ClockId::Monotonic);
        (after - before, wall - (before + (after - before) / 2))
    };
    let best = (0..5).map(|_| sample()).min_by_key(|(width, _)| *width);
    best.map_or(0, |(_, offset)| offset)
}
