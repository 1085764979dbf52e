//! dpif-ops on live probes of this kernel, which fixtures/standin fires, and on recordings of them.
//!
//! The comment at the top of `fixtures/standin/ops.c` says which operations upcall n fires, which is what these tests
//! expect. Those that need root are listed as ignored without it.

mod common;
#[path = "common/schema.rs"]
mod schema;
#[path = "common/vectors.rs"]
#[allow(dead_code, reason = "the vectors are other tests'")]
mod vectors;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use common::{DPIF_OPS, Monitor, Output, StandIn, is_root, trial};
use libtest_mimic::Arguments;
use ovs_tracers::bpf::dpif_ops::types::{dpif_family, dpif_messages, dpif_op, dpif_op_record};
use ovs_tracers::bpf::record::bytes;
use ovs_tracers::dpif_ops::event::{Op, RECORDS};
use ovs_tracers::dpif_ops::show::Row;
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::recording::{Block, Reader, Start, Writer};
use ovs_tracers::show::decode::Decode;
use ovs_tracers::show::json::Line;
use proptest::prelude::*;
use schema::Schema;
use serde_json::{Value, json};
use vectors::attribute;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of("dpif-ops"));

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine.
    args.test_threads.get_or_insert(1);
    let root = ("root", is_root());
    let mut trials = Vec::new();
    macro_rules! trials {
        ($needs:expr; $($name:ident),*) => {
            $(trials.push(trial(stringify!($name), $name, $needs));)*
        };
    }
    trials!(
        &[root];
        every_operation_once,
        only_some_operations,
        only_one_thread,
        cut_requests,
        count,
        smallest_ring,
        intervals,
        golden,
        closed_pipe,
        full_disk,
        replay_is_the_same,
        filters_of_a_replay
    );
    trials!(
        &[];
        any_record,
        mutated_record,
        impossible_records,
        short_requests,
        cut_anywhere,
        version_1,
        kernel_operations,
        impossible_kernel_operations,
        kernel_recording
    );
    libtest_mimic::run(&args, trials).exit_code()
}

/// The records of a stream that have this tag.
#[track_caller]
fn records(stdout: &str, tag: &str) -> Vec<Value> {
    let lines = SCHEMA.stream(stdout).into_iter();
    lines.filter(|line| line["record"] == tag).collect()
}

/// The summary, which is the last line.
#[track_caller]
fn summary(stdout: &str) -> Value {
    let last = SCHEMA.stream(stdout).pop().expect("a line");
    assert_eq!(last["record"], "summary");
    last
}

