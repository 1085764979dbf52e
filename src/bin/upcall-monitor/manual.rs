//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        manual::sources(
            "upcalls",
            "the probe dpif_recv:recv_upcall",
            "the messages by which the module openvswitch hands upcalls to the daemon, where the kernel copies them to\nthe \
             thread that receives them (the tracepoint skb:skb_copy_datagram_iovec)",
            "That takes\ntype information of the kernel (CONFIG_DEBUG_INFO_BTF, /sys/kernel/btf/vmlinux), and no more \
             privilege than CAP_BPF\nand CAP_PERFMON.",
            SOURCES,
        ),
        Section::new("THE TABLE", TABLE),
        Section::new("FAILED UPCALLS", FAILED),
        Section::new("FILTERS", FILTERS),
        Section::new("WHO CAUSES THEM", CAUSES),
        Section::new("SEVERAL DAEMONS", DAEMONS),
        manual::json("upcall-monitor", JSON),
        Section::new("JQ RECIPES", include_str!("jq.txt")),
        Section::new("PACKETS", PACKETS),
        Section::new("CAPTURES", CAPTURES),
        manual::recordings("--record", "--replay", RECORDINGS),
        Section::new("WHAT IS COUNTED", COUNTED),
        manual::lost("LOST UPCALLS", "upcall-monitor", "upcalls", LOST),
        Section::new("OVERHEAD", OVERHEAD),
        manual::times(),
        manual::limits(
            LIMITS,
            ", 5.10 for --dp and for summaries by flow when upcalls are lost, 5.11 for\nupcalls that fail in the kernel \
             (5.14 if its module openvswitch has no type information), 5.15 if the\nsites of the probe differ in their \
             arguments",
        ),
        manual::privilege(
            ", and CAP_SYS_ADMIN for upcalls that fail in the\nkernel and for the names of ports in another network namespace",
            "\
With the kernel as the source, CAP_BPF and CAP_PERFMON are enough, and auto takes it if it may not look for probes. What
the others give is missing then, failed upcalls and the names of ports and datapaths, and a warning says so.

Once attached it gives them all up for good, with no_new_privs set, but for CAP_DAC_OVERRIDE with --rotate, to create
the next file where the first one could be created, and CAP_BPF for a summary by flow. With --follow it keeps them, for
the next daemon. Files are created for their owner alone, and not through symbolic links.",
        ),
        manual::exit_status("--count, --duration", "upcalls"),
        Section::new("EXAMPLES", EXAMPLES),
        Section::new(
            "SEE ALSO",
            "upcall-cost(8), dpif-ops(8), bridge-loop(8), usdt-probes(8), ovs-vswitchd(8), ovs-dpctl(8), ovs-appctl(8), \
             tshark(1), jq(1), pcap-filter(7)",
        ),
    ]
}

const SOURCES: &str = "\
Both show the same upcalls: a message is what the daemon reads before it comes to the probe. The messages say more than
the probe:

    reason         why an action sent the packet up: sflow, ipfix,
                   flow_sample, slow_path(lacp), controller(action)
    hash           the packet's hash
    mru            the largest fragment of which conntrack put the packet
                   together
    len            bytes of the packet before an action cut it
    egress_tunnel  the tunnel by which a sampled packet leaves
    actions        those of the packet's flow, for an action that asks
                   for them, as sFlow does

The reason is shown below the row of the upcall, in the comment of a capture, and as a part of a summary; the others
with -k. JSON has all of them, and dp_ifindex, the number of the datapath.

With the kernel as the source, TIME is when the kernel begins to copy the message, shortly before the probe. The message
has only the number of the datapath; its name comes from the kernel, as those of ports do. Where the kernel tells no
name, as without the privilege to enter the daemon's network namespace, the number is shown, and --dp matches nothing.

The kernel may have the end of a long packet in pages: that of a part of a larger packet (GSO), or of a jumbo frame from
a tap device for example. Linux 6.12 and later let the tracepoint read it; before, it is read in the daemon's buffer,
once it has been copied there, by an fexit program on netlink_recvmsg(). Where there is no fexit (aarch64 before Linux
6.4), it is not captured: the announcement of the packet, and packet.paged in JSON, say how many bytes that are. Nothing
else of an upcall is in pages.

