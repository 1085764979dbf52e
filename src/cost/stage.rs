//! The stages of an upcall, and how long a set took for each.

use super::matcher::Set;

/// A stage of an upcall, or several of them together.
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
    /// The stages that `upcall_cost.py` has come first, in its order.
    pub const ALL: [Self; STAGES] = [
        Self::Queue,
        Self::Execute,
        Self::Overhead,
        Self::Total,
        Self::Lookup,
        Self::Batch,
    ];

    /// The stages that an upcall passes one after the other. Their sum is [`Stage::Total`].
    pub const PARTS: [Self; 4] = [Self::Queue, Self::Lookup, Self::Batch, Self::Execute];

    /// The title in the report, which is that of `upcall_cost.py` if it has the stage.
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

    /// The name in JSON.
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

    /// The nanoseconds that a set took for this stage, if both ends of the stage are known.
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

/// The nanoseconds from the first known event of a set to its last.
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

/// The time of the first known event of a set.
pub fn begin(set: &Set<'_>) -> u64 {
    set.upcall.unwrap_or(set.receive)
}
