//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::Section;

pub const SECTIONS: &[Section] = &[
    (
        "THE LINES",
        "\
The main loop of ovs-vswitchd looks after everything that has something to do, a run, and then sleeps in poll_block()
until there is more, a wait. Each has a line with the id and the name of the thread and its time as hours, minutes,
seconds and nanoseconds, in the form of bridge_loop.bt of Open vSwitch:

    - [3226@ovs-vswitchd] bridge run loop time  : 0:00:00.000209759
    - [3226@ovs-vswitchd] poll_block() wait time: 0:00:00.500578890

A thread's first line is of something that had begun before it was seen. That it took at least so long since tracing
began is said, and it is not counted.

--threshold and --only choose lines where they arise, in the kernel. Nothing but lines depends on them.",
    ),
    (
        "THE FIGURES",
        "\
At the end, two histograms as bpftrace prints them, of microseconds: a row for each power of two, or with --linear
bridge_loop.bt's rows of 1 ms for runs, up to 1 s, and of 30 ms for waits, up to 30 s, where a healthy loop of 100 us is
always in the first. Below them count, sum, mean, least, percentiles and greatest of each, the loops per second, and
busy, the share of runs in all that was timed.

The kernel counts, so that all of this is exact though lines are lost or not printed. Only percentiles are from buckets,
32 for each power of two of the time: they are at most 1.6 % off (times below 32 ns at most 1 ns). So are the percentiles
of --interval, and the greatest of an interval is at most 3.2 % too much.

With --interval there is a line that begins with \"=\" for each interval. If it ends with \"in a run\", the main loop has
been in one for over a second, which ovs-vswitchd's log will call an unreasonably long poll interval; only when it ends
it is counted.

With --format json each line is an object whose record is run, wait, interval or summary; times are in nanoseconds, a
histogram has the least time of a bucket, the first beyond it, and the count.",
    ),
    (
        "STACKS",
        "\
With --stack, a clock of the main thread ticks each millisecond of its CPU time. The first tick of a run past the
threshold keeps the stack, which is shown below the line when the run ends, innermost first. If there was none, since
the daemon waited for a disk, a lock or a CPU, the stack is that at the end of the run, and this is said. A run that was
past the threshold for less than a tick may have none either.

The kernel follows frame pointers. Of an Open vSwitch that was not compiled with -fno-omit-frame-pointer only the
innermost frame can be relied on; what leads out of the daemon's memory is left out. Names are from the
symbol tables of what the process has mapped; without a symbol, or when the process has exited, there is the address.",
    ),
    (
        "LOST LINES",
        "\
Lines reach bridge-loop through a ring buffer. What does not fit into it because bridge-loop does not keep up is counted
as a lost line. A warning tells of them at most once a second; at the end

    lines = shown + lost

and without --threshold and --only, lines = runs + waits + begun before.

1024 threads can be timed; probes of more are counted as such. ovs-vswitchd has one main loop.",
    ),
    (
        "OVERHEAD",
        "\
A run and its wait are two uprobes, of some 0.6 us each: ten loops a second are nothing, and a daemon that
loops 100,000 times a second spends an eighth of its time on being watched. A line costs the daemon some 100 ns more, and
nobody is woken for it: bridge-loop looks into the ring 50 times a second. With -q nothing is sent at all. --stack
adds a thousand interrupts for each second that the main thread computes.",
    ),
    (
        "LIMITS",
        "\
With --count, each thread stops being timed after N runs.

Linux 5.8 or later is needed; on x86-64 and aarch64.",
    ),
    (
        "PRIVILEGE",
        "\
root, or CAP_BPF and CAP_PERFMON to load and attach, CAP_SYS_PTRACE to look at the daemon's memory map, and
CAP_CHECKPOINT_RESTORE for a daemon whose binary was replaced since it started and for the names of --stack.

Once attached it gives them up for good, with no_new_privs set, but for CAP_BPF, which reading the counts takes before
Linux 5.19, and with --stack CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE.",
    ),
    (
        "EXIT STATUS",
        "\
0 when it was ended by a signal, --count, --duration, the end of the daemon or a reader that went away; 1 after an error;
2 if the command line makes no sense. That lines were lost does not change it.",
    ),
    (
        "EXAMPLES",
        "\
A line for every run and wait:

    bridge-loop

What is the daemon doing when its log complains of an unreasonably long poll interval?

    bridge-loop --threshold 500ms --only run --stack

How busy is it, second by second?

    bridge-loop -q --interval 1

The 99th percentile of a minute's runs:

    bridge-loop -q --duration 60 --format json | jq .run.p99_ns",
    ),
    (
        "SEE ALSO",
        "ovs-vswitchd(8), upcall-monitor(8), bpftrace(8)",
    ),
];