fn replay(file: &str, args: &[&str]) -> Output {
    let output = Command::new(DPIF_OPS)
        .args(["--replay", file])
        .args(args)
        .output()
        .expect("dpif-ops starts");
    Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Bytes of packet n % 8 of the table in fixtures/standin/standin.c.
const PACKETS: [u64; 8] = [42, 54, 73, 98, 86, 158, 492, 9014];
/// Bytes of its key: 84 of metadata, 16 of eth, 8 of eth_type, then arp (28); ipv4 (16) with tcp and tcp_flags (8 + 8),
/// udp or icmp (8); ipv6 (44), icmpv6 (8) and nd (32). The sixth has a VLAN tag (20), the seventh a tunnel (60).
const KEYS: [u64; 8] = [136, 140, 132, 132, 192, 160, 192, 132];
const IN_PORTS: [u64; 8] = [1, 2, 3, 2, 1, 4, 5, 2];
/// The outermost.
const ETH_TYPES: [&str; 8] = [
    "0x0806", "0x0800", "0x0800", "0x0800", "0x86dd", "0x8100", "0x0800", "0x0800",
];
/// Of the three headers, and of the attribute of a UFID.
const HEADERS: u64 = 24;
const UFID: u64 = 4 + 16;

/// The operations of upcall n in their order, as they are in JSON but for time, thread, flow and what all have in common.
fn expected(n: u64) -> Vec<Value> {
    let which = (n % 8) as usize;
    let (packet, key) = (PACKETS[which], KEYS[which]);
    let ufid = format!("{n:08x}-0000-0000-0000-000000000000");
    let request = |length: u64| json!({"length": length, "captured": length});
    let mut operations = Vec::new();
    if n % 5 != 4 {
        let modify = n % 11 == 10;
        let probe = n % 13 == 12;
        // Key, mask, actions, and an empty attribute.
        let length = HEADERS + UFID + (4 + key) + (4 + 16) + (4 + 8) + if probe { 4 } else { 0 };
        operations.push(json!({
            "operation": "put", "command": if modify { "modify" } else { "create" },
            "nlmsg_flags": if modify { 1 } else { 0x401 }, "probe": probe, "ufid": ufid,
            "actions": n.to_string(), "packet_length": null, "request": request(length)
        }));
    }
    if n % 7 != 6 {
        let length = HEADERS + (4 + packet.next_multiple_of(4)) + (4 + key) + (4 + 8);
        operations.push(json!({
            "operation": "execute", "command": "execute", "nlmsg_flags": 1, "probe": false, "ufid": null,
            "actions": n.to_string(), "packet_length": packet, "packet_link": "ethernet",
            "request": request(length)
        }));
    }
    for (is_there, operation, command) in [
        (n.is_multiple_of(17), "get", "get"),
        (n.is_multiple_of(3), "del", "delete"),
    ] {
        if is_there {
            operations.push(json!({
                "operation": operation, "command": command, "nlmsg_flags": 1, "probe": false, "ufid": ufid,
                "packet_length": null, "request": request(HEADERS + UFID)
            }));
        }
    }
    operations
}

/// How many operations these upcalls fire.
fn fired(upcalls: impl Iterator<Item = u64>) -> u64 {
    upcalls.map(|n| expected(n).len() as u64).sum()
}

/// Checks the flow of a line, that of upcall n.
#[track_caller]
fn check_flow(line: &Value, n: u64) {
    let which = (n % 8) as usize;
    let mark = if n == 0 {
        "0".to_string()
    } else {
        format!("{n:#x}")
    };
    let (in_port, eth_type) = (IN_PORTS[which], ETH_TYPES[which]);
    // What has its whole mask is shown without it, and all but in_port and eth_type has none of it.
    let exact = [
        format!("in_port({in_port}),"),
        format!("eth_type({eth_type}),"),
    ];
    let mask = match line["operation"].as_str() {
        Some("put") => "/0",
        Some("execute") => "",
        _ => return assert_eq!(line.get("flow"), None),
    };
    let flow = line["flow"].as_str().expect("a flow");
    let marked = format!("skb_mark({mark}{mask}),");
    for part in exact.iter().chain([&marked, &format!("dp_hash(0{mask}),")]) {
        assert!(flow.contains(part), "{part} is not in {flow}");
    }
}

/// Check that each operation of each thread is shown once, in its place, and with its own content.
fn every_operation_once() {
    const COUNT: u64 = 1009;
    let args = ["--rate", "5000", "--threads", "3", "--count", "1009"];
    let target = StandIn::start("standin-ops", &args);
    let pid = target.pid;
    let tool = Monitor::attach_tool(DPIF_OPS, pid, &["--format", "json"]);
    assert_eq!(target.run(), COUNT);
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.figure("operations in all"), fired(0..COUNT));
    assert_eq!(output.figure("shown"), fired(0..COUNT), "{}", output.stderr);
    assert_eq!(output.figure("lost"), 0, "{}", output.stderr);

    let mut threads: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for op in records(&output.stdout, "op") {
        let comm = op["comm"].as_str().expect("a name").to_string();
        threads.entry(comm).or_default().push(op);
    }
    let names: Vec<&String> = threads.keys().collect();
    assert_eq!(names, ["handler1", "handler2", "handler3"]);
    let mut tids = Vec::new();
    for (first, mut ops) in threads.into_values().enumerate() {
        ops.sort_by_key(|op| op["time_ns"].as_u64());
        let tid = ops[0]["tid"].clone();
        let mut ops = ops.into_iter();
        for n in (first as u64..COUNT).step_by(3) {
            for expected in expected(n) {
                let op = ops.next().expect("an operation");
                for (name, value) in expected.as_object().expect("an object") {
                    assert_eq!(&op[name], value, "{name} of upcall {n}: {op}");
                }
                let has_actions = expected.get("actions").is_some();
                assert_eq!(op.get("actions").is_some(), has_actions, "{op}");
                assert_eq!((&op["pid"], &op["tid"]), (&json!(pid), &tid));
                assert_eq!(
                    (&op["dp_ifindex"], &op["problems"]),
                    (&json!(6), &json!([]))
                );
                check_flow(&op, n);
            }
        }
        assert_eq!(ops.next(), None);
        assert!(!tids.contains(&tid));
        tids.push(tid);
    }

    let summary = summary(&output.stdout);
    let counts = |by: &str| -> BTreeMap<String, u64> {
        let counts = summary["operations"][by].as_array().expect("counts").iter();
        let count =
            |count: &Value| Some((count["name"].as_str()?.into(), count["count"].as_u64()?));
        counts.map(|line| count(line).expect("a count")).collect()
    };
    let mut by_operation: BTreeMap<String, u64> = BTreeMap::new();
    for op in (0..COUNT).flat_map(expected) {
        let mut name = op["operation"].as_str().expect("a name").to_string();
        if name == "put" {
            name = format!("put {}", op["command"].as_str().expect("a name"));
        }
        if op["probe"] == true {
            name += " probe";
        }
        *by_operation.entry(name).or_default() += 1;
    }
    assert_eq!(by_operation.len(), 7);
    assert_eq!(counts("by_operation"), by_operation);
    let by_thread = (0..3).map(|first| {
        let (number, tid) = (first + 1, &tids[first as usize]);
        let count = fired((first..COUNT).step_by(3));
        (format!("handler{number} ({tid})"), count)
    });
    assert_eq!(counts("by_thread"), by_thread.collect());
    let all = BTreeMap::from([("6".to_string(), fired(0..COUNT))]);
    assert_eq!(counts("by_datapath"), all);
}

/// Check that operations which are not asked for are neither attached nor counted.
fn only_some_operations() {
    let target = StandIn::start("standin-ops", &["--rate", "5000", "--count", "211"]);
    let pid = target.pid;
    let tool = Monitor::attach_tool(DPIF_OPS, pid, &["-o", "put,del", "--format", "json"]);
    target.run();
    let output = tool.output();
    let attached = format!(
        "attached to dpif_netlink_operate__:op_flow_put and dpif_netlink_operate__:op_flow_del of process {pid} (3 \
         sites); Ctrl-C ends it\n"
    );
    assert!(output.stderr.starts_with(&attached), "{}", output.stderr);
    let wanted = |op: &Value| op["operation"] == "put" || op["operation"] == "del";
    let expected: Vec<Value> = (0..211).flat_map(expected).filter(wanted).collect();
    let shown = records(&output.stdout, "op");
    for (op, expected) in shown.iter().zip(&expected) {
        assert_eq!(op["operation"], expected["operation"]);
        assert_eq!(op["ufid"], expected["ufid"]);
    }
    assert_eq!(shown.len(), expected.len());
    assert_eq!(output.figure("operations in all"), expected.len() as u64);
    let summary = summary(&output.stdout);
    assert_eq!(summary["shown"], expected.len());
    assert_eq!(summary["filtered"], 0);
}

