//! upcall-monitor with the kernel as the source of its upcalls: messages that the stand-in for ovs-vswitchd receives.
//!
//! These tests need root. Without it each is listed as ignored: this is why they have a harness of their own.

mod common;
#[path = "common/schema.rs"]
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use common::{Monitor, Output, StandIn, UPCALL_MONITOR, is_installed, is_root, path, run, trial};
use libtest_mimic::Arguments;
use ovs_tracers::trace::kernel::{has_kernel_btf, kernel_version};
use schema::Schema;
use serde_json::Value;

/// The stand-in's messages: netlink ones, and those with pages.
const NETLINK: &[&str] = &["--netlink", "2:27"];
const PAGED: &[&str] = &["--netlink", "253:27"];

/// Of eight events in a row: port, type and length of the packet, as in fixtures/standin/standin.c.
const PORTS: [u64; 8] = [1, 2, 3, 2, 1, 4, 5, 2];
const TYPES: [u64; 8] = [0, 0, 0, 0, 0, 1, 1, 0];
const LENGTHS: [u64; 8] = [42, 54, 73, 98, 86, 158, 492, 9014];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine.
    args.test_threads.get_or_insert(1);
    let needs = [("root", is_root()), ("BTF", has_kernel_btf())];
    let tshark = ("tshark", is_installed("tshark"));
    let loopback =
        fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| text.contains(" lo\n"));
    let ipv6 = ("IPv6 on lo", loopback);
    let pages = ("Linux 6.12", kernel_version() >= (6, 12));
    let mut trials = Vec::new();
    macro_rules! trial {
        ($name:ident $(, $need:expr)*) => {
            trials.push(trial(stringify!($name), $name, &[needs[0], needs[1] $(, $need)*]));
        };
    }
    trial!(both_sources);
    trial!(attributes);
    trial!(reasons_in_summary);
    trial!(reasons_in_capture, tshark);
    trial!(other_messages);
    trial!(flat_out);
    trial!(lost_by_flow);
    trial!(malformed);
    trial!(pages_are_read, ipv6, pages);
    trial!(pages_are_missing, ipv6);
    trial!(filters);
    trial!(thread_id);
    trial!(snap_lengths);
    trial!(replay_is_the_same);
    libtest_mimic::run(&args, trials).exit_code()
}

/// Traces a stand-in without probes, and returns how many upcalls it received and what the tool showed.
#[track_caller]
fn trace(standin: &[&str], messages: &[&str], tool: &[&str]) -> (u64, Output) {
    let standin = [&["--netlink"], standin].concat();
    let target = StandIn::start("standin-stock", &standin);
    let monitor = Monitor::attach(target.pid, &[messages, tool].concat());
    let fired = target.run();
    let output = monitor.output();
    assert!(output.status.success(), "{}", output.stderr);
    (fired, output)
}

/// The lines of --format json, each of which must be one of the schema.
#[track_caller]
fn json_lines(text: &str) -> Vec<Value> {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of("upcall-monitor"));
    SCHEMA.stream(text)
}

/// The upcalls of --format json by their numbers, of which none may come twice.
#[track_caller]
fn events(text: &str) -> BTreeMap<u64, Value> {
    let mut events = BTreeMap::new();
    let lines = json_lines(text).into_iter();
    for event in lines.filter(|line| line["record"] == "event") {
        let number = event["key"]["fields"]["skb_mark"].as_u64();
        let twice = events.insert(number.expect("a number"), event);
        assert!(twice.is_none(), "{twice:?}");
    }
    events
}

/// The summary, with which the stream ends.
#[track_caller]
fn summary(text: &str) -> Value {
    let summary = json_lines(text).pop().expect("a line");
    assert_eq!(summary["record"], "summary");
    summary
}

fn without(event: &Value, fields: &[&str]) -> Value {
    let mut event = event.clone();
    for field in fields {
        event.as_object_mut().expect("an object").remove(*field);
    }
    event
}

