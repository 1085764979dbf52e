//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::Section;

pub const SECTIONS: &[Section] = &[
    (
        "THE ROWS",
        "\
ovs-vswitchd asks the kernel datapath by generic netlink for four operations, each with a probe that fires when the
request is complete and about to be sent. Each has a row:

    put       creates or modifies a flow: \"put create\", \"put modify\"; with \"probe\" ovs-vswitchd only tries what the
              datapath can do, and deletes the flow at once
    del       deletes a flow
    get       looks a flow up
    execute   sends a packet back to the datapath, with actions for it

TIME is that of CLOCK_MONOTONIC in seconds, TID the thread that asks, DATAPATH the name of the datapath or its number if
the name is not known, REQUEST the length of the netlink message. What became of a request is not known: the probes are
before the answer.",
    ),
    (
        "THE REQUESTS",
        "\
Below each row is what the request says, in the form of --nlmsg-decode.

odp is the syntax of ovs-dpctl dump-flows -m: the UFID, the flow key with its mask, and the actions. A get or a delete has
the UFID only, as a rule. The key of an execute has what goes with the packet, such as the port by which it came in.

nlraw has a line for each netlink attribute, with the attributes of keys and masks below theirs; hex has the bytes.

If an attribute is unknown, has a wrong length or is cut off, a line that begins with \"warning:\" says at which byte of
the message.",
    ),
    (
        "JSON",
        "\
With --format json each line is an object whose record says what it is: start, op, lost, interval or summary.
docs/dpif-ops.schema.json describes them. The first line has the number of that schema.",
    ),
    (
        "LOST OPERATIONS",
        "\
Requests reach dpif-ops through a ring buffer. What does not fit into it because dpif-ops does not keep up is counted as
lost, and so is an operation whose request could not be found in the memory of the daemon. A warning reports them at most
once a second; at the end

    fired = shown + filtered + undecodable + lost

A request of more than 80 KiB is cut, and its row says so.",
    ),
    (
        "OVERHEAD",
        "\
A probe is a uprobe, which costs the thread that runs into it half a microsecond or more before anything is copied. An
operation that --operation leaves out costs nothing, because nothing is attached for it.",
    ),
    (
        "LIMITS",
        "\
ovs-vswitchd must be of Open vSwitch 2.17 or later and built with --enable-usdt-probes. Linux 5.8 or later is needed; on
x86-64 and aarch64. Operations of the userspace datapath are not shown, for they are no requests to the kernel.",
    ),
    (
        "PRIVILEGE",
        "\
root, or CAP_BPF and CAP_PERFMON to load and attach, CAP_SYS_PTRACE to look at the daemon's memory map, and
CAP_CHECKPOINT_RESTORE for a daemon whose binary was replaced since it started. Once attached, dpif-ops gives all of them
up for good.",
    ),
    (
        "EXIT STATUS",
        "\
0 when it was ended by a signal, --count, --duration, the end of the daemon or a reader that went away; 1 after an error;
2 if the command line makes no sense. That operations were lost does not change it.",
    ),
    (
        "EXAMPLES",
        "\
Why does this flow come and go?

    dpif-ops -o put,del | grep -A1 -e put -e del

The flows that were put in the last minute, by their actions:

    dpif-ops -o put --format json --duration 60 | jq -r 'select(.record == \"op\").actions' | sort | uniq -c",
    ),
    (
        "SEE ALSO",
        "ovs-vswitchd(8), ovs-dpctl(8), upcall-monitor(8), upcall-cost(8)",
    ),
];
