//! What bridge-loop shows: the runs of ovs-vswitchd's main loop and its waits, as records, figures, lines and JSON.

mod code;
pub mod figures;
pub mod held;
pub mod json;
pub mod kernel_stack;
pub mod probes;
pub mod record;
pub mod stack;
pub mod syscall;
pub mod text;
pub mod unwind;

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

/// Threads of ovs-vswitchd that loop: `enum thread_group` of bpf/bridge_loop.h, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The main thread.
    Main,
    /// Threads that receive upcalls.
    Handler,
    /// Threads that look after the flows of the datapath.
    Revalidator,
    /// All that have another name.
    Other,
}

impl Group {
    pub const ALL: [Self; 4] = [Self::Main, Self::Handler, Self::Revalidator, Self::Other];

    /// As `--threads` and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Handler => "handler",
            Self::Revalidator => "revalidator",
            Self::Other => "other",
        }
    }

    /// The heading of their figures.
    pub fn title(self) -> &'static str {
        match self {
            Self::Main => "main thread",
            Self::Handler => "handlers",
            Self::Revalidator => "revalidators",
            Self::Other => "other threads",
        }
    }

    /// The group of a thread with this name, which is not the main thread.
    pub fn of(name: &str) -> Self {
        match name {
            name if name.starts_with("handler") => Self::Handler,
            name if name.starts_with("revalidator") => Self::Revalidator,
            _ => Self::Other,
        }
    }
}