fn of_kind<T: Copy>(table: &[T; 8], number: u64) -> T {
    table[(number % 8) as usize]
}

/// Check that the probe and the kernel show the same upcalls, each by the same thread and with the same key and packet;
/// that the kernel has each of them before the probe of its thread has it, and after the probe had the one before; and
/// that what only one of them knows is absent from the other.
fn both_sources() {
    const THREADS: u64 = 2;
    let args = ["--netlink", "--attributes", "--rate", "20000"];
    let count = ["--threads", "2", "--count", "1009"];
    let target = StandIn::start("standin", &[&args[..], &count].concat());
    let shown = ["--format", "json", "-d", "hex"];
    let usdt = Monitor::attach(target.pid, &[&["--source", "usdt"], &shown[..]].concat());
    let kernel = [&["--source", "kernel"], NETLINK, &shown].concat();
    let kernel = Monitor::attach(target.pid, &kernel);
    assert_eq!(target.run(), 1009);
    let (usdt, kernel) = (usdt.output(), kernel.output());
    for (output, source) in [(&usdt, "usdt"), (&kernel, "kernel")] {
        assert_eq!(json_lines(&output.stdout)[0]["source"], source);
        assert_eq!(summary(&output.stdout)["fired"], 1009);
        assert_eq!(output.figure("lost"), 0, "{}", output.stderr);
    }
    let (usdt, kernel) = (events(&usdt.stdout), events(&kernel.stdout));
    assert!(usdt.keys().copied().eq(0..1009));
    assert!(kernel.keys().copied().eq(0..1009));
    let only_kernel = [
        "dp_ifindex",
        "hash",
        "mru",
        "len",
        "reason",
        "userdata",
        "egress_tunnel",
        "actions",
    ];
    let differ = ["time_ns", "wall_time", "cpu", "datapath"];
    for (number, event) in &kernel {
        let probe = &usdt[number];
        let kernels = without(event, &[&only_kernel[..], &differ].concat());
        assert_eq!(kernels, without(probe, &differ), "event {number}");
        assert_eq!(probe["datapath"], "system@ovs-system");
        assert_eq!(
            (&event["datapath"], &event["dp_ifindex"]),
            (&Value::Null, &6.into())
        );
        let time = |event: &Value| event["time_ns"].as_u64().expect("a time");
        assert!(time(event) <= time(probe), "event {number}");
        if let Some(next) = kernel.get(&(number + THREADS)) {
            assert!(time(probe) <= time(next), "event {number}");
        }
    }
}

/// Check that what a message has besides key and packet is shown with each upcall, as it was sent: see put_rest() of
/// fixtures/standin/netlink.c.
fn attributes() {
    let standin = ["--attributes", "--rate", "5000", "--count", "211"];
    let (_, json) = trace(&standin, NETLINK, &["--format", "json"]);
    let (_, rows) = trace(&standin, NETLINK, &[]);
    let (_, keys) = trace(&standin, NETLINK, &["-k", "odp"]);
    for (number, event) in events(&json.stdout) {
        let key = event["key"]["length"].as_u64().expect("a length");
        assert_eq!(event["hash"], format!("{:#x}", 0x1_0000_0000 + key));
        assert_eq!(event["mru"], 1500);
        assert_eq!(event["len"], of_kind(&LENGTHS, number) + 1000);
        let (reason, tunnel, actions) = match number % 8 {
            5 => ("slow_path(action)", "tunnel(tun_id=0x2a,flags(key))", "7"),
            6 => ("controller(action)", "tunnel(tun_id=0x2a,flags(key))", "7"),
            _ => {
                for field in ["reason", "userdata", "egress_tunnel", "actions"] {
                    assert!(event.get(field).is_none(), "event {number}: {field}");
                }
                continue;
            }
        };
        let fields = ["reason", "egress_tunnel", "actions"].map(|field| &event[field]);
        assert_eq!(
            fields,
            [reason, tunnel, actions].map(Value::from).each_ref()
        );
    }
    // Below each row, without -k, the reason if there is one, and nothing else.
    let mut lines = rows.stdout.lines().skip(1).peekable();
    for number in 0..211 {
        assert!(lines.next().is_some_and(|line| !line.starts_with(' ')));
        let below = lines.next_if(|line| line.starts_with(' '));
        let expected = match number % 8 {
            5 => Some("    reason=slow_path(action)"),
            6 => Some("    reason=controller(action)"),
            _ => None,
        };
        assert_eq!(below, expected, "event {number}");
    }
    assert_eq!(lines.next(), None);
    // With -k, all.
    let hash = "hash=0x100000084,mru=1500,len=1073";
    let of_miss = format!("    {hash}");
    assert_eq!(
        keys.stdout.lines().filter(|line| *line == of_miss).count(),
        27,
        "{}",
        keys.stdout
    );
    let of_action = keys.stdout.lines().filter(|line| {
        line.starts_with("    reason=slow_path(action)")
            && line.ends_with(
                ",mru=1500,len=1158,egress_tunnel=tunnel(tun_id=0x2a,flags(key)),actions=7",
            )
    });
    assert_eq!(of_action.count(), 26, "{}", keys.stdout);
}

