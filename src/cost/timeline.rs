//! The course of the times over a trace, in a grid whose size does not grow with it.

use super::matcher::Set;
use super::stage::{Stage, begin};

/// The course of each of [`Stage::PARTS`] and of [`Stage::Total`] over time, for a picture.
pub struct Timeline {
    /// Time of the first column.
    pub start: u64,
    /// Nanoseconds of a column.
    pub step: u64,
    /// By stage, column and row: how many upcalls.
    pub cells: Vec<[[u32; ROWS]; COLUMNS]>,
    /// The last column that is used.
    pub last: usize,
}

pub const COLUMNS: usize = 240;
/// Rows of a timeline, four for each power of two of nanoseconds from 2^[`FIRST_POWER`] on.
pub const ROWS: usize = 4 * 27;
pub const FIRST_POWER: u32 = 8;
pub const DRAWN: [Stage; 5] = [
    Stage::Queue,
    Stage::Lookup,
    Stage::Batch,
    Stage::Execute,
    Stage::Total,
];

/// The row of a time.
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
        // What is a little older than the first belongs to it.
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

    /// Makes two columns one.
    fn halve(&mut self) {
        self.step = self.step.saturating_mul(2);
        // Behind the last that is used there is nothing to add.
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
