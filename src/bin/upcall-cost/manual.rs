//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("THE WAY OF AN UPCALL", WAY),
        Section::new("SOURCES", SOURCES),
        Section::new("WHAT BELONGS TOGETHER", TOGETHER),
        Section::new("THE REPORT", REPORT),
        manual::json("upcall-cost", JSON),
        Section::new("THE PICTURE", PICTURE),
        manual::recordings("-w", "-r", RECORDINGS),
        manual::lost("LOST EVENTS", "upcall-cost", "events", LOST),
        manual::times(),
        manual::limits(
            LIMITS,
            ", 5.15 if the sites of a probe differ in their arguments; type information (BTF) for the kernel as the\n\
             source, and 5.11 for the times before an upcall is received",
        ),
        manual::privilege(
            ", and CAP_SYS_ADMIN for the kernel's side and for the names of ports in another network namespace",
            "Once attached it gives them all up for good, with no_new_privs set.",
        ),
        manual::exit_status("--count, --stop, --duration", "events"),
        Section::new("EXAMPLES", EXAMPLES),
        Section::new(
            "SEE ALSO",
            "upcall-monitor(8), dpif-ops(8), bridge-loop(8), usdt-probes(8), ovs-vswitchd(8), ovs-dpctl(8), jq(1)",
        ),
    ]
}

const WAY: &str = "\
A packet that no flow of the datapath matches is sent up to ovs-vswitchd. upcall-cost sees these events of its way:

    dp_upcall          the packet leaves the datapath for a socket of
                       the daemon (openvswitch__dp_upcall)
    recv_upcall        a handler thread has taken it from the socket
                       (dpif_recv__recv_upcall)
    op_flow_put        the thread prepares the request to install a flow
                       (dpif_netlink_operate__op_flow_put)
    op_flow_execute    ... and the one to execute the actions on the
                       packet (dpif_netlink_operate__op_flow_execute)
    packet_cmd_execute the kernel begins to execute them
                       (ktrace__ovs_packet_cmd_execute)

A thread receives up to 64 upcalls in a row, a batch, and looks each of them up right after it has received it. Only
then does it prepare the requests of all of them, and sends these. The times between the events are therefore

    Kernel upcall action to vswitchd receive
        dp_upcall to recv_upcall: queueing, waking the thread
    vswitchd lookup of the upcall itself
        recv_upcall to the next recv_upcall of the batch, or of the last
        one to the batch's first request
    vswitchd rest of the batch, lookup to execute
        from there to op_flow_execute
    vswitchd execute to kernel receive
        op_flow_execute to packet_cmd_execute
    Kernel upcall to kernel packet execute
        dp_upcall to packet_cmd_execute: the sum of those above
    Upcall overhead (total time minus lookup)
        dp_upcall to packet_cmd_execute less recv_upcall to op_flow_put,
        as upcall_cost.py computes it: the latter has the lookups of all
        upcalls that follow in the batch, too

If a batch led to no request at all, its end cannot be seen, and the next batch counts as part of it. The lookup of its
upcalls is not counted then, unless the next upcall is known to have waited already.";

const SOURCES: &str = "\
--source usdt takes recv_upcall, op_flow_put and op_flow_execute from the probes of ovs-vswitchd, --source kernel from
the kernel, whatever ovs-vswitchd was built with. auto takes the probes if the daemon has them all. dp_upcall and
packet_cmd_execute are the same with both: the beginning of queue_userspace_packet() and of ovs_packet_cmd_execute() of
the module openvswitch. With the kernel as the source, the others are

    recv_upcall        the tracepoint skb:skb_copy_datagram_iovec, in the
                       thread that reads, before the message is copied
    op_flow_put, op_flow_execute
                       netlink_sendmsg() begins: the thread sends its
                       requests, often several at once

So a stage has other ends with the kernel. In the report and in the JSON (from, to) each says which:

    Kernel upcall action to vswitchd receive
        ends before the message is copied; with probes it ends after
        recvmsg() has returned and the daemon has parsed the message
    vswitchd lookup of the upcall itself
        begins there; that of the last upcall of a batch ends when the
        first message with requests is sent, with probes when the first
        request is encoded
    vswitchd rest of the batch, lookup to execute
        with probes it ends when the request is encoded, with the kernel
        when it is sent
    vswitchd execute to kernel receive
        begins when the request is sent; with probes it begins when it is
        encoded, and has the encoding of those that follow, too
    Kernel upcall to kernel packet execute
        the same with both
    Upcall overhead (total time minus lookup)
        what is subtracted ends when the put is sent