/// Check that a summary counts the upcalls of actions by their reasons, of those that were not lost.
fn reasons_in_summary() {
    let standin = ["--rate", "20000", "--count", "1009", "--threads", "2"];
    let (_, json) = trace(&standin, NETLINK, &["-q", "--format", "json"]);
    let (_, text) = trace(&standin, NETLINK, &["-q"]);
    let flows = &summary(&json.stdout)["flows"];
    let parts = |name: &str| -> BTreeMap<&str, u64> {
        let parts = flows[name].as_array().expect("parts").iter();
        let part = |part: &'_ Value| part["upcalls"].as_u64().expect("a count");
        parts
            .map(|it| (it["name"].as_str().expect("a name"), part(it)))
            .collect()
    };
    let reasons = [("slow_path(action)", 126), ("controller(action)", 126)];
    assert_eq!(parts("by_reason"), BTreeMap::from(reasons));
    assert_eq!(
        parts("by_type"),
        BTreeMap::from([("miss", 757), ("action", 252)])
    );
    assert_eq!(parts("by_datapath"), BTreeMap::from([("6", 1009)]));
    assert_eq!(flows["upcalls"], 1009);
    let lines: Vec<&str> = text.stdout.lines().collect();
    let by_reason = lines.iter().position(|line| *line == "by reason");
    let lines = &lines[by_reason.expect("by reason") + 1..][..2];
    for ((reason, count), line) in reasons.iter().zip(lines) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], count.to_string(), "{lines:?}");
        assert_eq!(words.last(), Some(reason), "{lines:?}");
    }
    assert!(text.stdout.contains("  2 (6)\n"), "{}", text.stdout);
}

/// Check that the comment of a packet in a capture has the reason, and that the packets are those of the probe.
fn reasons_in_capture() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let standin = ["--rate", "5000", "--count", "211"];
    trace(&standin, NETLINK, &["-w", &file]);
    let fields = [
        "frame.number",
        "frame.len",
        "frame.interface_name",
        "frame.comment",
    ];
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let args = ["-r", &file, "-T", "fields"].into_iter().chain(fields);
    let shown = run("tshark", &args.collect::<Vec<_>>());
    assert_eq!(shown.lines().count(), 211);
    for (number, line) in (0..).zip(shown.lines()) {
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        assert_eq!(fields[1], of_kind(&LENGTHS, number).to_string());
        assert_eq!(fields[2], format!("{} (6)", of_kind(&PORTS, number)));
        let reason = fields[3].split_once("reason=").map(|(_, reason)| reason);
        let expected = match number % 8 {
            5 => Some("slow_path(action)"),
            6 => Some("controller(action)"),
            _ => None,
        };
        assert_eq!(reason.is_some(), expected.is_some(), "{line}");
        assert!(
            reason.is_none_or(|reason| reason.starts_with(expected.unwrap())),
            "{line}"
        );
    }
}