A message with attributes that are longer than it is counted as lost, arguments unreadable: ovs-vswitchd drops it, and
its probe is not reached. With --follow, each daemon is traced by the source that it has.

Which of them costs whom what is in OVERHEAD.";

const TABLE: &str = "\
A row for each upcall. Columns and widths are those of upcall_monitor.py of Open vSwitch 3.6.

    TIME          when the daemon took the upcall from its socket, or
                  when it failed: seconds, CLOCK_MONOTONIC
    CPU           on which it did
    COMM          name of the thread, handler1 for example
    PID           id of the thread
    PORT_NAME     port by which the packet came in, and datapath
    TYPE          0: no flow matched the packet; 1: an action sent it up
    PKT_LEN       bytes of the packet
    FLOW_KEY_LEN  bytes of the flow key; 0 of an upcall that failed
    RESULT        0, or the negative errno with which the upcall failed
                  in the kernel

A port has the name that the kernel gives it (generic netlink, family ovs_vport), or its number if the kernel does not
know it, or Unknown if the flow key has no port or could not be read. A port that vanished keeps its last name. A port
that takes over its number is known within a fiftieth of a second, a new name of the same device within ten seconds.

On a terminal, upcalls that failed are red, unless the environment variable NO_COLOR is set. If standard output is a
file, and with --quiet, a line on the terminal says how many upcalls there were, how many a second, and how many
upcall-monitor lost.

With -k, the flow key is shown below the row; with -d or --pcap the packet is announced there, and with -d it is shown.
What could not be read of the daemon's memory is shown as unreadable, and never as something else.

Not every packet begins with an Ethernet header: ports of GRE, GTP-U and bareudp, for example, take others too. The flow
key says so; below the announcement of such a packet a line has its EtherType, and -d decode begins with IP, say. Where
the key was cut before it says so (--flow-key-size) or could not be read, -d decode shows bytes and the reason. So it
is with upcalls that failed, if their recording was made before it had this.

With the kernel as the source, -k shows the other attributes of the message on a line below the flow key.

-k odp shows the attribute OVS_KEY_ATTR_IPV6_EXTHDRS on a line of its own. Linux 5.18 and later add it to the key of
every IPv6 packet, and ofproto/trace does not take it. Nor does it take nsh(...), attributes that Open vSwitch does not
know, and what is cut: if a key has any of these, a line below it says so and names the first.";

const FAILED: &str = "\
The kernel cannot always hand an upcall to the daemon: the socket is full because the daemon does not keep up (-11,
EAGAIN), nobody listens any more (-111, ECONNREFUSED), memory is short (-12, -105). The packet is dropped then, and the
lost counter of ovs-dpctl show goes up by one; upcall-monitor calls the upcall failed. Each of them is a row too, unless
--result ok is given. --result error shows nothing else, and needs neither of the sources of received upcalls.

PORT_NAME has the device that the packet came from. COMM, PID and CPU are those of whatever ran when the packet was
processed, mostly a softirq: they say nothing about who sent it. There is no flow key; whether the packet begins with an
Ethernet header is known from the kernel. PKT_LEN is that of the packet as the daemon would have got it, its VLAN tag
included. If the kernel has the end of the packet in pages, only the beginning is captured; the announcement of the
packet, and packet.paged in JSON, say how much is not.

Only failures of the traced daemon's own datapath are shown: ovs-system in its network namespace.

They are seen by an fexit program on ovs_dp_upcall() of the kernel's module openvswitch. Where the kernel cannot have
one (aarch64 before Linux 6.4, a module without type information), the tracepoint openvswitch:ovs_dp_upcall and a return
probe are used: Linux 5.14, with tracefs mounted. That way knows neither the number of the port, which --port with a
number needs, nor the addresses for a summary, nor what an action cut off the packet; and before Linux 6.0 it misses
what fails in the few microseconds of a probe on the same CPU. Where neither is available, because the module is not
loaded for example, --result any warns and goes on, and --result error is an error.";

