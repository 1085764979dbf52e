//! Counts how the times of the stages change over a trace, in a grid of fixed size: when the trace becomes longer than
//! the grid, each two columns become one.

use super::matcher::Set;
use super::stage::{Stage, begin};

/// How many upcalls took how long for each of [`DRAWN`], and when.
pub struct Timeline {
    /// The time at which the first column begins, in nanoseconds.
    pub start: u64,
    /// The nanoseconds of a column.
    pub step: u64,
    /// How many upcalls there are, by stage, column and row.
    pub cells: Vec<[[u32; ROWS]; COLUMNS]>,
    /// The last column that is used.
    pub last: usize,
}

/// How many columns a timeline has.
pub const COLUMNS: usize = 240;
/// How many rows a timeline has: four for each power of two of nanoseconds from 2^[`FIRST_POWER`] on.
pub const ROWS: usize = 4 * 27;
pub const FIRST_POWER: u32 = 8;
/// The stages that have a timeline.
pub const DRAWN: [Stage; 9] = [
    Stage::Queue,
    Stage::Lookup,
    Stage::Batch,
    Stage::Execute,
    Stage::Total,
    Stage::Socket,
    Stage::Wait,
    Stage::KernelPut,
    Stage::KernelExecute,
];

/// Those of them that can be seen; `of_kernel` says that the kernel is the source.
pub fn drawn(of_kernel: bool) -> &'static [Stage] {
    &DRAWN[..if of_kernel { DRAWN.len() } else { 5 }]
}

/// The row of a time in nanoseconds.
fn row(ns: u64) -> usize {
    let Some(power) = ns.checked_ilog2().filter(|power| *power >= FIRST_POWER) else {
        return 0;
    };
    let quarter = ns >> (power - 2) & 3;
    ((power - FIRST_POWER) as usize * 4 + quarter as usize).min(ROWS - 1)
}

/// The least time of a row, in nanoseconds.
pub fn row_start(row: usize) -> f64 {
    let power = FIRST_POWER + (row / 4) as u32;
    (1u64 << power) as f64 * (1.0 + (row % 4) as f64 / 4.0)
}

impl Timeline {
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            step: 1_000,
            cells: vec![[[0; ROWS]; COLUMNS]; DRAWN.len()],
            last: 0,
        }
    }

    pub(super) fn add(&mut self, set: &Set<'_>) {
        // A set may begin a little before the first one that was counted; it belongs to the first column.
        let after = begin(set).saturating_sub(self.start);
        while after / self.step >= COLUMNS as u64 {
            self.halve();
        }
        let column = (after / self.step) as usize;
        self.last = self.last.max(column);
        for (cells, stage) in self.cells.iter_mut().zip(DRAWN) {
            if let Some(ns) = stage.of(set) {
                let cell = &mut cells[column][row(ns)];
                *cell = cell.saturating_add(1);
            }
        }
    }

    /// Makes each two columns one.
    fn halve(&mut self) {
        self.step = self.step.saturating_mul(2);
        // The columns after the last used one are empty.
        let used = self.last + 1;
        for cells in &mut self.cells {
            for column in 0..used {
                let pair = [2 * column, 2 * column + 1];
                let mut sum = [0u32; ROWS];
                for half in pair.into_iter().filter(|half| *half < used) {
                    for (sum, cell) in sum.iter_mut().zip(cells[half]) {
                        *sum = sum.saturating_add(cell);
                    }
                }
                cells[column] = sum;
            }
        }
        self.last /= 2;
    }
}