/// Check that messages which are no upcalls, and those of another process, its child, are not shown, and that nothing
/// is missing for it.
fn other_messages() {
    for more in [
        &["--noise", "3"][..],
        &["--twin"],
        &["--noise", "1", "--twin"],
    ] {
        let standin = ["--rate", "20000", "--threads", "3", "--count", "1009"];
        let target = StandIn::start(
            "standin-stock",
            &[&["--netlink"], &standin[..], more].concat(),
        );
        let pid = target.pid;
        let monitor = Monitor::attach(pid, &[NETLINK, &["--format", "json"]].concat());
        assert_eq!(target.run(), 1009);
        let output = monitor.output();
        assert_eq!(output.figure("upcalls in all"), 1009, "{more:?}");
        let events = events(&output.stdout);
        assert!(events.keys().copied().eq(0..1009), "{more:?}");
        assert!(events.values().all(|event| event["pid"] == pid), "{more:?}");
    }
}

/// Check that of upcalls that come as fast as eight threads take them, each is shown once and as it was, or counted as
/// lost.
fn flat_out() {
    let standin = ["--rate", "0", "--threads", "8", "--count", "100003"];
    let (fired, output) = trace(&standin, NETLINK, &["--format", "json"]);
    assert_eq!(fired, 100_003);
    let events = events(&output.stdout);
    assert_eq!(
        events.len() as u64 + output.figure("lost"),
        fired,
        "{}",
        output.stderr
    );
    let mut threads = BTreeSet::new();
    for (number, event) in events {
        let expected = [
            of_kind(&PORTS, number),
            of_kind(&TYPES, number),
            of_kind(&LENGTHS, number),
        ];
        let shown = [
            &event["port"]["number"],
            &event["type"],
            &event["packet"]["length"],
        ];
        assert_eq!(
            shown,
            expected.map(Value::from).each_ref(),
            "event {number}"
        );
        assert_eq!(event["comm"], format!("handler{}", number % 8 + 1));
        threads.insert(event["tid"].as_u64());
    }
    assert_eq!(threads.len(), 8);
}

/// Check that lost upcalls are counted by flow, so that a summary of a small ring has all that was fired, whether the
/// rest of them is shown or only counted.
fn lost_by_flow() {
    for quiet in [&["-q"][..], &["--top", "3"]] {
        let standin = [
            "--rate",
            "0",
            "--threads",
            "2",
            "--count",
            "100003",
            "--scan",
            "10",
        ];
        let tool = [quiet, &["--format", "json", "--buffer-page-count", "1"]].concat();
        let (fired, output) = trace(&standin, NETLINK, &tool);
        assert_eq!(fired, 100_003);
        let summary = summary(&output.stdout);
        assert_eq!(summary["fired"], fired, "{quiet:?}");
        let flows = &summary["flows"];
        assert_eq!(flows["upcalls"], fired, "{quiet:?}");
        // An upcall that the kernel had no time for has no flow.
        let skipped = summary["lost_reasons"]["skipped_by_the_kernel"]
            .as_u64()
            .unwrap_or(0);
        assert_eq!(flows["unknown"], skipped);
        let unknown = |count: &Value| fired - skipped - count.as_u64().expect("a count");
        for part in [
            "by_datapath",
            "by_port",
            "by_type",
            "by_protocol",
            "by_result",
            "by_thread",
        ] {
            let parts = flows[part].as_array().expect("parts");
            let sum: u64 = parts
                .iter()
                .map(|part| part["upcalls"].as_u64().unwrap())
                .sum();
            assert_eq!(unknown(&sum.into()), 0, "{quiet:?} {part}");
        }
        // Each tenth event, from the first on, is something else.
        let scan = &flows["top"][0];
        assert_eq!(
            (&scan["src"], &scan["dst"]),
            (&"203.0.113.9".into(), &"192.0.2.2".into())
        );
        assert!(
            scan["upcalls"].as_u64() >= Some(fired - 10_001 - skipped),
            "{scan}"
        );
        assert_eq!(flows["by_datapath"][0]["name"], "6");
        if quiet[0] != "-q" {
            assert!(output.figure("lost") > 1000, "{}", output.stderr);
        }
    }
}