/// Check that --thread shows what this thread does, by its name or its id, and counts what others do.
fn only_one_thread() {
    let args = ["--rate", "5000", "--threads", "3", "--count", "307"];
    let target = StandIn::start("standin-ops", &args);
    let by_name = Monitor::attach_tool(DPIF_OPS, target.pid, &["-t", "handler2"]);
    // The first thread of the process is not a handler.
    let id = target.pid.to_string();
    let by_id = Monitor::attach_tool(DPIF_OPS, target.pid, &["-t", &id]);
    target.run();
    let output = by_name.output();
    let (all, shown) = (fired(0..307), fired((1..307).step_by(3)));
    let rows = output.rows();
    assert_eq!(rows.len() as u64, shown);
    assert!(
        rows.iter().all(|row| row.contains(" handler2 ")),
        "{rows:?}"
    );
    assert_eq!(output.figure("shown"), shown);
    assert_eq!(output.figure("filtered"), all - shown);
    assert_eq!(output.figure("operations in all"), all);
    let output = by_id.output();
    assert_eq!(output.rows().len(), 0);
    assert_eq!(output.figure("filtered"), all);
}

/// Check that requests which are cut say so, and where, and that shorter ones are whole.
fn cut_requests() {
    let target = StandIn::start("standin-ops", &["--count", "1"]);
    let text = Monitor::attach_tool(DPIF_OPS, target.pid, &["-s", "64"]);
    let json = Monitor::attach_tool(DPIF_OPS, target.pid, &["-s", "64", "--format", "json"]);
    target.run();
    let text = text.output().stdout;
    let mut lines = text.lines().skip(1);
    let mut next = || lines.next().expect("a line").trim_end();
    // The key begins at byte 44 and has 136 bytes, the packet at byte 24.
    assert!(
        next().ends_with("put create       6                    216 bytes, 64 captured"),
        "{text}"
    );
    assert_eq!(
        next(),
        "    ufid:00000000-0000-0000-0000-000000000000, recirc_id(0),dp_hash(0),<cut at byte 44: 16 of 136 bytes>"
    );
    assert_eq!(next(), "    warning: cut at byte 44: 16 of 136 bytes");
    assert!(
        next().ends_with("execute          6                    224 bytes, 64 captured"),
        "{text}"
    );
    assert_eq!(next(), "    packet of 42 bytes (of unknown link type)");
    assert_eq!(next(), "    warning: cut at byte 24: 36 of 42 bytes");
    for operation in ["get", "del"] {
        let row = format!("{operation}              6                    44 bytes");
        assert!(next().ends_with(&row), "{text}");
        assert_eq!(next(), "    ufid:00000000-0000-0000-0000-000000000000");
    }
    assert_eq!(lines.next(), None);

    let ops = records(&json.output().stdout, "op");
    let part = |name: &str| ops.iter().map(|op| op[name].clone()).collect::<Vec<_>>();
    let request = |length, captured| json!({"length": length, "captured": captured});
    assert_eq!(
        part("request"),
        [
            request(216, 64),
            request(224, 64),
            request(44, 44),
            request(44, 44)
        ]
    );
    assert_eq!(
        part("problems"),
        [
            json!(["cut at byte 44: 16 of 136 bytes"]),
            json!(["cut at byte 24: 36 of 42 bytes"]),
            json!([]),
            json!([])
        ]
    );
}

/// Check that --count ends it after so many operations, and that those which came later are counted.
fn count() {
    let target = StandIn::start("standin-ops", &["--rate", "0", "--count", "2003"]);
    let tool = Monitor::attach_tool(DPIF_OPS, target.pid, &["-c", "10", "--format", "json"]);
    target.run();
    let output = tool.output();
    assert!(output.status.success());
    assert_eq!(records(&output.stdout, "op").len(), 10);
    let summary = summary(&output.stdout);
    let figure = |name: &str| summary[name].as_u64().expect("a count");
    assert_eq!((figure("shown"), figure("filtered")), (10, 0));
    let sum = 10 + figure("pending") + figure("lost");
    assert_eq!(output.figure("operations in all"), sum);
    // The tool may detach before all of them are fired.
    assert!(sum <= fired(0..2003), "{}", output.stdout);
}

/// Check that each operation of a burst is either shown or counted as lost, and that there is a warning.
fn smallest_ring() {
    const COUNT: u64 = 40009;
    let args = ["--rate", "0", "--threads", "3", "--count", "40009"];
    let target = StandIn::start("standin-ops", &args);
    let args = ["--buffer-page-count", "1", "--format", "json"];
    let tool = Monitor::attach_tool(DPIF_OPS, target.pid, &args);
    target.run();
    let output = tool.output();
    let shown = records(&output.stdout, "op").len() as u64;
    let lost = output.figure("lost");
    assert!(lost > 0, "the ring held the burst");
    assert_eq!(shown + lost, fired(0..COUNT), "{}", output.stderr);
    assert_eq!(output.figure("shown"), shown);
    let summary = summary(&output.stdout);
    assert_eq!(
        (&summary["shown"], &summary["lost"]),
        (&json!(shown), &json!(lost))
    );
    assert_eq!(
        summary["lost_reasons"],
        json!({"ring_full": lost, "arguments_unreadable": 0})
    );
    let reported = records(&output.stdout, "lost");
    let reported = reported.iter().filter_map(|line| line["lost"].as_u64());
    assert_eq!(reported.sum::<u64>(), lost);
    assert!(
        output.stderr.contains("warning: ")
            && output
                .stderr
                .contains("; a larger --buffer-page-count helps\n"),
        "{}",
        output.stderr
    );
}

