//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("SOURCES", SOURCES),
        Section::new("THE LINES", LINES),
        Section::new("THE FIGURES", FIGURES),
        Section::new("WHAT HELD A RUN UP", HELD),
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
            " and for the names of --stack, and CAP_SYSLOG for the names of the kernel's functions",
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

const SOURCES: &str = "\
With the probes main:run_start and main:poll_block as the source, a run is what lies between them. With the kernel as
the source, which any ovs-vswitchd has, a wait is a call of poll(), and a run is what lies between two. For the main
loop both are the same, but for the few microseconds between a probe and the system call.

What the kernel shows is the poll interval of ovs-vswitchd's own log: \"Unreasonably long 1523ms poll interval (12ms
user, 3ms system)\" is a run of the thread that the message comes from, which may be a handler or a revalidator as well
as the main loop. --threads chooses them, by the names that ovs-vswitchd gives its threads:

    main         the main loop, the only one that has probes
    handler      handler1 and so on, which receive upcalls
    revalidator  revalidator2 and so on, which look after flows
    all          these, and what else calls poll()

A poll() that a signal interrupts goes on, as it does for ovs-vswitchd. Its looks at a latch or a socket, a poll() of
one descriptor that does not wait, end no run. In one case the sources differ: if the main loop waits within a run for
other threads of the daemon, to pause the revalidators for example, it does so in poll(). For the kernel, and for the
log, each such poll() is a wait that divides the run; for the probes it is a part of it.

There are three ways to see poll(), and the first that the kernel has is taken; the line that begins with \"attached\"
names it if it is not the first:

    fentry       needs type information (BTF)
    kprobes      on poll() and poll_freewait(); without type
                 information a signal divides a wait
    tracepoints  of system calls, needs tracefs and type
                 information; slows every system call of the machine";

const LINES: &str = "\
The main loop of ovs-vswitchd looks after everything that has something to do, which is a run, and then sleeps in
poll_block() until there is more to do, which is a wait. Each has a line with the id and the name of the thread and its
time as hours, minutes, seconds and nanoseconds, in the form of bridge_loop.bt of Open vSwitch:

    - [3226@ovs-vswitchd] bridge run loop time  : 0:00:00.000209759
    - [3226@ovs-vswitchd] poll_block() wait time: 0:00:00.500578890

A thread's first line is that of a run or wait which had begun before tracing did. The line says that it took at least
the time since then, and it is not counted.

--threshold and --only choose lines in the kernel. They change nothing but the lines: everything is counted.

The run of a thread that is not the main one is called thread run time.";

const FIGURES: &str = "\
At the end there are two histograms of microseconds, as bpftrace prints them: a row for each power of two, or with
--linear bridge_loop.bt's rows of 1 ms for runs, up to 1 s, and of 30 ms for waits, up to 30 s. A healthy loop of 100 us
is always in the first of these. Below the histograms are the count, sum, mean, least, percentiles and greatest of each
kind, the loops per second, and busy, the share of runs in all that was timed.

The kernel counts, so that all of this is exact even if lines are lost or not printed. Only the percentiles come from
buckets, of which each power of two of the time has 32: they are at most 1.6 % off (times below 32 ns at most 1 ns). So
are the percentiles of --interval; the greatest of an interval is at most 3.2 % too high.

With --threads, each group of threads has its own figures, which are sums over its threads.

--interval prints a line that begins with \"=\" and the time, seconds of CLOCK_MONOTONIC, for each interval and each
group. If the line ends with \"in a run\", the main loop has been in one for over a second, which ovs-vswitchd's log will
call an unreasonably long poll interval. That run is counted when it ends.";

const HELD: &str = "\
With the kernel as the source and a --threshold, the line of a run is followed by where its time went, and if it was
blocked, by the longest time that it was so without a break:

    - [3226@ovs-vswitchd] bridge run loop time  : 0:00:01.300209759
        on a CPU 210.02 ms (user 150.01 ms, system 60.01 ms)
        waiting for a CPU 12.01 ms
        blocked 1.078 s, longest for 1.050 s in pipe_read() (read)

A thread waits for a CPU while others have it: a hog of higher priority, too many threads, or a limit of its cgroup.
It is blocked while it waits for anything else. The function is the one that /proc/PID/wchan would show, the innermost
that is not the scheduler's; it has no name if the kernel hides its addresses (kernel.kptr_restrict). The system call
that called it is in parentheses; it is not known before Linux 5.15.

The first three times are measured, and their sum is the run. User and system time are the CPU time, shared out by how
many ticks of the kernel's clock (CONFIG_HZ, 4 ms at 250 Hz) hit the thread in user space and in the kernel: for a run
of a second they are good, for one of a few ticks they are a guess, and without a tick they are not shown. The log's
message has them by the same ticks, and its interval ends before the message is written, that of bridge-loop after it.

