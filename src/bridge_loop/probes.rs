//! What bridge-loop attaches to.

use crate::trace::probes::{Group, Tool, Usdt};
use crate::usdt_group;

/// `vswitchd/ovs-vswitchd.c` of Open vSwitch: a run of the main loop begins.
pub static RUN_START: Usdt = Usdt {
    provider: "main",
    name: "run_start",
    args: 0,
    pointers: &[],
    fetched: &[],
};

/// The same file: a run ends, and the main loop goes to sleep.
pub static POLL_BLOCK: Usdt = Usdt {
    name: "poll_block",
    ..RUN_START
};

/// Runs of the main loop, and the waits between them.
// In this order the beginnings of runs are attached first and detached last: the program would take a poll_block whose
// run_start it missed for the end of a run that had begun before.
pub static LOOP: Group = usdt_group!(
    "the main loop": POLL_BLOCK => "poll_block", RUN_START => "run_start"
);

pub static TOOL: Tool = Tool {
    name: "bridge-loop",
    usdt: &[&LOOP],
    kernel: &[],
    datapath: false,
};