/// Check that each interval has its own counts, whose sums are not more than those of the run, and that -q shows no
/// operations.
fn intervals() {
    let target = StandIn::start("standin-ops", &["--rate", "5000", "--count", "5003"]);
    let args = ["-q", "--interval", "200ms", "--format", "json"];
    let tool = Monitor::attach_tool(DPIF_OPS, target.pid, &args);
    target.run();
    let output = tool.output();
    let intervals = records(&output.stdout, "interval");
    assert!((2..20).contains(&intervals.len()), "{}", output.stdout);
    assert_eq!(records(&output.stdout, "op").len(), 0);
    let summary = summary(&output.stdout);
    assert_eq!(summary["shown"], fired(0..5003));
    let counts = |report: &Value| -> BTreeMap<String, u64> {
        let seconds = report["seconds"].as_f64().expect("a number");
        let lines = report["by_operation"].as_array().expect("counts").iter();
        let counts = lines.map(|line| {
            let count = line["count"].as_u64().expect("a count");
            let rate = line["per_second"].as_f64().expect("a rate");
            assert!((rate - count as f64 / seconds).abs() < 0.01, "{report}");
            (line["name"].as_str().expect("a name").to_string(), count)
        });
        counts.collect()
    };
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for interval in &intervals {
        let report = &interval["operations"];
        assert!(interval["time_ns"].is_u64() && interval["wall_time"].is_string());
        assert!(
            report["seconds"]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0)
        );
        for (name, count) in counts(report) {
            *sums.entry(name).or_default() += count;
        }
    }
    let whole = counts(&summary["operations"]);
    assert_eq!(whole.values().sum::<u64>(), fired(0..5003));
    // All but what came after the last interval.
    assert!(sums.values().sum::<u64>() > 0);
    for (name, sum) in sums {
        assert!(whole[&name] >= sum, "{name}: {sum} of {whole:?}");
    }
}

/// A table without times, CPUs and ids of threads.
fn without_times(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        if line.starts_with(' ') {
            line.to_string()
        } else {
            format!("{} {}", &line[24..40], &line[51..])
        }
    });
    lines.collect()
}

/// Check that a trace shows in each form what `fixtures/recordings/dpif-ops.FORM.txt` shows, which was read and found
/// right: that is of a recording of the same operations, see `fixtures/recordings/dpif-ops.txt`.
fn golden() {
    let target = StandIn::start("standin-ops", &["--rate", "5000", "--count", "13"]);
    let forms = ["odp", "nlraw", "hex"];
    let tools =
        forms.map(|form| Monitor::attach_tool(DPIF_OPS, target.pid, &["-s", "320", "-n", form]));
    target.run();
    for (form, tool) in forms.iter().zip(tools) {
        let output = tool.output();
        let file = format!("fixtures/recordings/dpif-ops.{form}.txt");
        let expected = fs::read_to_string(file).expect("an expected text");
        let (expected, end) = expected.trim_end().rsplit_once('\n').expect("lines");
        let (shown, expected) = (without_times(&output.stdout), without_times(expected));
        for (number, (shown, expected)) in shown.iter().zip(&expected).enumerate() {
            assert_eq!(shown, expected, "{form}, line {}", number + 1);
        }
        assert_eq!(shown.len(), expected.len());
        assert!(
            output.stderr.ends_with(&format!("\n{end}\n")),
            "{}",
            output.stderr
        );
    }
}

/// Check that a reader which goes away ends the trace, and is no error.
fn closed_pipe() {
    let mut target = StandIn::start("standin-ops", &["--rate", "5000"]);
    target.go();
    let mut child = Command::new(DPIF_OPS)
        .args(["-p", &target.pid.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dpif-ops starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("error"), "{stderr}");
    assert!(stderr.contains(" operations in all: "), "{stderr}");
}

/// Check that a full disk ends the trace with one error.
fn full_disk() {
    let mut target = StandIn::start("standin-ops", &["--rate", "5000"]);
    target.go();
    for args in [
        &[][..],
        &["--format", "json"],
        &["-q", "--interval", "100ms"],
    ] {
        let output = Command::new(DPIF_OPS)
            .args(["-p", &target.pid.to_string()])
            .args(args)
            .stdout(File::create("/dev/full").expect("it can be written to"))
            .output()
            .expect("dpif-ops starts");
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        let error = "error: failed to write standard output: No space left on device\n\
                     \x20 what was written before can be read\n";
        assert!(stderr.ends_with(error), "{stderr}");
    }
}

/// The records of a stream but the last one, its summary, and that without times: a replay takes other times for the
/// run.
#[track_caller]
fn without_seconds(stdout: &str) -> (&str, Value) {
    let mut summary = summary(stdout);
    let operations = summary["operations"].as_object_mut().expect("an object");
    operations.remove("seconds").expect("it was there");
    for counts in operations.values_mut() {
        for count in counts.as_array_mut().expect("an array") {
            count["per_second"].take();
        }
    }
    let (lines, _) = stdout.trim_end().rsplit_once('\n').expect("lines");
    (lines, summary)
}

/// Check that a recording shows what the trace showed, byte by byte.
fn replay_is_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("UTF-8")
            .to_string()
    };
    let target = StandIn::start(
        "standin-ops",
        &["--rate", "5000", "--threads", "3", "--count", "211"],
    );
    let forms: [&[&str]; 3] = [&[], &["-n", "nlraw"], &["--format", "json"]];
    let tools: Vec<(String, Monitor)> = forms
        .iter()
        .enumerate()
        .map(|(number, form)| {
            let file = file(&number.to_string());
            let args = [&["--record", &file, "-s", "300"], *form].concat();
            let tool = Monitor::attach_tool(DPIF_OPS, target.pid, &args);
            (file, tool)
        })
        .collect();
    target.run();
    for (form, (file, tool)) in forms.iter().zip(tools) {
        let live = tool.output();
        let replay = replay(&file, form);
        assert!(replay.status.success(), "{}", replay.stderr);
        if form.contains(&"json") {
            let (live, replay) = (
                without_seconds(&live.stdout),
                without_seconds(&replay.stdout),
            );
            assert!(live.0 == replay.0);
            assert_eq!(live.1, replay.1);
        } else {
            assert_eq!(live.rows().len() as u64, fired(0..211));
            assert!(live.stdout == replay.stdout);
        }
        assert!(live.stderr.ends_with(&replay.stderr), "{}", replay.stderr);
        assert_eq!(replay.figure("shown"), fired(0..211));
    }
}