With the probes as the source lines do not have this; --source kernel has it for any daemon.";

const STACKS: &str = "\
With --stack, a clock of each thread that is timed (and was there when tracing began) ticks each millisecond of its
CPU time. The first tick of a run past the threshold keeps the stack, which is shown below the line when the run ends,
innermost frame first. If there was no tick, because the daemon waited for a disk, a lock or a CPU, the stack is that
at the end of the run, and the line says so. A run that was past the threshold for less than a tick may have no stack
at all.

With the kernel as the source, a run that was blocked for more than half of its time without a break, or that had no
tick past the threshold but was blocked, has the stack of the longest such time instead: first the functions of the
kernel, from the one that waits, then those of the daemon.

With each stack up to 16 KiB of the thread's stack are copied. The callers are found in the copy by what the compiler
wrote down of each function's frame (.eh_frame), which programs have with and without frame pointers. Where that ends,
the last line says why: further callers are beyond the part that was copied (those of recv_upcalls() are, which itself
has more than that on the stack), or a function says nothing of its frame. Frames that are found by frame pointers only
are marked with a question mark: code that is built with -O2 has no frame pointers, and the frames may be anything.
Before Linux 5.15, on a kernel without BTF, or if the ring buffer has no room for the copy, all but the innermost frame
are of that kind.

Names come from the symbol tables of what the process has mapped. An address is shown if there is no symbol for it, or
if the process has exited.";

const JSON: &str = "\
The records are

    start     the tool, its version, machine, kernel and pid
    run       a run: end_ns (CLOCK_MONOTONIC), duration_ns, begun_before,
              pid, tid, comm; with --stack, stack_at (threshold, end,
              block), stack, the frames, stack_certain, how many of
              them are certain, and stack_end, why there are no more
              (outermost, copy, no_information, too_many,
              frame_pointers); with the kernel as the source, threads
              (main, handler, revalidator, other), and with --threshold
              cpu_ns, cpu_user_ns and cpu_system_ns (null without a
              tick), runnable_ns, blocked_ns; if it was blocked
              longest_block_ns, blocked_in, syscall (both null if not
              known), and with --stack kernel_stack
    wait      a wait, with the same fields
    interval  with --interval: time_ns and wall_time, when it ended;
              with the kernel as the source threads, and a record for
              each group of them; seconds,
              loops_per_second, busy_percent, in_run_ns; run and wait,
              each with count, sum_ns, and if the count is not 0 min_ns,
              p50_ns, p90_ns, p99_ns, max_ns
    summary   last line, of the whole trace, or with the kernel as the
              source last lines, one for each group of threads: the
              fields of an interval;
              begun_before, lines_shown, lines_lost, probes_not_counted;
              run_histogram_ns and wait_histogram_ns

A histogram is an array of its buckets that are not empty: the least time in the bucket, the first one beyond it (null
if the bucket has no end), and the count. Times are in nanoseconds.";

const LOST: &str = " At the end

    lines in all = shown + lost by bridge-loop

and, without --threshold and --only, lines = runs + waits + begun before.

1024 threads can be timed; the probes of further ones are counted as such. ovs-vswitchd has one main loop.";

const OVERHEAD: &str = "\
A run and its wait are two uprobes, of some 0.6 us each. Ten loops a second cost nothing that can be measured; a
daemon that loops 100,000 times a second spends an eighth of its time on being watched. A line costs the daemon some
100 ns more. It wakes nobody: bridge-loop looks into the ring 50 times a second. With -q nothing is sent at all.
--stack adds a thousand interrupts for each second that a thread which is timed computes. With the kernel as the source
and a --threshold, it copies the stack each time that such a thread blocks within a run.

With the kernel as the source, other processes pay too. --threshold adds some 60 ns to every context switch of the
machine, to find out what holds runs up. fentry and kprobes slow every poll() of the machine, and nothing else;
tracepoints add some 50 ns to every system call and 250 ns to every poll() (a system call that does nothing took 167
ns without, 221 ns with them; Linux 6.18, x86-64).";

const EXAMPLES: &str = "\
A line for every run and wait:

    bridge-loop

What is the daemon doing when its log complains of an unreasonably long poll interval?

    bridge-loop --threads all --threshold 1s --only run --stack

The same of the main loop, by its probes:

    bridge-loop --threshold 500ms --only run --stack

How busy is it, second by second?

    bridge-loop -q --interval 1

The 99th percentile of a minute's runs:

    bridge-loop -q --duration 1m --format json |
        jq 'select(.record == \"summary\") | .run.p99_ns'";