and there are more of them:

    Message in the socket's queue
        netlink_unicast() begins to recv_upcall. It is the end of the
        first stage; what comes before is the making of the message
    Kernel handles requests sent before it
        netlink_sendmsg() to the first genl_rcv_msg() of the upcall: the
        kernel handles the requests of a message one by one
    Kernel puts the flow
    Kernel executes the packet
        genl_rcv_msg() begins to its return, with the error of a request
        that failed

What each shows and takes:

                       usdt                       kernel
    ovs-vswitchd       2.17, with probes          any
    receive, requests  any kernel                 BTF; fentry or kprobes
    time in the queue  no                         yes
    kernel's own time  no                         yes
    errors of requests no                         yes
    identical packets  told apart by their order  by their message
    recv_upcall costs  a uprobe, in the daemon    a tracepoint
    others pay         nothing                    see below

An event at a uprobe costs the daemon more than one at a tracepoint. But the tracepoint is passed by each datagram and
each part of a TCP stream that any process of the machine receives (UDP apart), and an empty program there costs some
time. What is not the daemon's generic netlink is turned away after one comparison. The functions of netlink are seldom
used by others.";

const TOGETHER: &str = "\
A dp_upcall and a recv_upcall are of the same upcall if datapath, port, type, length and all bytes that were captured of
both are equal; the oldest dp_upcall is taken first. A checksum that the kernel completes in between does not count.
Among equal packets, those are preferred that were sent to a socket of the receiving thread. A dp_upcall that failed is
taken out, and counted by its error.

With the kernel as the source, the address of the message tells which dp_upcall a recv_upcall is of: dp_upcall_queued
says which message the dp_upcall became. The kernel uses addresses again at once, so the latest message there counts.
Where an event was lost, the bytes are compared as above.

An op_flow_put belongs to the upcall of its thread's batch that has the flow key of the request, an op_flow_execute to
the one that has its packet, a packet_cmd_execute to the oldest op_flow_execute of its thread or, with the kernel as the
source, to the request that it is in. An upcall without a put is normal: its flow was there already. One that an action
sent to the controller has no execute. Events that belong to no upcall are counted by reason. Such an event is no error: revalidators put flows too, and another event may have been
lost.

An upcall in flight is given up after a minute, when one sent 100 ms later to the same socket has been received, and
when more than 131072 or more than 64 MiB of packets are in flight. Nothing else limits the length of a trace.";

const REPORT: &str = "\
The sections that upcall_cost.py of Open vSwitch has are there under its titles, with its numbers and in its order; then
percentiles of each stage, a breakdown by handler, port, datapath and size of the batch, the slowest upcalls, the errors
of those that failed and, with the kernel as the source, of requests that failed, and the events that belong to no
upcall. Times are microseconds.

Of the first 100,000 times of a stage everything is exact. When there are more, count, minimum, maximum, mean and
standard deviation stay exact; percentiles, median and histograms are those of buckets that are at most 1/32 wide, and a
line above the percentiles says so. That holds for the breakdown, too: it is exact as long as the stage is, so that a
group which has all upcalls has the percentiles of the stage.

The last lines are

    344 events in all: 344 analysed, 0 lost by upcall-cost
    60 upcalls received by ovs-vswitchd: 60 put together with the
        kernel's; 3 failed in the kernel (never received)

(each of the two is one line). Received are upcalls that ovs-vswitchd took from its socket, failed those that the kernel
could not queue there. Lost are events of which upcall-cost, not ovs-vswitchd, knows only that there were some; the
report calls them missed, as upcall_cost.py does, and its \"events received\" are those that upcall-cost got.

A slow upcall is one with much time between its dp_upcall and the last event that was seen of it. Its flow key is in the
syntax of ovs-dpctl dump-flows; the first 64 bytes of its packet are shown.";

