//! upcall-cost on live uprobes of this kernel, with the stand-in for ovs-vswitchd as its target. The lab (fixtures/lab)
//! tests the kernel's side, and both sides together.
//!
//! All tests but the last need root. Without it they are listed as ignored, which is why they have a harness of their
//! own.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, ExitCode};

use common::{Monitor, Output, StandIn, UPCALL_COST, is_root, run, trial};
use libtest_mimic::Arguments;
use ovs_tracers::cost::RECORDS;
use ovs_tracers::run::recording::{Block, Reader};

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine.
    args.test_threads.get_or_insert(1);
    let root = is_root();
    let alone = !Path::new("/sys/module/openvswitch").exists();
    let mut trials = Vec::new();
    macro_rules! trial {
        ($name:ident $(, $needs:literal if $have:expr)*) => {
            trials.push(trial(stringify!($name), $name, &[("root", root) $(, ($needs, $have))*]));
        };
    }
    trial!(every_event_is_itself);
    trial!(received_in_the_kernel);
    trial!(snap_lengths);
    trial!(unreadable);
    trial!(burst_into_smallest_ring);
    trial!(no_kernel_side, "a kernel without the module openvswitch" if alone);
    trial!(no_type_information);
    trial!(missing_probe);
    trial!(no_privilege);
    trials.push(trial("upstream_file", upstream_file, &[]));
    libtest_mimic::run(&args, trials).exit_code()
}

/// enum cost_event of bpf/upcall_cost.h.
const RECV_UPCALL: u32 = 0;
const OP_FLOW_PUT: u32 = 2;
const OP_FLOW_EXECUTE: u32 = 3;
const EVENTS: usize = 6;

/// The size of a `struct cost_record` without the bytes of key and packet that follow.
const HEADER: usize = 176;

/// A `struct cost_record`, read independently of the program under test.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    time: u64,
    event: u32,
    pid: u32,
    tid: u32,
    kind: u32,
    packet_size: u32,
    key_size: u32,
    packet_error: i32,
    key_error: i32,
    comm: String,
    datapath: String,
    message: u64,
    dp_ifindex: u32,
    key: Vec<u8>,
    packet: Vec<u8>,
}

impl Record {
    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let text = |at: usize, size: usize| {
            let field = bytes[at..at + size].split(|&byte| byte == 0).next();
            String::from_utf8(field.unwrap().to_vec()).unwrap()
        };
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        assert_eq!(bytes[40..48], [0; 8], "no sk_buff in the daemon");
        let (packet_len, key_len) = (word(80) as usize, word(84) as usize);
        let packet_at = word(88) as usize;
        let data = &bytes[HEADER..HEADER + packet_at + packet_len];
        Self {
            time: u64::from_ne_bytes(bytes[..8].try_into().unwrap()),
            event: half(20).into(),
            pid: word(8),
            tid: word(12),
            kind: word(48),
            packet_size: word(72),
            key_size: word(76),
            packet_error: half(92).cast_signed().into(),
            key_error: half(94).cast_signed().into(),
            comm: text(24, 16),
            datapath: text(96, 32),
            message: u64::from_ne_bytes(bytes[144..152].try_into().unwrap()),
            dp_ifindex: word(168),
            key: data[..key_len].to_vec(),
            packet: data[packet_at..].to_vec(),
        }
    }
}

/// Reads the records of a recording, and the last counts of lost events by kind.
fn read(file: &str) -> (Vec<Record>, Vec<u64>) {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap()), &RECORDS).unwrap();
    let (mut records, mut lost) = (Vec::new(), vec![0; EVENTS + 1]);
    loop {
        match reader.next_block().expect("a whole recording") {
            Block::Record(record) => records.push(Record::parse(record)),
            Block::Lost(counts) => lost = counts,
            Block::End => return (records, lost),
            _ => {}
        }
    }
}

/// Runs the tool on a stand-in until the stand-in has fired all its probes.
#[track_caller]
fn record(standin: &[&str], args: &[&str]) -> (u32, Output, Vec<Record>, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    let file = file.to_str().expect("UTF-8");
    let target = StandIn::start("standin-ops", standin);
    let pid = target.pid;
    let mut all = vec!["-q", "-w", file];
    all.extend(args);
    let tool = Monitor::attach_tool(UPCALL_COST, pid, &all);
    target.run();
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    let (records, lost) = read(file);
    (pid, output, records, lost)
}