/// Check that a message whose attributes are longer than it is counted and not shown: ovs-vswitchd drops it.
fn malformed() {
    let standin = ["--rate", "5000", "--count", "1009"];
    for bad in [["--bad-key", "7"], ["--bad-packet", "7"]] {
        let (fired, output) = trace(
            &[&standin[..], &bad].concat(),
            NETLINK,
            &["--format", "json"],
        );
        assert_eq!(fired, 1009 - 1009 / 7);
        assert_eq!(output.figure("shown"), fired, "{}", output.stderr);
        assert_eq!(output.figure("arguments"), 1009 / 7, "{}", output.stderr);
        assert!(events(&output.stdout).keys().all(|number| number % 7 != 6));
    }
}

/// The upcalls of messages that have all but the first bytes of their packets in pages.
#[track_caller]
fn paged(linear: &str, tool: &[&str]) -> (u64, Output) {
    let standin = [
        "--rate",
        "5000",
        "--threads",
        "2",
        "--count",
        "211",
        "--linear",
        linear,
    ];
    trace(&standin, PAGED, tool)
}

/// The same upcalls of messages in one piece.
fn whole() -> BTreeMap<u64, Value> {
    let standin = ["--rate", "5000", "--threads", "2", "--count", "211"];
    let (_, output) = trace(&standin, NETLINK, &["--format", "json", "-d", "hex"]);
    events(&output.stdout)
}

const OF_RUN: [&str; 6] = ["time_ns", "wall_time", "cpu", "pid", "tid", "daemon"];

/// Check that packets with their end in pages are shown whole where the kernel lets a program read them.
fn pages_are_read() {
    let (_, output) = paged(
        "50",
        &["--format", "json", "-d", "hex", "--kernel-side", "pages"],
    );
    let (events, whole) = (events(&output.stdout), whole());
    assert!(events.keys().eq(whole.keys()), "{}", output.stderr);
    for (number, event) in events {
        assert_eq!(without(&event, &OF_RUN), without(&whole[&number], &OF_RUN));
        assert_eq!(event["packet"]["captured"], of_kind(&LENGTHS, number));
    }
}

/// Check that where it does not, what is in pages is said to be missing, and that the rest is as it was; and that a
/// packet filter counts those packets whose beginning does not suffice.
fn pages_are_missing() {
    let shown = ["--format", "json", "-d", "hex", "--kernel-side", "linear"];
    let (_, output) = paged("50", &shown);
    let (events, whole) = (events(&output.stdout), whole());
    assert!(events.keys().eq(whole.keys()), "{}", output.stderr);
    for (number, event) in &events {
        let whole = &whole[number];
        let fields = [&OF_RUN[..], &["packet"]].concat();
        assert_eq!(without(event, &fields), without(whole, &fields));
        let length = of_kind(&LENGTHS, *number);
        let captured = length.min(50);
        let packet = &event["packet"];
        assert_eq!(
            (&packet["length"], &packet["captured"]),
            (&length.into(), &captured.into())
        );
        assert_eq!(
            packet["paged"].as_u64().unwrap_or(0),
            length - captured,
            "event {number}"
        );
        let bytes = |event: &Value| {
            event["packet"]["bytes"]
                .as_str()
                .expect("bytes")
                .to_string()
        };
        // Four digits of base64 are three bytes.
        let digits = (captured / 3 * 4) as usize;
        assert_eq!(
            bytes(event)[..digits],
            bytes(whole)[..digits],
            "event {number}"
        );
    }
    let (_, text) = paged("50", &["-d", "hex", "--kernel-side", "linear"]);
    assert!(
        text.stdout.contains(
            "packet size 9014 bytes, size captured 50 bytes; 8964 bytes are in pages, which are not"
        ),
        "{}",
        text.stdout
    );
    // The protocol of IP is beyond 20 bytes; ARP and VLAN tags are not.
    let (_, filtered) = paged("20", &["--kernel-side", "linear", "udp"]);
    assert_eq!(filtered.figure("filtered"), 211);
    let undecided = (0..211).filter(|number| ![0, 5].contains(&(number % 8)));
    let undecided = undecided.count() as u64;
    assert_eq!(filtered.figure("of the filtered upcalls"), undecided);
}

