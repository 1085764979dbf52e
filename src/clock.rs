//! The wall clock of an event that the kernel stamped with its monotonic clock.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How often the wall clock is looked at, and by how much it must have moved to be followed: below that, the
/// difference is the noise of reading two clocks, and following it would put events out of order.
const INTERVAL: Duration = Duration::from_secs(1);
const TOLERANCE: u64 = 50_000;

/// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset: i64,
    checked: Instant,
}

impl WallClock {
    pub fn now() -> Self {
        Self {
            offset: measure(),
            checked: Instant::now(),
        }
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Looks at the clocks again, if it is time to. Returns whether the wall clock was set.
    pub fn follow(&mut self) -> bool {
        if self.checked.elapsed() < INTERVAL {
            return false;
        }
        let now = Self::now();
        let moved = now.offset.abs_diff(self.offset) > TOLERANCE;
        self.checked = now.checked;
        if moved {
            self.offset = now.offset;
        }
        moved
    }
}

/// The offset, from the tightest of a few pairs of readings.
fn measure() -> i64 {
    let read = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    let sample = || {
        let before = read(ClockId::Monotonic);
        let wall = read(ClockId::Realtime);
        let after = read(ClockId::Monotonic);
        (after - before, wall - (before + (after - before) / 2))
    };
    let best = (0..5).map(|_| sample()).min_by_key(|(width, _)| *width);
    best.map_or(0, |(_, offset)| offset)
}