/// Check that filters choose from a recording what they choose from a trace.
fn filters_of_a_replay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("all");
    let file = file.to_str().expect("UTF-8");
    let target = StandIn::start(
        "standin-ops",
        &["--rate", "5000", "--threads", "3", "--count", "211"],
    );
    let all = Monitor::attach_tool(DPIF_OPS, target.pid, &["-q", "--record", file]);
    let filters = ["-o", "put,del", "-t", "handler2", "--format", "json"];
    let live = Monitor::attach_tool(DPIF_OPS, target.pid, &filters);
    target.run();
    let all = all.output().figure("counted");
    let live = live.output();
    let replay = replay(file, &filters);
    let ops = |stdout: &str| {
        let mut ops = records(stdout, "op");
        for op in &mut ops {
            for name in ["time_ns", "wall_time", "cpu"] {
                op[name].take();
            }
        }
        ops
    };
    let (shown, expected) = (ops(&replay.stdout), ops(&live.stdout));
    assert_eq!(shown, expected);
    assert!(expected.len() > 50);
    let summary = summary(&replay.stdout);
    assert_eq!(summary["shown"], expected.len());
    // In the trace others are not attached, and not counted.
    assert_eq!(summary["filtered"], all - expected.len() as u64);
    assert_eq!(replay.figure("filtered"), all - expected.len() as u64);
}

/// The records of `fixtures/recordings/dpif-ops.rec`.
static RECORDED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bytes = fs::read("fixtures/recordings/dpif-ops.rec").expect("a recording");
    let mut reader = Reader::new(&bytes[..], &RECORDS).expect("a recording");
    let mut records = Vec::new();
    loop {
        match reader.next_block().expect("it is whole") {
            Block::Record(record) => records.push(record.to_vec()),
            Block::End => return records,
            _ => {}
        }
    }
});

/// Bytes before those of a request.
const HEADER: usize = size_of::<dpif_op_record>();

/// A record with these bytes of a request; `change` has the header.
fn record(kind: u16, request: &[u8], change: impl FnOnce(&mut dpif_op_record)) -> Vec<u8> {
    let len = request.len() as u32;
    let mut header = dpif_op_record {
        size: len,
        len,
        ..Default::default()
    };
    header.head.kind = kind;
    change(&mut header);
    [bytes(&header), request].concat()
}

/// Shows a record in each form, if it is one, and returns the text as which odp shows it, and its JSON, which must be of
/// the schema.
fn show(record: &[u8]) -> Option<(String, Value)> {
    let op = Op::from_record(record)?;
    assert!(op.record_len <= record.len());
    assert!(op.message.bytes.len() <= op.message.len as usize);
    let mut ports = PortNames::default();
    let datapath = b"system@d\xff\n";
    ports.insert_datapath(op.dp_ifindex(), datapath);
    ports.insert(datapath, 1, "p\u{202e}");
    let mut title = String::new();
    op.title(&mut title).expect("memory takes it");
    let row = Row {
        op: &op,
        title: &title,
        datapath: ports.known_datapath(op.dp_ifindex()),
        ports: Some(&ports),
        wall_time: op.head.time,
    };
    let texts = [Decode::None, Decode::Hex, Decode::Nlraw, Decode::Odp].map(|decode| {
        let mut text = String::new();
        row.text(decode, &mut text).expect("memory takes it");
        let is_shown = |c| c == '\n' || !char::is_control(c) && c != '\u{202e}';
        assert!(
            text.ends_with('\n') && text.chars().all(is_shown),
            "{text:?}"
        );
        text
    });
    let mut line = Line::default();
    line.start(1, &Start::new(&RECORDS));
    let mut out = Vec::new();
    line.write(&mut out).expect("memory takes it");
    line.record("op");
    row.json(&mut line);
    line.write(&mut out).expect("memory takes it");
    let out = String::from_utf8(out).expect("UTF-8");
    let json = SCHEMA.stream(&out).pop();
    let [.., odp] = texts;
    json.map(|json| (odp, json))
}

/// Runs of attributes of plausible types and any payloads.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let run = |attributes: Vec<(u16, Vec<u8>)>| -> Vec<u8> {
        let attributes = attributes.into_iter();
        attributes
            .flat_map(|(kind, payload)| attribute(kind, &payload))
            .collect()
    };
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let inner = prop::collection::vec((0u16..40, bytes()), 0..6).prop_map(run);
    prop::collection::vec((0u16..14, prop_oneof![bytes(), inner]), 0..6).prop_map(run)
}

