//! What bridge-loop attaches to.

use crate::trace::plan::{Group, Point, Tool, Usdt, Way, Without};

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
pub static LOOP: Group = Group {
    what: "the main loop",
    ways: &[Way {
        name: "usdt",
        needs: &[],
        // So that the beginnings of runs are attached first and detached last: the program would take a poll_block whose
        // run_start it missed for the end of a run that had begun before.
        points: &[
            Point::Usdt {
                probe: &POLL_BLOCK,
                program: "poll_block",
            },
            Point::Usdt {
                probe: &RUN_START,
                program: "run_start",
            },
        ],
    }],
    without: Without::Error,
};

pub static TOOL: Tool = Tool {
    name: "bridge-loop",
    groups: &[&LOOP],
    datapath: false,
};