const FILTERS: &str = "\
--dp, --port, --type, --thread and --min-size choose upcalls in the kernel, before anything of them is copied: filtered
upcalls cost the daemon least. An upcall must match each of these options, and one of several --port. Filtered upcalls
are counted.

A port is known by its current name: the kernel announces ports that come and go, so that one which is deleted and added
again is found under its new number within a fiftieth of a second. A name that no port or datapath has is an error. If
the kernel does not tell all its ports within 5 seconds at the start, because the machine is very busy for example, a
port of a name that it did not tell is another error: whether there is one is not known. Later, rows have the numbers of
ports whose names it does not tell in time, and it is asked again.

Upcalls that failed have no handler thread and do not match --thread.

With --replay they choose from what is in a recording; what a filter kept out of the recording is not there.

What comes after the options is a packet filter in the language of tcpdump, pcap-filter(7), and is compiled by the same
library, libpcap. The shell must be kept from taking ( ) [ ] & | ! < > for itself. Options may come after it; -- is
needed before an expression that begins with a minus sign. It sees the packet as ovs-vswitchd got it, from its Ethernet
header on. inbound, outbound and broadcast of ip need a device and are errors.

A packet without an Ethernet header is filtered as if it had one, with its EtherType: udp, mpls and ether proto 0x894f
choose it too, and ip[0] is what it is elsewhere. It has no addresses, so what looks at those of Ethernet (ether host,
multicast, ether[0]) never chooses it, not even \"not ether host\". len, less and greater mean the packet as it is.

It is applied in the kernel like the others, after them, and needs nothing of the packet to be captured. Lost upcalls
are then only those that match, also in a summary by flow. Where that cannot be, a line at the start says so and why,
and upcall-monitor applies it to what it receives:

  - it looks at more than the first 128 bytes of a packet, or where it looks depends on the packet: what follows a header
    of variable length, unless that is the one of IPv4;
  - it has more than 128 instructions, as tcpdump -d counts them;
  - the kernel refuses it: that takes Linux 5.14, and --verbose shows what it says.

Then the part of the packet that the filter looks at is captured, or more if something else needs more. This saves the
daemon nothing, and only little room in the ring; lost upcalls are counted whatever their packets were. With --replay
the filter is applied in that way too.

A packet of which less was captured than the filter looks at does not match, not even \"not udp\", nor does one of
which it is not known whether it begins with an Ethernet header. That is so if the packet or its flow key could not be
read, if the kernel has the rest in pages, or, where the filter is not applied in the kernel, if --packet-size cut it
off, perhaps when a recording was made. A warning at the end says how many those were, and they are counted as filtered
like the rest. --record and --pcap keep only what matches.

Names of hosts are looked up in /etc/hosts and DNS, those of ports and protocols in /etc/services and /etc/protocols;
other sources of /etc/nsswitch.conf are not asked.";

const CAUSES: &str = "\
With --quiet, --interval or --top there is a summary of who causes the upcalls: how many, which share of all and how
many a second, by datapath, port, type, protocol, result and handler thread, and by source and destination; with the
kernel as the source also by the reason for which an action sent the packet. --quiet shows nothing else, on standard
output; otherwise it is on standard error, and in JSON in the records interval and summary. That of an interval begins
with the time at which it ended, as rows have it in TIME.

The lines by source and destination are those that explain the most upcalls: a pair of addresses that come by one port
with one protocol, whatever their TCP or UDP ports, so that a port scan is one line; if no pair has half of what one
source causes, the source and the number of its destinations, as in a scan of addresses; and in the same way a
destination with many sources. Addresses are those of IPv4, IPv6 and ARP in the flow key, those inside VLAN tags; of a
tunnelled packet, the inner ones.

Upcalls that upcall-monitor lost are counted as well, by the kernel, so that the sums are exact: up to 16384 different
flows of lost ones, and 131072 of all. Upcalls of further flows are counted without their addresses, and lost ones
without anything else. The summary says so in both cases. Filtered upcalls are not counted. The reason of a lost upcall
is not known.