proptest! {
    // The harness has no file beside which failures could be kept.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Check that no bytes make a record panic, and that what it shows is of the schema: bytes of any kind, and headers
    /// of a record and a request with any attributes.
    fn any_record(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        (kind, error, longer) in (0u16..7, prop_oneof![Just(0), any::<i32>()], 0u32..100),
        (time, flags, cmd, dp_ifindex) in any::<(u64, u16, u8, i32)>(),
        (duration, result, messages, chunk) in any::<(u64, i32, u32, i32)>(),
        (family, command) in (0u8..7, 0u8..6),
        (attributes, cut) in (attributes(), 0usize..400),
    ) {
        show(&bytes);
        let mut request = [0; 24];
        request[6..8].copy_from_slice(&flags.to_ne_bytes());
        request[16] = cmd % 6;
        request[20..24].copy_from_slice(&dp_ifindex.to_ne_bytes());
        let mut request = [&request[..], &attributes].concat();
        request.truncate(cut);
        if error != 0 {
            request.clear();
        }
        let record = record(kind, &request, |header| {
            header.head.time = time;
            header.size += longer;
            header.error = error;
            let handled = &mut header.handled;
            (handled.duration, handled.result) = (duration, result);
            (handled.messages, handled.chunk) = (messages, chunk);
            (handled.flags, handled.family, handled.command) = (flags, family, command);
        });
        let shown = show(&record);
        if !(4..6).contains(&kind) {
            prop_assert_eq!(shown.is_some(), kind < 4);
        }
        if let Some((_, json)) = shown {
            prop_assert_eq!(&json["request"]["captured"], request.len());
            prop_assert_eq!(json.get("dp_ifindex").is_some(), request.len() >= 24);
        }
    }

    /// Check the same for real records of which one byte is another, and which are cut.
    fn mutated_record(
        number in any::<prop::sample::Index>(),
        (at, to) in any::<(prop::sample::Index, u8)>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut record = number.get(&RECORDED).clone();
        let at = at.index(record.len());
        record[at] = to;
        show(&record);
        let cut = cut.index(record.len());
        // Without its last bytes it is no record, unless it claims fewer.
        let len = u32::from_ne_bytes(record[44..48].try_into().expect("4 bytes"));
        prop_assert!(show(&record[..cut]).is_none() || HEADER + len as usize <= cut);
    }
}

/// Check that a record is refused which no program would write: one with more bytes than the request has, or with bytes
/// of a request that could not be read.
fn impossible_records() {
    let request = [0; 24];
    assert!(show(&record(0, &request, |_| ())).is_some());
    assert!(show(&record(0, &request, |header| header.size = 23)).is_none());
    assert!(show(&record(0, &request, |header| header.error = -14)).is_none());
    assert!(show(&record(0, &request, |header| header.len = 25)).is_none());
    assert!(show(&record(4, &request, |_| ())).is_none());
}

/// Check that a request without its headers says so, in text and in JSON, and so does one that could not be read.
fn short_requests() {
    let (text, json) = show(&record(2, &[0; 23], |_| ())).expect("a record");
    let warning = "a request of 23 bytes is shorter than its headers of 24";
    assert!(
        text.ends_with(&format!(" 23 bytes\n    warning: {warning}\n")),
        "{text}"
    );
    assert_eq!(json["operation"], "get");
    assert_eq!(json["problems"], json!([warning]));
    assert_eq!(json.get("command"), None);

    let unread = |header: &mut dpif_op_record| (header.size, header.error) = (300, -14);
    let (text, json) = show(&record(3, &[], unread)).expect("a record");
    assert!(
        text.ends_with(" 300 bytes, which could not be read: Bad address\n"),
        "{text}"
    );
    let request = json!({"length": 300, "captured": 0, "error": 14, "error_name": "EFAULT"});
    assert_eq!(json["request"], request);
    assert_eq!((json.get("problems"), json.get("command")), (None, None));
}

/// Check that a request which is cut says so and where, at each byte behind its headers, between two attributes too:
/// without its mask, the flow of a put reads as one of which every bit matters.
fn cut_anywhere() {
    let whole = &RECORDED[0];
    let (_, json) = show(whole).expect("a record");
    assert_eq!(json["problems"], json!([]));
    let size = whole.len() - HEADER;
    // Where the UFID, the key, the mask and the actions begin.
    let attributes = [24, 44, 184, 204];
    for cut in 24..size {
        let cut_off = |header: &mut dpif_op_record| header.size = size as u32;
        let record = record(0, &whole[HEADER..HEADER + cut], cut_off);
        let (text, json) = show(&record).expect("a record");
        let problems = json["problems"].as_array().expect("an array");
        let [problem] = &problems[..] else {
            panic!("cut at {cut}: {problems:?}");
        };
        let problem = problem.as_str().expect("text");
        assert!(
            text.ends_with(&format!("    warning: {problem}\n")),
            "{text}"
        );
        let at = attributes.iter().rfind(|at| **at <= cut).expect("one");
        if *at == cut {
            assert_eq!(problem, format!("cut at byte {cut} of {size}"));
        } else {
            let expected = format!("cut at byte {at}: ");
            assert!(problem.starts_with(&expected), "cut at {cut}: {problem}");
        }
    }
}

