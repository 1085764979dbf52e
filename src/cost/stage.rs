//! The parts of an upcall's way, and how long a set took for each.

use super::matcher::Set;

/// A part of an upcall's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Kernel upcall to vswitchd receive.
    Queue,
    /// vswitchd execute to kernel receive.
    Execute,
    /// All but the time from the receive to the flow put.
    Overhead,
    /// Kernel upcall to kernel packet execute.
    Total,
    /// Receive to the next upcall of the batch, or to its first operation.
    Lookup,
    /// The rest of the batch: from the end of the lookup to the execute.
    Batch,
}

pub const STAGES: usize = 6;

impl Stage {
    /// Those of `upcall_cost.py` first, in its order.
    pub const ALL: [Self; STAGES] = [
        Self::Queue,
        Self::Execute,
        Self::Overhead,
        Self::Total,
        Self::Lookup,
        Self::Batch,
    ];

    /// Those that an upcall passes one after the other: their sum is [`Stage::Total`].
    pub const PARTS: [Self; 4] = [Self::Queue, Self::Lookup, Self::Batch, Self::Execute];

    /// The titles of `upcall_cost.py`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Queue => "Kernel upcall action to vswitchd receive",
            Self::Execute => "vswitchd execute to kernel receive",
            Self::Overhead => "Upcall overhead (total time minus lookup)",
            Self::Total => "Kernel upcall to kernel packet execute",
            Self::Lookup => "vswitchd lookup of the upcall itself",
            Self::Batch => "vswitchd rest of the batch, lookup to execute",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Execute => "execute",
            Self::Overhead => "overhead",
            Self::Total => "total",
            Self::Lookup => "lookup",
            Self::Batch => "batch",
        }
    }

    /// Nanoseconds that a set took for it, if it has its ends.
    pub fn of(self, set: &Set<'_>) -> Option<u64> {
        let between = |from: u64, to: u64| to.saturating_sub(from);
        match self {
            Self::Queue => Some(between(set.upcall?, set.receive)),
            Self::Execute => Some(between(set.execute?, set.kernel?)),
            Self::Overhead => {
                let lookup = between(set.receive, set.put?);
                Some(between(set.upcall?, set.kernel?).saturating_sub(lookup))
            }
            Self::Total => Some(between(set.upcall?, set.kernel?)),
            Self::Lookup => Some(between(set.receive, set.looked_up?)),
            Self::Batch => Some(between(set.looked_up?, set.execute?)),
        }
    }
}

/// Nanoseconds from the kernel's upcall, or from the receive if that is all that is known, to the last event of the set.
pub fn duration(set: &Set<'_>) -> u64 {
    let last = [
        Some(set.receive),
        set.looked_up,
        set.put,
        set.execute,
        set.kernel,
    ];
    let last = last.into_iter().flatten().max().unwrap_or(set.receive);
    last.saturating_sub(begin(set))
}

/// The first that is known of a set.
pub fn begin(set: &Set<'_>) -> u64 {
    set.upcall.unwrap_or(set.receive)
}