const JSON: &str = "\
The records are

    start      schema, tool, and of a recording or a live
               trace tool_version, machine, kernel, pid, packet_size,
               flow_key_size, source (usdt or kernel)
    event      an event, unless -q is given: event, time_ns, cpu, comm,
               pid, tid; and of those that have it datapath, port, type,
               device, portid, result, result_name, packet; with the
               kernel as the source message, the address of the message,
               begun_ns and ended_ns, between which the kernel handled a
               request
    lost       how many events upcall-cost lost since the last such
               line: lost, and by kind lost_events
    events     of each kind: event, usable, total, lost
    thread     how many upcalls a thread handled: comm, tid, upcalls
    batches    count, largest, and sizes: size (more_than for the
               largest) and count of each
    stage      of each stage: name, title, count; from and to, its
               ends, with the kernel as the source; if count is not 0,
               min_us, max_us, mean_us, sd_us, median_us, p50_us,
               p90_us, p99_us, p99_9_us, scale, and buckets: low_us,
               high_us, count; with --sets times_ns, the first 100,000
    group      the breakdown: by (handler, port, datapath, batch_size),
               name, upcalls; queue, lookup and total, each with count,
               p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns
    slow       one of the slowest upcalls: duration_ns, time_ns, the
               stages it is the sum of (queue_ns, lookup_ns, batch_ns,
               execute_ns; null if not known), comm, tid, cpu, datapath,
               device, port, batch, ufid, packet, key; with the kernel as
               the source socket_ns, wait_ns, kernel_put_ns,
               kernel_execute_ns, and of requests that failed put_error,
               execute_error
    failed     failed upcalls of one error: error, error_name, count
    failed_request
               requests of one event that failed with one error: event,
               error, error_name, count
    unmatched  events of no upcall: event, reason, text, count
    summary    last line: events; lost; sets, the upcalls that were
               received and found in the kernel; received, all that
               ovs-vswitchd received; failed, those that failed in the
               kernel; unreadable, lost since the daemon's arguments
               could not be read; unseen, what the kernel did not show
               (if it is the source); undecodable records; left, events
               after the end of the trace; partial, kernel upcalls whose
               packet was not captured to its end, and paged, those of
               them that were in pages

The names of the stages are queue, lookup, batch, execute, overhead and total; with the kernel as the source socket,
wait, kernel_put and kernel_execute, too. A packet has length and captured, one of
the slowest bytes as well; a key has what upcall-monitor(8) says of keys. The reasons why an event belongs to no upcall
are failed, overtaken, timed_out, reused, pushed_out, in_flight, no_upcall, no_batch, other_flow, no_place, other_packet,
not_executed, no_execute, other_size and no_such_upcall; text says the same to people.

Fields that end in _ns are integers, those in _us have a fraction. A count that 64 bits cannot hold is
18446744073709551615.";

const PICTURE: &str = "\
--svg draws, on logarithmic axes, how the times of each stage are spread, with lines at p50, p90 and p99, and how they
change while the trace goes on: a stronger shade is more upcalls, the lines are p50 and p99. It is one file, and
is light or dark as the reader's screen is.";

const RECORDINGS: &str = "

-r also reads the files that upcall_cost.py -w wrote. Their events are those of a tracepoint: upcalls are matched
although a VLAN tag was put back, a checksum completed or a packet segmented in between. Failed upcalls are not known,
and puts have no flow key, so that each belongs to the next upcall in order.";

const LOST: &str = " The report has their
number by kind. The events that remain of an upcall
are put together nonetheless. -q, a larger --buffer-page-count and a smaller --packet-size help against losses.

With the kernel as the source, events may also be lost because the kernel skipped a program, which it does where it is
preemptible and another thread is in the same program on the same CPU; because more than 4096 threads send at once; or
because a return probe had no room. The report counts these as events that the kernel did not show. Kprobes, which are
for kernels without fentry, are also skipped while another kprobe's program runs on the CPU. Before Linux 6.7 the kernel
does not count that; the event is missing, and what it belongs to is among the unmatched.";

const LIMITS: &str = "\
--count and --stop end the trace in the middle of a batch: what follows its last upcall is not seen.

Upcalls of the userspace datapath (netdev) do not pass the probes, nor the kernel. Flows that are offloaded are not put by the
datapath's request. Packets that are equal in all that was captured, as those of a flood, are distinguished by their
order alone: if one of them is lost, the others are mistaken for each other until the next packet that differs. Of what
the kernel executes, only the length is known: where one of these events is lost, later ones of the batch that are as
long take its place. Both hold with probes; with the kernel as the source only equal packets of one batch are told apart
by the order of their executes.

With the kernel as the source, what a message has in pages is not captured when it is received, as of segments and of
packets that are longer than the room of a message: the first part of the packet is compared, and completed from the
request to execute it.";

const EXAMPLES: &str = "\
Which requests fail in the kernel, and how long do the others take there?

    upcall-cost -q --source kernel --duration 60

Where does the time go? The report alone, of a minute:

    upcall-cost -q --duration 60

Take a recording home, and make a picture of it:

    upcall-cost -q -w upcalls.rec --duration 60
    upcall-cost -q -r upcalls.rec --svg upcalls.svg

Which port's upcalls wait the longest?

    upcall-cost -q -r upcalls.rec --format json |
        jq -r 'select(.by == \"port\") | [.queue.p99_ns, .name] | @tsv' |
        sort -n

What would Open vSwitch do with the slowest one? Paste its flow key, unless the line below it says that ofproto/trace does
not take it:

    ovs-appctl ofproto/trace ovs-system 'recirc_id(0),...'";