/// Check that a record of version 1, written out here as its layout was, becomes the same operation, that a kind which
/// there was not yet stays unknown, and that one which is cut anywhere does not become one.
fn version_1() {
    let old = |kind: u16| {
        let mut old = Vec::new();
        old.extend_from_slice(&7u64.to_ne_bytes());
        for word in [100u32, 101, 3] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        for half in [kind, 0] {
            old.extend_from_slice(&half.to_ne_bytes());
        }
        old.extend_from_slice(b"handler1\0garbage");
        // size, len, error, pad
        for word in [30u32, 24, 0, 0] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        old.extend_from_slice(&message(0, 3, &[]));
        old
    };
    let upgraded = |record: &[u8]| {
        let mut upgraded = Vec::new();
        (RECORDS.upgrade)(1, record, &mut upgraded);
        upgraded
    };
    let expected = record(3, &message(0, 3, &[]), |header| {
        header.size = 30;
        let head = &mut header.head;
        (head.time, head.pid, head.tid, head.cpu) = (7, 100, 101, 3);
        head.comm = b"handler1\0garbage".map(|byte| byte as i8);
    });
    assert_eq!(upgraded(&old(3)), expected);
    let op = upgraded(&old(3));
    let op = Op::from_record(&op).expect("an operation");
    assert_eq!((op.operation.name(), op.handled), ("execute", None));
    for kind in [4, 5, 6] {
        assert!(Op::from_record(&upgraded(&old(kind))).is_none());
    }
    let whole = old(0);
    for cut in 0..whole.len() {
        let upgraded = upgraded(&whole[..cut]);
        assert!(Op::from_record(&upgraded).is_none(), "cut at {cut}");
    }
}

/// A request of the datapath with number 6.
fn message(flags: u16, cmd: u8, attributes: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 24];
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[16] = cmd;
    message[20] = 6;
    message.extend_from_slice(attributes);
    message
}

const DUMP: u16 = 0x300;
const FLOW: u32 = dpif_family::FAMILY_FLOW.0;
const VPORT: u32 = dpif_family::FAMILY_VPORT.0;

/// The record of a request that the kernel has handled in 1234 ns, with the chunk of a dump, if it made one: its messages
/// and what its function returned.
fn handled(
    kind: dpif_op,
    family: u32,
    request: &[u8],
    result: i32,
    chunk: Option<(u32, i32)>,
) -> Vec<u8> {
    record(kind.0 as u16, request, |header| {
        header.head.time = 5;
        header.handled.duration = 1234;
        header.handled.result = result;
        header.handled.family = family as u8;
        header.handled.flags = u16::from_ne_bytes([request[6], request[7]]);
        header.handled.command = request[16];
        (header.handled.messages, header.handled.chunk) =
            chunk.unwrap_or((dpif_messages::NO_CHUNK.0, 0));
    })
}

/// Check what is shown of the kernel's operations: the result, where -EINTR says that a dump has begun and of nothing
/// else that all is well; the duration; the chunks of a dump, the first with its request; names of families, commands,
/// attributes and ports.
fn kernel_operations() {
    use dpif_op as op;

    let name = attribute(3, b"p\xe2\x80\xae1\0");
    let vport = |cmd, flags, attributes: &[u8]| message(flags, cmd, attributes);
    let dump = message(DUMP, 3, &attribute(10, &7u32.to_ne_bytes()));
    // The columns from the operation on, what is below the row, and the fields of JSON.
    let cases = [
        (
            handled(op::OP_REQUEST, FLOW, &message(0x400, 1, &[]), -17, None),
            "put create       EEXIST     1.23 us    system@d\\xff\\n       24 bytes",
            "    ",
            json!({"operation": "put", "family": "ovs_flow", "command": "create", "result": -17,
                "result_name": "EEXIST", "duration_ns": 1234}),
        ),
        (
            handled(op::OP_REQUEST, FLOW, &dump, -4, Some((27, 3992))),
            "dump             ok         1.23 us    system@d\\xff\\n       32 bytes, chunk of 3992 bytes with 27 messages",
            "    nla_len 8, nla_type OVS_FLOW_ATTR_UFID_FLAGS[10], data: 07 00 00 00",
            json!({"operation": "dump", "command": "dump", "result": 0,
                "chunk": {"first": true, "bytes": 3992, "messages": 27}}),
        ),
        (
            handled(op::OP_CHUNK, FLOW, &dump, 0, Some((1, 148))),
            "dump chunk       ok         1.23 us    system@d\\xff\\n       chunk of 148 bytes with 1 message",
            "",
            json!({"operation": "dump", "result": 0, "chunk": {"first": false, "bytes": 148, "messages": 1}}),
        ),
        (
            handled(
                op::OP_CHUNK,
                FLOW,
                &dump,
                0,
                Some((dpif_messages::UNCOUNTED.0, 32000)),
            ),
            "dump chunk       ok         1.23 us    system@d\\xff\\n       chunk of 32000 bytes",
            "",
            json!({"chunk": {"first": false, "bytes": 32000, "messages": null}}),
        ),
        (
            handled(op::OP_CHUNK, FLOW, &dump, 0, Some((0, 0))),
            "dump chunk       ok         1.23 us    system@d\\xff\\n       end of the dump",
            "",
            json!({"result": 0, "chunk": {"first": false, "bytes": 0, "messages": 0}}),
        ),
        // It has begun, and its first chunk failed.
        (
            handled(
                op::OP_REQUEST,
                VPORT,
                &vport(3, DUMP, &[]),
                -4,
                Some((0, -19)),
            ),
            "vport dump       ENODEV     1.23 us    system@d\\xff\\n       24 bytes, end of the dump",
            "",
            json!({"operation": "vport", "family": "ovs_vport", "result": -19, "result_name": "ENODEV"}),
        ),
        // Chunks are not seen.
        (
            handled(op::OP_REQUEST, FLOW, &dump, -4, None),
            "dump             ok         1.23 us    system@d\\xff\\n       32 bytes",
            "    nla_len 8, nla_type OVS_FLOW_ATTR_UFID_FLAGS[10], data: 07 00 00 00",
            json!({"result": 0, "chunk": null}),
        ),
        // It is no dump, so a signal came.
        (
            handled(op::OP_REQUEST, VPORT, &vport(1, 0, &name), -4, None),
            "vport new        EINTR      1.23 us    system@d\\xff\\n       36 bytes",
            "    name:p\\u{202e}1",
            json!({"command": "new", "name": "p\u{202e}1", "result": -4, "result_name": "EINTR"}),
        ),
        (
            handled(
                op::OP_REQUEST,
                VPORT,
                &vport(2, 0, &attribute(1, &1u32.to_ne_bytes())),
                -516,
                None,
            ),
            "vport delete     -516       1.23 us    system@d\\xff\\n       32 bytes",
            "    port_no:1(p\\u{202e})",
            json!({"command": "delete", "port_no": 1, "result": -516, "result_name": null}),
        ),
        (
            handled(
                op::OP_REQUEST,
                dpif_family::FAMILY_METER.0,
                &message(0, 2, &attribute(1, &[9, 0, 0, 0])),
                0,
                None,
            ),
            "meter set        ok         1.23 us    system@d\\xff\\n       32 bytes",
            "    nla_len 8, nla_type OVS_METER_ATTR_ID[1], data: 09 00 00 00",
            json!({"operation": "meter", "family": "ovs_meter", "command": "set"}),
        ),
    ];
    for (record, row, below, fields) in cases {
        let (text, json) = show(&record).expect("an operation");
        let shown: Vec<&str> = text
            .lines()
            .map(|line| line.get(52..).unwrap_or(line))
            .collect();
        assert_eq!(shown[0], row, "{text}");
        let below_row = text.lines().nth(1).unwrap_or("");
        assert_eq!(below_row, below, "{text}");
        for (name, value) in fields.as_object().expect("an object") {
            assert_eq!(
                json.get(name).unwrap_or(&Value::Null),
                value,
                "{name}: {json}"
            );
        }
    }
}

