//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("THE ROWS", ROWS),
        manual::json(
            "dpif-ops",
            "They are op, for an operation, and lost, interval and summary.",
        ),
        manual::recordings("--record", "--replay", ""),
        manual::lost("LOST OPERATIONS", "dpif-ops", "operations", LOST),
        manual::times(),
        manual::limits(
            "Operations of the userspace datapath are not shown, because they are not requests to the kernel.",
            ", 5.15 if the sites of a probe differ in their arguments",
        ),
        manual::privilege(
            ", and\nCAP_SYS_ADMIN for the names of ports in another network namespace",
            "Once attached it gives them all up for good, with no_new_privs set.",
        ),
        manual::exit_status("--count, --duration", "operations"),
        Section::new(
            "SEE ALSO",
            "upcall-monitor(8), upcall-cost(8), bridge-loop(8), usdt-probes(8), ovs-vswitchd(8), ovs-dpctl(8)",
        ),
    ]
}

const ROWS: &str = "\
ovs-vswitchd asks four things of the kernel datapath, by generic netlink. Each has a probe, which fires when the request
is complete and about to be sent, so that nothing is known of the answer. The row says what is asked for:

    put create, put modify  installs a flow, or changes it; with \"probe\"
                            ovs-vswitchd tries what the datapath can do
    del                     deletes a flow
    get                     looks a flow up
    execute                 sends a packet with actions to the datapath

TIME is CLOCK_MONOTONIC in seconds, TID the thread that asks, DATAPATH the name of the datapath or its number, REQUEST
the length of the netlink message. Below the row is what the message says: with -n odp in the syntax of ovs-dpctl
dump-flows -m, with -n nlraw an attribute on each line. What is unknown, cut off or of a wrong length follows as a
warning. A message of more than 80 KiB is cut.";

const LOST: &str =
    " An operation whose request is not found in the memory of the daemon is lost, too. Then

    fired = shown + filtered + undecodable + pending + lost

where pending are those that came after the last one of --count.";
