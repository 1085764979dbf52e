//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("SOURCES", SOURCES),
        Section::new("THE ROWS", ROWS),
        Section::new("RESULTS AND TIMES", RESULTS),
        manual::json(
            "dpif-ops",
            "They are op, for an operation; lost, how many dpif-ops lost since the last such line; interval, with the time at\n\
             which it ended; and summary.",
        ),
        manual::recordings("--record", "--replay", ""),
        manual::lost("LOST OPERATIONS", "dpif-ops", "operations", LOST),
        manual::times(),
        manual::limits(
            "Operations of the userspace datapath are not shown, because they are not requests to the kernel.",
            ", 5.15 if the sites of a probe differ in their arguments, 5.11 to enter functions of the module openvswitch\n\
             by fentry on x86-64, 6.4 for any on aarch64",
        ),
        manual::privilege(
            ", and\nCAP_SYS_ADMIN for the chunks of dumps in the kernel, and for the names of ports in another network\nnamespace",
            "Once attached it gives them all up for good, with no_new_privs set.",
        ),
        manual::exit_status("--count, --duration", "operations"),
        Section::new("EXAMPLES", EXAMPLES),
        Section::new(
            "SEE ALSO",
            "upcall-monitor(8), upcall-cost(8), bridge-loop(8), usdt-probes(8), ovs-vswitchd(8), ovs-dpctl(8)",
        ),
    ]
}

const SOURCES: &str = "\
--source says where operations are taken from.

usdt: the probes dpif_netlink_operate__:op_flow_* of ovs-vswitchd, which Open vSwitch 2.17 and later have if they were
built with --enable-usdt-probes. They fire when a request is complete and about to be sent: put, del, get and execute,
of which neither the answer nor the time is known. Each costs the thread that asks an interrupt (a uprobe), and other
processes nothing.

kernel: the kernel's own functions, whatever ovs-vswitchd was built with. genl_rcv_msg() handles each request before
the thread that asks goes on; its beginning and end are seen. So each request has its result and its duration, and
there are those that have no probe: dumps of flows, and all that is asked of datapaths, ports, meters and limits of
connections. The functions are entered by fentry and left by fexit, or by kprobes and return probes, which cost more,
where these are missing. Every other process of the machine that uses generic netlink passes the programs, which
return at once.

auto, which is the default, is usdt if the daemon has the probes, and kernel if it has not, or if -o asks for an
operation that only the kernel shows. The line \"attached to\" says which it is.

Requests need no type information of the kernel (CONFIG_DEBUG_INFO_BTF) where there are kprobes. Chunks of dumps are
made by functions of the module openvswitch: they need the kernel's types, and the module's types and CAP_SYS_ADMIN or
else kprobes. Without, of a dump only the request is shown, and a warning says so.";

const RESULTS: &str = "\
With the kernel as the source, the rows have two more columns. RESULT is ok, or the errno that the kernel sends back:
EEXIST for a flow that is there, ENODEV for a port that is not, EINVAL for a flow that is refused. DURATION is the time
in genl_rcv_msg(), with the time that a thread waited there for others. ovs-vswitchd
sends several requests in one sendmsg(), and each is timed by itself.

The answer to a dump is made chunk by chunk, as it is read. The first chunk is made within the request: its row has
both, and RESULT says that the dump has begun (for which the kernel's function returns -EINTR, so that nothing is sent
to acknowledge it). Each further chunk has a row of its own, \"dump chunk\", with the thread that reads it, its bytes and
the number of netlink messages in it, which are flows, ports or datapaths. No chunk is counted twice: the messages of
all chunks of a dump are all that it has.

The summary counts by result as well, and has median, 99th percentile and longest of the durations of each operation;
the percentiles are at most 1.6 % off.";

const ROWS: &str = "\
ovs-vswitchd asks four things of the kernel datapath, by generic netlink. Each has a probe, which fires when the request
is complete and about to be sent, so that nothing is known of the answer. The row says what is asked for:

    put create, put modify  installs a flow, or changes it; with \"probe\"
                            ovs-vswitchd tries what the datapath can do
    del                     deletes a flow
    get                     looks a flow up
    execute                 sends a packet with actions to the datapath

With the kernel as the source there are more, whose names -o takes too:

    dump, dump chunk        asks for all flows
    datapath new, vport get asks something of datapaths, ports (vport),
                            meters (meter) or limits of connections
                            (ct-limit); of all but flows the command
                            follows: new, set, get, delete, dump

TIME is CLOCK_MONOTONIC in seconds, TID the thread that asks, DATAPATH the name of the datapath or its number, REQUEST
the length of the netlink message. Below the row is what the message says: with -n odp in the syntax of ovs-dpctl
dump-flows -m, with -n nlraw an attribute on each line. Of an execute the former has the length of the packet and, if
the packet has no Ethernet header, its EtherType. What is unknown, cut off or of a wrong length follows as a
warning. A message of more than 80 KiB is cut.";

const LOST: &str =
    " An operation whose request is not found in the memory of the daemon is lost, too; in the kernel, one whose end is
not seen because a return probe did not fire, or whose program the kernel skipped because another thread was in it.

The last line

    84 operations in all: 80 shown, 3 filtered, 1 lost by dpif-ops

has them all, each in one of its parts: \"counted\" instead of shown with -q, undecodable if a record makes no sense, and
\"after the last one shown\" for what came when --count was reached. Parts that are 0 are left out, but shown and lost are
always there. A summary of an interval begins with the time at which it ended, as rows have it in TIME.";

const EXAMPLES: &str = "\
Which flows come and go, and with which actions?

    dpif-ops -o put,del

Which requests does the kernel refuse, and how long do the others take?

    dpif-ops --source kernel -q --duration 60

Which packets go back to the datapath, attribute by attribute?

    dpif-ops -o execute -n nlraw -c 10

How often does the daemon dump all flows?

    dpif-ops --source kernel -o dump

Take a recording home:

    dpif-ops --record ops.rec --duration 60 > /dev/null
    dpif-ops --replay ops.rec";