/// The attributes of one level.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = *bytes {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        found.push((u16::from_ne_bytes([c, d]), &bytes[4..len]));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// include/uapi/linux/openvswitch.h
const OVS_KEY_ATTR_SKB_MARK: u16 = 15;
const OVS_FLOW_ATTR_KEY: u16 = 1;
const OVS_FLOW_ATTR_UFID: u16 = 9;

/// The number of an upcall, which its key carries.
fn mark(key: &[u8]) -> u64 {
    let attributes = attributes(key);
    let mark = attributes
        .iter()
        .find(|(kind, _)| *kind == OVS_KEY_ATTR_SKB_MARK);
    u32::from_ne_bytes(mark.unwrap().1.try_into().unwrap()).into()
}

/// Check that each event of each thread is delivered once, in its place, with its own content.
///
/// fixtures/standin/ops.c says which upcalls have no put or no execute, and what a request contains.
fn every_event_is_itself() {
    const COUNT: u64 = 1009;
    const BATCH: usize = 7;
    let (pid, output, records, lost) = record(
        &[
            "--rate",
            "5000",
            "--threads",
            "2",
            "--count",
            "1009",
            "--batch",
            "7",
        ],
        &["-P", "0"],
    );
    assert_eq!(lost, [0; EVENTS + 1], "{}", output.stderr);
    let mut threads: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in records {
        let thread = threads.entry(record.comm.clone()).or_default();
        thread.push(record);
    }
    assert_eq!(Vec::from_iter(threads.keys()), ["handler1", "handler2"]);

    // In the order of the table in fixtures/standin/standin.c.
    let lengths = [42, 54, 73, 98, 86, 158, 492, 9014];
    let types = [0, 0, 0, 0, 0, 1, 1, 0];
    for (first, thread) in threads.into_values().enumerate() {
        let tid = thread[0].tid;
        assert!(tid > pid);
        assert!(
            thread
                .iter()
                .all(|record| (record.pid, record.tid) == (pid, tid))
        );
        assert!(thread.is_sorted_by(|one, other| one.time < other.time));
        let mut records = thread.into_iter();
        let numbers: Vec<u64> = (first as u64..COUNT).step_by(2).collect();
        for batch in numbers.chunks(BATCH) {
            let mut received = BTreeMap::new();
            for &n in batch {
                let record = records.next().unwrap();
                let index = (n % 8) as usize;
                assert_eq!(record.event, RECV_UPCALL);
                assert_eq!(mark(&record.key), n);
                assert_eq!(record.datapath, "system@ovs-system");
                assert_eq!(record.kind, types[index]);
                assert_eq!(record.packet_size, lengths[index]);
                assert_eq!(record.packet.len(), lengths[index] as usize);
                assert_eq!(record.key.len(), record.key_size as usize);
                assert_eq!((record.packet_error, record.key_error), (0, 0));
                received.insert(n, record);
            }
            for &n in batch {
                let upcall = &received[&n];
                if n % 5 != 4 {
                    let put = records.next().unwrap();
                    assert_eq!((put.event, put.kind), (OP_FLOW_PUT, 0));
                    assert_eq!(put.key.len(), put.key_size as usize);
                    let request = attributes(&put.key);
                    // A probe has one attribute more, OVS_FLOW_ATTR_PROBE.
                    assert_eq!(request.len(), if n % 13 == 12 { 5 } else { 4 });
                    let mut ufid = [0; 16];
                    ufid[..8].copy_from_slice(&n.to_ne_bytes());
                    assert_eq!(request[0], (OVS_FLOW_ATTR_UFID, &ufid[..]));
                    assert_eq!(request[1], (OVS_FLOW_ATTR_KEY, &upcall.key[..]));
                    assert_eq!((put.packet_size, put.datapath.as_str()), (0, ""));
                }
                if n % 7 != 6 {
                    let execute = records.next().unwrap();
                    assert_eq!(execute.event, OP_FLOW_EXECUTE);
                    assert_eq!(execute.packet_size, upcall.packet_size);
                    assert!(execute.packet == upcall.packet);
                    assert_eq!((execute.key_size, execute.datapath.as_str()), (0, ""));
                }
            }
        }
        assert_eq!(records.next(), None);
    }
}

