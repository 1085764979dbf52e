//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("THE LINES", LINES),
        Section::new("THE FIGURES", FIGURES),
        Section::new("STACKS", STACKS),
        manual::json("bridge-loop", JSON),
        manual::lost("LOST LINES", "bridge-loop", "lines", LOST),
        Section::new("OVERHEAD", OVERHEAD),
        manual::times(),
        manual::limits(
            "\
With --count, each thread stops being timed after N runs.",
            "",
        ),
        manual::privilege(
            " and for the names of --stack",
            "\
Once attached it gives them up for good, with no_new_privs set, but for CAP_BPF, which reading the counts takes before
Linux 5.19, and with --stack CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE.",
        ),
        manual::exit_status("--count, --duration", "lines"),
        Section::new("EXAMPLES", EXAMPLES),
        Section::new(
            "SEE ALSO",
            "upcall-monitor(8), upcall-cost(8), dpif-ops(8), usdt-probes(8), ovs-vswitchd(8), bpftrace(8), jq(1)",
        ),
    ]
}

const LINES: &str = "\
The main loop of ovs-vswitchd looks after everything that has something to do, which is a run, and then sleeps in
poll_block() until there is more to do, which is a wait. Each has a line with the id and the name of the thread and its
time as hours, minutes, seconds and nanoseconds, in the form of bridge_loop.bt of Open vSwitch:

    - [3226@ovs-vswitchd] bridge run loop time  : 0:00:00.000209759
    - [3226@ovs-vswitchd] poll_block() wait time: 0:00:00.500578890

A thread's first line is that of a run or wait which had begun before tracing did. The line says that it took at least
the time since then, and it is not counted.

--threshold and --only choose lines in the kernel. They change nothing but the lines: everything is counted.";

const FIGURES: &str = "\
At the end there are two histograms of microseconds, as bpftrace prints them: a row for each power of two, or with
--linear bridge_loop.bt's rows of 1 ms for runs, up to 1 s, and of 30 ms for waits, up to 30 s. A healthy loop of 100 us
is always in the first of these. Below the histograms are the count, sum, mean, least, percentiles and greatest of each
kind, the loops per second, and busy, the share of runs in all that was timed.

The kernel counts, so that all of this is exact even if lines are lost or not printed. Only the percentiles come from
buckets, of which each power of two of the time has 32: they are at most 1.6 % off (times below 32 ns at most 1 ns). So
are the percentiles of --interval; the greatest of an interval is at most 3.2 % too high.

--interval prints a line that begins with \"=\" for each interval. If the line ends with \"in a run\", the main loop has
been in one for over a second, which ovs-vswitchd's log will call an unreasonably long poll interval. That run is
counted when it ends.";

const STACKS: &str = "\
With --stack, a clock of the main thread ticks each millisecond of its CPU time. The first tick of a run past the
threshold keeps the stack, which is shown below the line when the run ends, innermost frame first. If there was no tick,
because the daemon waited for a disk, a lock or a CPU, the stack is that at the end of the run, and the line says so. A
run that was past the threshold for less than a tick may have no stack at all.

The kernel follows frame pointers. If Open vSwitch was compiled without -fno-omit-frame-pointer, only the innermost
frame is reliable; frames outside the daemon's memory are not shown. Names come from the symbol tables of what the
process has mapped. An address is shown if there is no symbol for it, or if the process has exited.";

const JSON: &str = "\
The records are

    start     the tool, its version, machine, kernel and pid
    run       a run: end_ns (CLOCK_MONOTONIC), duration_ns, begun_before,
              pid, tid, comm; with --stack, stack_at (threshold, end) and
              stack, the frames
    wait      a wait, with the same fields
    interval  with --interval: seconds, loops_per_second, busy_percent,
              in_run_ns; run and wait, each with count, sum_ns, and if
              the count is not 0 min_ns, p50_ns, p90_ns, p99_ns, max_ns
    summary   last line, of the whole trace: the fields of an interval;
              begun_before, lines_shown, lines_lost, probes_not_counted;
              run_histogram_ns and wait_histogram_ns

A histogram is an array of its buckets that are not empty: the least time in the bucket, the first one beyond it (null
if the bucket has no end), and the count. Times are in nanoseconds.";

const LOST: &str = " At the end

    lines = shown + lost

and, without --threshold and --only, lines = runs + waits + begun before.

1024 threads can be timed; the probes of further ones are counted as such. ovs-vswitchd has one main loop.";

const OVERHEAD: &str = "\
A run and its wait are two uprobes, of some 0.6 us each. Ten loops a second cost nothing that can be measured; a daemon
that loops 100,000 times a second spends an eighth of its time on being watched. A line costs the daemon some 100 ns
more. It wakes nobody: bridge-loop looks into the ring 50 times a second. With -q nothing is sent at all. --stack adds a
thousand interrupts for each second that the main thread computes.";

const EXAMPLES: &str = "\
A line for every run and wait:

    bridge-loop

What is the daemon doing when its log complains of an unreasonably long poll interval?

    bridge-loop --threshold 500ms --only run --stack

How busy is it, second by second?

    bridge-loop -q --interval 1

The 99th percentile of a minute's runs:

    bridge-loop -q --duration 1m --format json |
        jq 'select(.record == \"summary\") | .run.p99_ns'";