/// What a replay of a recording shows in JSON.
#[track_caller]
fn replayed(file: &str, args: &[&str]) -> String {
    let args = [&["--replay", file, "--format", "json"], args].concat();
    run(UPCALL_MONITOR, &args)
}

/// Check that each filter shows live the very upcalls that it shows of a recording of all, and counts the others.
fn filters() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    let args = [
        "--netlink",
        "--attributes",
        "--rate",
        "5000",
        "--threads",
        "2",
        "--count",
        "808",
    ];
    let target = StandIn::start("standin-stock", &args);
    let attach = |args: &[&str]| Monitor::attach(target.pid, &[NETLINK, args].concat());
    let all = attach(&["--record", &file]);
    let filters = [
        (&["--port", "2"][..], 3 * 101),
        (&["--port", "2", "--port", "5"], 4 * 101),
        (&["--type", "action"], 2 * 101),
        (&["--type", "miss"], 6 * 101),
        (&["--thread", "handler2"], 4 * 101),
        (&["--min-size", "200"], 2 * 101),
        (
            &["--type", "miss", "--port", "2", "--min-size", "90"],
            2 * 101,
        ),
        // The kernel gives the stand-in's datapath no name.
        (&["--dp", "ovs-system"], 0),
        (&["ip and tcp"], 101),
        (&["not udp"], 5 * 101),
        (&["udp and greater 400"], 2 * 101),
        // Applied in user space.
        (&["ether[1000] < 256 and udp"], 101),
    ];
    let live: Vec<_> = filters
        .iter()
        .map(|(args, _)| attach(&[&["--format", "json", "-d", "hex"], *args].concat()))
        .collect();
    assert_eq!(target.run(), 808);
    assert_eq!(all.output().figure("shown"), 808);
    for (monitor, (args, passes)) in live.into_iter().zip(filters) {
        let output = monitor.output();
        assert_eq!(output.figure("lost"), 0, "{args:?}");
        assert_eq!(output.figure("shown"), passes, "{args:?}");
        assert_eq!(output.figure("filtered"), 808 - passes, "{args:?}");
        let live = events(&output.stdout);
        let replayed = events(&replayed(&file, &[&["-d", "hex"], args].concat()));
        assert!(live.keys().eq(replayed.keys()), "{args:?}");
        for (number, event) in live {
            let times = ["time_ns", "wall_time", "cpu"];
            assert_eq!(
                without(&event, &times),
                without(&replayed[&number], &times),
                "{args:?}"
            );
        }
    }
}

