//! What bridge-loop attaches to.

use crate::trace::kernel::Need;
use crate::trace::probes::{Group, Point, Tool, Usdt, Way, Without};
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
    "the main loop" bare: POLL_BLOCK => "poll_block", RUN_START => "run_start"
);

/// The system call that `poll()` of the C library makes: its function, and its tracepoints.
#[cfg(target_arch = "x86_64")]
const POLL: [&str; 3] = ["__x64_sys_poll", "sys_enter_poll", "sys_exit_poll"];
#[cfg(target_arch = "aarch64")]
const POLL: [&str; 3] = ["__arm64_sys_ppoll", "sys_enter_ppoll", "sys_exit_ppoll"];

/// The way that slows all system calls of the machine.
pub const TRACEPOINTS: &str = "tracepoints of system calls";

/// Runs and waits of any thread: its waits are calls of `poll()`, and a run is what lies between two.
// As with LOOP, the ends of waits are attached first and detached last.
pub static POLLS: Group = Group {
    what: "calls of poll()",
    ways: &[
        Way {
            name: "fentry",
            needs: &[Need::KernelBtf],
            points: &[
                Point::Kernel {
                    function: POLL[0],
                    program: "poll_fentry",
                },
                Point::Kernel {
                    function: "do_restart_poll",
                    program: "restart_fexit",
                },
                Point::Kernel {
                    function: POLL[0],
                    program: "poll_fexit",
                },
            ],
        },
        Way {
            name: "kprobes",
            needs: &[Need::Kprobes],
            points: &[
                Point::Kernel {
                    function: POLL[0],
                    program: "poll_kprobe",
                },
                Point::Kernel {
                    function: "poll_freewait",
                    program: "poll_done_kprobe",
                },
            ],
        },
        Way {
            name: TRACEPOINTS,
            needs: &[Need::Tracefs, Need::KernelBtf, Need::UserRegisters],
            points: &[
                Point::Kernel {
                    function: POLL[1],
                    program: "poll_enter_tp",
                },
                Point::Kernel {
                    function: "sys_exit_restart_syscall",
                    program: "restart_exit_tp",
                },
                Point::Kernel {
                    function: POLL[2],
                    program: "poll_exit_tp",
                },
            ],
        },
    ],
    without: Without::Error,
};

/// What held runs up.
pub static SWITCHES: Group = Group {
    what: "context switches",
    ways: &[Way {
        name: "tracepoint",
        needs: &[Need::KernelBtf],
        points: &[Point::Kernel {
            function: "sched_switch",
            program: "switched",
        }],
    }],
    without: Without::Warning("lines do not say what held a run up"),
};

pub static TOOL: Tool = Tool {
    name: "bridge-loop",
    usdt: &[&LOOP],
    kernel: &[&POLLS, &SWITCHES],
    datapath: false,
};