/// Check that with the kernel as the source, the messages of a program without probes are each delivered once, with
/// their own content, and nothing else that it or another process receives.
fn received_in_the_kernel() {
    const COUNT: u64 = 1009;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    let file = file.to_str().expect("UTF-8");
    let options = "--netlink --rate 2000 --threads 2 --count 1009 --noise 5 --twin --attributes";
    let options: Vec<&str> = options.split(' ').collect();
    let target = StandIn::start("standin-stock", &options);
    let all = ["-q", "-P", "300", "--netlink", "2:27", "-w", file];
    let tool = Monitor::attach_tool(UPCALL_COST, target.pid, &all);
    target.run();
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    let (mut records, lost) = read(file);
    assert_eq!(lost.iter().sum::<u64>(), 0, "{}", output.stderr);
    records.sort_by_key(|record| mark(&record.key));
    assert_eq!(records.len() as u64, COUNT);
    let lengths = [42, 54, 73, 98, 86, 158, 492, 9014];
    let types = [0, 0, 0, 0, 0, 1, 1, 0];
    for (n, record) in records.iter().enumerate() {
        let index = n % 8;
        assert_eq!(record.event, RECV_UPCALL);
        assert_eq!(mark(&record.key), n as u64);
        assert_eq!(record.comm, format!("handler{}", n % 2 + 1));
        assert_eq!((record.kind, record.dp_ifindex), (types[index], 6));
        assert_eq!(record.datapath, "");
        assert_ne!(record.message, 0);
        assert_eq!(record.packet_size, lengths[index]);
        assert_eq!(record.packet.len(), lengths[index].min(300) as usize);
        assert_eq!(record.key.len(), record.key_size as usize);
        assert_eq!((record.packet_error, record.key_error), (0, 0));
    }
}

/// Check that the options limit what is captured, and that a request is captured up to the same end of its key.
fn snap_lengths() {
    let (_, _, records, _) = record(
        &["--rate", "5000", "--count", "64"],
        &["-P", "60", "-f", "100"],
    );
    assert!(records.iter().any(|record| record.packet_size > 60));
    for record in records {
        let packet = record.packet_size.min(60);
        let key = match record.event {
            OP_FLOW_PUT => {
                assert!(record.key_size > 160);
                // Header and value of the UFID, header of the key.
                4 + 16 + 4 + 100
            }
            RECV_UPCALL => 100,
            _ => 0,
        };
        assert_eq!(
            (record.packet.len(), record.key.len()),
            (packet as usize, key)
        );
    }
}

/// Check that bytes which cannot be read are distinguished from bytes which are not there.
fn unreadable() {
    const EFAULT: i32 = 14;
    let (_, _, records, _) = record(
        &[
            "--rate",
            "5000",
            "--count",
            "60",
            "--bad-packet",
            "3",
            "--bad-key",
            "4",
        ],
        &[],
    );
    let received = records.iter().filter(|record| record.event == RECV_UPCALL);
    let mut n = 0;
    for record in received {
        let (bad_packet, bad_key) = (n % 3 == 2, n % 4 == 3);
        assert_eq!(record.packet_error, if bad_packet { -EFAULT } else { 0 });
        assert_eq!(record.key_error, if bad_key { -EFAULT } else { 0 });
        assert_eq!(record.packet.is_empty(), bad_packet);
        assert_eq!(record.key.is_empty(), bad_key);
        assert!(record.packet_size > 0 && record.key_size > 0);
        n += 1;
    }
    assert_eq!(n, 60);
}

/// Check that each event of a burst is either recorded or counted as lost, by its kind.
fn burst_into_smallest_ring() {
    const COUNT: u64 = 40009;
    let (_, _, records, lost) = record(
        &["--rate", "0", "--threads", "3", "--count", "40009"],
        &["--buffer-page-count", "1"],
    );
    let mut fired = [0; EVENTS];
    for n in 0..COUNT {
        fired[RECV_UPCALL as usize] += 1;
        fired[OP_FLOW_PUT as usize] += u64::from(n % 5 != 4);
        fired[OP_FLOW_EXECUTE as usize] += u64::from(n % 7 != 6);
    }
    let mut kept = [0; EVENTS];
    for record in records {
        kept[record.event as usize] += 1;
    }
    for event in 0..EVENTS {
        assert_eq!(kept[event] + lost[event], fired[event], "event {event}");
    }
    for event in [RECV_UPCALL, OP_FLOW_PUT, OP_FLOW_EXECUTE] {
        assert!(lost[event as usize] > 0, "the ring held a burst");
    }
    assert_eq!(lost[EVENTS], 0, "arguments were not read");
}

