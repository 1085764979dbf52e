//! What bridge-loop shows: the runs of ovs-vswitchd's main loop and its waits, as records, figures, lines and JSON.

pub mod figures;
pub mod json;
pub mod record;
pub mod stack;
pub mod text;

use clap::ValueEnum;

/// What the main loop does: `enum interval_kind` of bpf/bridge_loop.h, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The loop looks after everything that has something to do
    Run,
    /// The loop sleeps until there is more to do
    Wait,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Run, Self::Wait];

    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Wait => "wait",
        }
    }
}