What floods my ovs-vswitchd?

    upcall-monitor --quiet --top 5 --duration 5";

const DAEMONS: &str = "\
With several -p, at most 8 daemons are traced at once, each in its own network namespace for example. Each datapath is
then followed by the process that it belongs to: p-e1 (system@ovs-system of 1234). The trace ends when all have exited.

With --follow, the trace goes on with the next ovs-vswitchd when one exits, an upgraded one too; if none runs yet, it
waits for the first. The next is one that did not run yet when upcall-monitor began. Finding it takes up to 50
milliseconds, and attaching some tens more: upcalls in that time are missed.";

const JSON: &str = "\
The records are

    start    schema, tool, tool_version, machine, kernel, source,
             pid, packet_size, flow_key_size
    event    an upcall
    lost     how many upcalls upcall-monitor lost since the last such
             line, or since the start: lost, and lost_reasons
    interval with --interval, who caused the upcalls since the last such
             line: time_ns and wall_time, when it ended; flows
    summary  last line, of the whole run: fired, all upcalls; shown, or
             only counted with --quiet; received and failed, which those
             are; filtered; undecodable; left, after the last one shown;
             lost, by upcall-monitor, and lost_reasons;
             packets_unreadable, keys_unreadable, names_unreadable;
             flows, with --quiet, --interval or --top

An event has

    time_ns, wall_time   CLOCK_MONOTONIC in nanoseconds; RFC 3339, in UTC
    cpu, comm, pid, tid  which thread of which process took it, and where
    daemon               id of the ovs-vswitchd that it was for
    datapath             null if it could not be read
    dp_ifindex           with the kernel as the source: its number
    port                 number and name; null if the flow key has none
    type, type_name      0, miss: no flow matched the packet;
                         1, action: an action sent it up
    result, result_name  0, or a negative errno and its name
    packet               length and captured, in bytes; paged, if not all
                         could be; link, what it begins with: ethernet,
                         network (what eth_type says, for it has no
                         Ethernet header) or unknown; with -d hex its
                         bytes, with -d decode its layers too
    key                  length and captured, in bytes; odp, as -k odp;
                         fields, the same as objects
    reason, userdata,    with the kernel as the source, as far as the
    hash, mru, len,      message has them: see SOURCES
    egress_tunnel,
    actions

If captured is less than length, the rest was not asked for. What could not be read of the daemon's memory has instead
of bytes or fields an error and an error_name, 14 and EFAULT for example. packet.stopped says why a packet was not
decoded to its end, key.undecoded which attributes are not in fields; both are there only if they have something to say.
The name of a port is null if the kernel does not know it.

A number that may be larger than 2^53 (tun_id, ct_label) is a string, 0x4d for example. time_ns is a number nonetheless;
a reader that has only floating point, as jq 1.6, rounds it by a few nanoseconds after 104 days of uptime, and wall_time
is exact. A number that has a name has it in a second field, proto_name; a set of bits has the names of those that are
set, ct_state_names. Names of layers and their fields are scapy's, those in key.fields Open vSwitch's. A field that
occurs again in a layer is called timestamp_2 the second time.

flows has seconds, upcalls, unknown and folded; by_datapath, by_port, by_type, by_reason if any is known, by_protocol,
by_result and by_thread, each an array of name and upcalls; and top, an array of datapath, port, protocol, src, dst,
sources, destinations and upcalls.

-k changes nothing in JSON. --format json and --pcap - exclude each other: both need standard output.";