/// Check that the tool warns of a kernel without a datapath, and reports the daemon's own times nevertheless.
fn no_kernel_side() {
    let target = StandIn::start("standin-ops", &["--rate", "5000", "--count", "11"]);
    let mut command = Command::new(UPCALL_COST);
    command.args(["-q", "--format", "json", "-p", &target.pid.to_string()]);
    let mut tool = Monitor::spawn(command);
    tool.await_line("attached to");
    target.run();
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    assert!(
        output.stderr.starts_with(
            "warning: the kernel's side of upcalls cannot be seen: the kernel's module openvswitch is not loaded\n"
        ),
        "{}",
        output.stderr
    );
    let counts: BTreeMap<String, u64> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|record| record["record"] == "stage")
        .map(|stage| {
            let name = stage["name"].as_str().unwrap().to_string();
            (name, stage["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counts["lookup"], 11);
    // The seventh upcall has no execute.
    assert_eq!(counts["batch"], 10);
    assert_eq!((counts["queue"], counts["total"]), (0, 0));
}

/// Check that the daemon's own events are seen on a kernel without type information.
fn no_type_information() {
    let target = StandIn::start("standin-ops", &["--rate", "5000", "--count", "11"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@""#);
    command.args(["sh", UPCALL_COST, "-p", &target.pid.to_string()]);
    let mut tool = Monitor::spawn(command);
    tool.await_line("attached to");
    target.run();
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    let received = output.stdout.matches("[dpif_recv__recv_upcall] handler1 ");
    assert_eq!(received.count(), 11, "{}", output.stdout);
}

/// Check that the tool refuses a program without one of the probes, and names the probe.
fn missing_probe() {
    let target = StandIn::start("standin", &[]);
    let mut command = Command::new(UPCALL_COST);
    command.args(["-p", &target.pid.to_string()]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output
            .stderr
            .contains("has no probe dpif_netlink_operate__:op_flow_put"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.lines().count() <= 2, "{}", output.stderr);
}

/// Check that the error for a user without the privilege names the capabilities that are missing.
fn no_privilege() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = folder.path().join("upcall-cost");
    fs::copy(UPCALL_COST, &binary).unwrap();
    let target = StandIn::start("standin-ops", &[]);
    let mut command = Command::new(&binary);
    command
        .args(["-p", &target.pid.to_string()])
        .uid(65534)
        .gid(65534);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output
            .stderr
            .starts_with("error: no privilege to trace: CAP_BPF and CAP_PERFMON are missing\n"),
        "{}",
        output.stderr
    );
}

/// Check that upcall-cost finds all the times that upcall_cost.py finds in a file of its own, to the nanosecond, and
/// also those of upcalls with a VLAN tag.
///
/// `fixtures/recordings/upcall-cost-upstream.txt` is a part of what upcall_cost.py of Open vSwitch 3.1 wrote in the lab
/// on Linux 6.1 (fixtures/lab/run --update-fixtures), and `upcall-cost-upstream.sets` what it printed of that part (`-q
/// --sets -r`): titles, and below each the microseconds of the sets.
fn upstream_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let file = folder.join("upcall-cost-upstream.txt");
    let file = file.to_str().expect("UTF-8");
    let report = run(
        UPCALL_COST,
        &["-q", "--format", "json", "--sets", "-r", file],
    );
    let stages: BTreeMap<String, Vec<u64>> = report
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|record| record["record"] == "stage")
        .map(|stage| {
            let times = stage["times_ns"].as_array().unwrap().iter();
            (
                stage["title"].as_str().unwrap().to_string(),
                times.map(|time| time.as_u64().unwrap()).collect(),
            )
        })
        .collect();
    let sets = fs::read_to_string(folder.join("upcall-cost-upstream.sets")).unwrap();
    let mut lines = sets.lines();
    let mut compared = 0;
    while let Some(title) = lines.next() {
        let title = title.strip_prefix("=> ").unwrap();
        let title = title.strip_suffix(" (microseconds):").unwrap();
        let mut ours = stages[title].clone();
        let theirs = lines.next().unwrap().trim_matches(['[', ']']).split(", ");
        for time in theirs {
            let ns = (time.parse::<f64>().unwrap() * 1000.0).round() as u64;
            let at = ours.iter().position(|&other| other == ns);
            ours.swap_remove(at.unwrap_or_else(|| panic!("{title}: not {ns} ns")));
            compared += 1;
        }
        assert!(!ours.is_empty(), "{title}: no more than upstream's");
    }
    assert!(compared >= 20, "{compared}");
}