/// Check that a record is refused which the kernel's programs would not write: one of an unknown family or command, and
/// a chunk without what is in it.
fn impossible_kernel_operations() {
    use dpif_op as op;

    let new = message(0, 1, &[]);
    assert!(show(&handled(op::OP_REQUEST, FLOW, &new, 0, None)).is_some());
    assert!(show(&handled(op::OP_REQUEST, 6, &new, 0, None)).is_none());
    assert!(show(&handled(op::OP_REQUEST, FLOW, &message(0, 5, &[]), 0, None)).is_none());
    assert!(show(&handled(op::OP_REQUEST, 1, &new, 0, None)).is_none());
    let dump = message(DUMP, 3, &[]);
    assert!(show(&handled(op::OP_CHUNK, FLOW, &dump, 0, Some((0, 0)))).is_some());
    assert!(show(&handled(op::OP_CHUNK, FLOW, &dump, 0, None)).is_none());
}

/// Check that a recording of the kernel's operations has their columns and counts, with times of each operation, and that
/// filters know them.
fn kernel_recording() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kernel.rec");
    let mut start = Start::new(&RECORDS);
    start.set("source", "kernel");
    let mut writer = Writer::new(Vec::new(), &start).expect("memory takes it");
    let (put, dump) = (message(0x400, 1, &[]), message(DUMP, 3, &[]));
    for record in [
        handled(dpif_op::OP_REQUEST, FLOW, &put, 0, None),
        handled(dpif_op::OP_REQUEST, FLOW, &put, -17, None),
        handled(dpif_op::OP_REQUEST, FLOW, &dump, -4, Some((2, 300))),
        handled(dpif_op::OP_CHUNK, FLOW, &dump, 0, Some((3, 400))),
        handled(dpif_op::OP_REQUEST, VPORT, &message(0, 3, &[]), -19, None),
    ] {
        writer.record(&record).expect("memory takes it");
    }
    fs::write(&file, writer.finish().expect("memory takes it")).expect("it can be written");
    let file = file.to_str().expect("UTF-8");

    let table = replay(file, &["-n", "none"]);
    let heading = table.stdout.lines().next().expect("a heading");
    assert!(
        heading.contains("OPERATION        RESULT     DURATION   DATAPATH"),
        "{heading}"
    );
    assert_eq!(table.rows().len(), 5);
    let summary = replay(file, &["-q"]).stdout;
    for line in [
        "3  ",
        "p50 1.23 us, p99 1.23 us, max 1.23 us",
        "by result",
        "  ok",
        "  EEXIST",
        "dump chunk",
    ] {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    let json = replay(file, &["--format", "json"]).stdout;
    assert_eq!(SCHEMA.stream(&json)[0]["source"], "kernel");
    let summary = self::summary(&json);
    let by_result = &summary["operations"]["by_result"];
    assert_eq!(by_result[0]["name"], "ok");
    assert_eq!(by_result[0]["count"], 3);
    let put = &summary["operations"]["by_operation"][0];
    assert_eq!(
        (&put["name"], &put["max_ns"]),
        (&json!("put create"), &json!(1234))
    );
    for (filter, shown) in [
        ("dump", 2),
        ("vport", 1),
        ("put,vport", 3),
        ("execute,meter", 0),
    ] {
        let json = replay(file, &["--format", "json", "-o", filter]).stdout;
        let summary = self::summary(&json);
        assert_eq!(
            (&summary["shown"], &summary["filtered"]),
            (&json!(shown), &json!(5 - shown))
        );
    }
}