const PACKETS: &str = "\
-d decode, and packet.layers in JSON, show what Open vSwitch and its kernel module match on, make or take for themselves:

    link       Ethernet, LLC and SNAP, VLAN tags, ARP, RARP, LLDP, STP,
               RSTP, MSTP, LACP, marker protocol, link OAM, CFM,
               PPPoE, PPP with the heads of its control protocols
    network    IPv4 with options, IPv6 with extension headers, IGMP,
               ICMP, ICMPv6, MLD, neighbour discovery, MPLS, NSH
    transport  TCP with options, UDP, SCTP with the heads of its
               chunks, BFD
    tunnels    GRE and its version for PPTP, ERSPAN I to III, VXLAN,
               GBP and GPE, Geneve, GTP-U, LISP, STT, EtherIP, SRv6,
               IP, MPLS and Ethernet in IP, MPLS in UDP
    security   AH, MACsec, the head of ESP

What is behind these is Raw. It is data, of UDP, TCP or an echo, unless a last line says what it is:

    [stopped in IP: what follows proto = 89 (ospf) is not decoded]
    [stopped in ESP: the rest is encrypted]
    [stopped in IP: a later fragment, its header is in the first]
    [stopped in TCP: dataofs = 4 is not possible]
    [stopped in UDP: the packet ends inside it]
    [stopped: more than 32 nested layers]
    [cut in TCP: 64 of 1514 bytes captured]

In JSON these are the objects of packet.stopped, whose why is undecoded, encrypted, fragment, invalid, short, too_deep or
cut. \"Not decoded\" means that this tool does not know the protocol or its version, \"not possible\" that the protocol
forbids the value. A tunnel over UDP is recognised by the destination port that is assigned to it; what MPLS carries, by
its first bits and by an Ethernet type where there must be one.";

const CAPTURES: &str = "\
--pcap writes pcapng. Each port of each datapath is an interface with the name of the PORT_NAME column. A packet has the
wall-clock time of its upcall in nanoseconds, its original length, and a comment with cpu, comm, pid, upcall_type and
result; with the kernel as the source the reason of an action; with -k, the flow key too and all that the message has.

An interface has one link type. Packets of a port that have no Ethernet header are on interfaces of their own, with
words behind the name: \"raw IP\" (LINKTYPE_RAW), and \"cooked\" (LINKTYPE_LINUX_SLL) if they begin with anything else,
MPLS for example: 16 bytes before such a packet, which are not of it, say its EtherType. Those of which it is not known
what they begin with are on an interface of \"unknown link type\" (LINKTYPE_USER0). Wireshark and tshark read all of it
in one file; tcpdump refuses a file with several link types.

At the end, the interface statistics say how many upcalls upcall-monitor lost. Their ports are not known, so that they
are counted on an interface called \"lost upcalls\", which is there if any were lost.

With --pcap - the capture goes to standard output and no table is printed.

With --rotate there are several files, as dumpcap makes them with -b. duration:TIME ends a file before an upcall that is
that much later than the first one in it, by the clock of the upcalls; filesize:KB ends it when it has that many times
1000 bytes, the upcall that reaches them included. The statistics at the end of each file come on top, and count the
upcalls lost since the file before. Each file is a whole capture, and an upcall is in one of them. out.pcapng becomes
out_00001_20261123105500.pcapng, out_00002_... with the local time at which the file was made. The first one is made at
once, the others when there is something to write. files:N keeps N files: it deletes the oldest of those that this run
made, if they are still the same files. mergecap joins them again.

    upcall-monitor -w day.pcapng --rotate duration:3600,files:24";

const RECORDINGS: &str = "

-k, -d, --pcap, -c and the filters may be others than those with which the recording was made.";

const COUNTED: &str = "\
The last lines say what became of the upcalls:

    1200 upcalls in all: 1180 shown, 15 filtered,
        5 lost by upcall-monitor (5 ring full)
    1180 shown: 560 received by ovs-vswitchd,
        620 failed in the kernel (never received)

(each of the two is one line). The words are the same everywhere:

    received  ovs-vswitchd took the upcall from its socket
    failed    the kernel could not queue it there: ovs-vswitchd has not
              seen it, and its packet is gone
    lost by upcall-monitor
              upcall-monitor knows only that there was one, because its
              own ring was full for example; ovs-vswitchd lost nothing
    shown     a row, a line of JSON; \"counted\" with --quiet
    filtered  a filter kept it out