/// Check that --thread takes the id of a thread: what is shown of it is what a recording of all has of it.
fn thread_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    let args = ["--netlink", "--rate", "5000", "--threads", "3"];
    let mut target = StandIn::start("standin-stock", &args);
    let mut all = Monitor::attach(target.pid, &[NETLINK, &["--record", &file]].concat());
    target.go();
    // Its threads are there once it fires.
    let tid = loop {
        let task = format!("/proc/{}/task", target.pid);
        let thread = fs::read_dir(task)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|thread| {
                fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm == "handler2\n")
            });
        if let Some(thread) = thread {
            break thread.file_name().unwrap().to_str().unwrap().to_string();
        }
    };
    let one = ["--format", "json", "--thread", &tid, "-c", "101"];
    let one = Monitor::attach(target.pid, &[NETLINK, &one].concat()).output();
    all.signal("INT");
    all.await_line("upcalls in all");
    assert!(all.output().status.success());
    let one = events(&one.stdout);
    assert_eq!(one.len(), 101);
    assert!(
        one.values()
            .all(|event| event["tid"].as_u64() == tid.parse().ok() && event["comm"] == "handler2")
    );
    let (first, last) = (one.keys().next().unwrap(), one.keys().next_back().unwrap());
    let of_all = events(&replayed(&file, &["--thread", &tid]));
    assert!(
        of_all
            .range(first..=last)
            .map(|(number, _)| number)
            .eq(one.keys())
    );
}

/// Check that snap lengths cut what is captured of key and packet, and nothing else.
fn snap_lengths() {
    let standin = ["--attributes", "--rate", "5000", "--count", "211"];
    let json = ["--format", "json", "-d", "hex"];
    let (_, whole) = trace(&standin, NETLINK, &json);
    let whole = events(&whole.stdout);
    for (packet, key) in [(60, 150), (0, 2048), (1, 140)] {
        let sizes = [packet.to_string(), key.to_string()];
        // 0 stands for all.
        let packet = if packet == 0 { 65535 } else { packet };
        let (_, output) = trace(
            &standin,
            NETLINK,
            &[&json[..], &["-s", &sizes[0], "-f", &sizes[1]]].concat(),
        );
        let cut = events(&output.stdout);
        assert!(cut.keys().eq(whole.keys()));
        for (number, event) in cut {
            for (part, size) in [("packet", packet), ("key", key)] {
                let length = event[part]["length"].as_u64().expect("a length");
                assert_eq!(event[part]["length"], whole[&number][part]["length"]);
                assert_eq!(
                    event[part]["captured"],
                    length.min(size),
                    "event {number}: {part}"
                );
            }
            let bytes = |event: &Value| event["packet"]["bytes"].as_str().unwrap().to_string();
            let digits = (of_kind(&LENGTHS, number).min(packet) / 3 * 4) as usize;
            assert_eq!(bytes(&event)[..digits], bytes(&whole[&number])[..digits]);
            for field in ["hash", "mru", "len", "reason", "actions", "undecoded"] {
                assert_eq!(
                    event.get(field),
                    whole[&number].get(field),
                    "event {number}: {field}"
                );
            }
        }
    }
}

/// Check that a recording shows what was shown live, to the byte, with attributes and reasons, as text and as JSON, and
/// in a capture.
fn replay_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let standin = [
        "--attributes",
        "--rate",
        "5000",
        "--threads",
        "2",
        "--count",
        "199",
    ];
    for (name, form) in [
        ("text", &["-k", "nlraw", "-d", "decode"][..]),
        ("odp", &["-k", "odp"]),
        ("json", &["--format", "json", "-d", "decode"]),
    ] {
        let [recording, live, again] =
            ["rec", "live", "again"].map(|end| path(&folder, &format!("{name}.{end}")));
        let (_, output) = trace(
            &standin,
            NETLINK,
            &[form, &["--record", &recording, "-w", &live]].concat(),
        );
        assert_eq!(output.figure("shown"), 199);
        let replay = [form, &["--replay", &recording, "-w", &again]].concat();
        let replay = Command::new(UPCALL_MONITOR).args(replay).output().unwrap();
        assert!(replay.status.success());
        assert!(
            output.stdout.as_bytes() == replay.stdout,
            "the outputs differ: {name}"
        );
        assert!(
            fs::read(live).unwrap() == fs::read(again).unwrap(),
            "the captures differ: {name}"
        );
    }
}