and besides undecodable, a record that makes no sense, and \"after the last one shown\", what came when --count was
reached or an output took no more. Parts that are 0 are left out, but shown and lost are always there. In all is the sum
of the parts of the first line. What was filtered or lost may have been received or have failed.

The counters of ovs-dpctl show count packets. missed are those that no flow matched, received or failed; upcalls that an
action sent up are not among them. lost are those that failed, also if an action sent them up: as many as there are rows
with a RESULT.

There may be more rows than that, because the kernel splits a large packet (GSO) before it sends it up, and each segment
is an upcall with a row of its own: a packet of ten segments is one missed packet and ten rows. If one segment fails,
those behind it are not sent: the packet is one row with a RESULT then, with the length of the whole packet, and one
lost packet, besides the rows of the segments before. Neither the message nor the probe says which upcalls are segments
of one packet, so that their rows are not marked.";

const LOST: &str = " Each has a reason.

A larger --buffer-page-count helps against bursts; a smaller --packet-size makes the ring hold more.

An upcall is skipped by the kernel if the program is running on that CPU already, for another thread that was preempted
in it. The kernel counts how often that was so (Linux 5.12). With it as the source that is the most that can be lost so:
the message of any process counts.";

const OVERHEAD: &str = "\
With the probe as the source, every upcall runs into a uprobe: the thread of the daemon enters the kernel, a BPF program
copies flow key and packet into the ring, and the thread goes on. No other process pays anything.

With the kernel as the source, the thread is in the kernel already, and the program copies the message from there: that
costs the daemon a fraction of a uprobe. But the tracepoint is one of all sockets. While it is attached, the program
runs for each message that any process of the machine receives from a Unix, netlink, raw or packet socket, and for each
piece of a stream of TCP, and looks at the socket's protocol. UDP does not pass it, but for datagrams in pages.
docs/performance.md of the source has figures for both: what the daemon pays, and what others pay.

With either source nobody is woken for an upcall: upcall-monitor looks into the ring 50 times a second, and is woken
only when a quarter of it is full. Without -d, --pcap or --record no packet is copied, unless a packet filter cannot run
in the kernel. With the kernel as the source (Linux 6.2 and later), --quiet without --pcap, --record and --count copies
nothing at all: the program counts. What a filter, a packet filter too, keeps out there is not copied and takes no room:
it costs the thread less than what passes, and least with --thread and --type.";

const LIMITS: &str = "\
Upcalls of the userspace datapath (netdev) pass neither the probe nor the kernel.

At most 2048 bytes of a flow key and 65535 bytes of a packet are captured. With the kernel as the source, an upcall
whose flow key and other attributes have more than 2144 bytes together is lost, and counted (arguments unreadable).

Upcalls are shown in the order in which the kernel made room for them. Those that two threads took at the same moment
may differ from the order of their times.

With the probe as the source, the name of a datapath is read from the daemon's memory a hundred times a second at most
on each CPU, not for each upcall.";

const EXAMPLES: &str = "\
Every upcall of the ovs-vswitchd that runs, with its flow key:

    upcall-monitor -k odp

What would Open vSwitch do with the packet of an upcall? Paste the key:

    ovs-appctl ofproto/trace ovs-system 'recirc_id(0),...'

Those of DNS over IPv4 or IPv6, and those of TCP connections that begin:

    upcall-monitor udp port 53
    upcall-monitor 'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn'

Ten upcalls with all that is in them:

    upcall-monitor -k nlraw -d decode -c 10

Capture a minute, then look at it in Wireshark:

    upcall-monitor --pcap upcalls.pcapng --duration 60 > /dev/null

What floods the daemon, and what does the kernel drop before the daemon sees it?

    upcall-monitor --quiet --top 5 --duration 5
    upcall-monitor --result error

Why do actions send packets up?

    upcall-monitor --source kernel --quiet --type action --duration 5

Look at them live:

    upcall-monitor -w - | tshark -i -

Take a recording home:

    upcall-monitor --record upcalls.rec --duration 60 > /dev/null
    upcall-monitor --replay upcalls.rec -k odp -d decode";
