//! upcall-cost on recordings and files, through its command line.
//!
//! `fixtures/cost/small.rec` is what [`common::synthetic`] made when records were of an older version, and `kernel.rec`
//! what [`common::of_kernel`] makes. `fixtures/cost/upstream.txt` was made by hand in the
//! format of upcall_cost.py: a plain upcall, one with an unfinished checksum, one from a tunnel whose key is cut, one
//! in pages, one with a VLAN tag that the kernel puts back, one that is segmented into three, two that are not
//! received, one of another datapath without a flow, and operations of a thread that received nothing. `NAME.FORM` is
//! what the tool shows of them. `UPDATE=1 cargo test --test cost_tool` writes the latter, and `kernel.rec`.

#[path = "common/cost.rs"]
mod common;
#[path = "common/schema.rs"]
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{of_kernel, synthetic};
use ovs_tracers::cost::analysis::Analysis;
use ovs_tracers::cost::upstream::{self, Item};
use ovs_tracers::cost::{Event, Kind, RECORDS};
use ovs_tracers::run::recording::{self, Block};
use proptest::prelude::*;
use schema::Schema;
use serde_json::Value;

const UPCALL_COST: &str = env!("CARGO_BIN_EXE_upcall-cost");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/cost")
        .join(name)
}

fn replay(file: &Path, args: &[&str]) -> Output {
    Command::new(UPCALL_COST)
        .arg("-r")
        .arg(file)
        .args(args)
        .output()
        .expect("upcall-cost starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is UTF-8")
}

/// Check that the outputs for the recording and the file are the expected ones, which were read and found right.
#[test]
fn golden() {
    let update = std::env::var_os("UPDATE").is_some();
    if update {
        let mut bytes = Vec::new();
        of_kernel(&mut bytes, 60);
        fs::write(fixture("kernel.rec"), bytes).unwrap();
    }
    for (name, form, args) in [
        ("small.rec", "txt", &["-q"][..]),
        ("small.rec", "log.txt", &["-q", "--log", "--slowest", "0"]),
        ("small.rec", "jsonl", &["-q", "--format", "json"]),
        ("kernel.rec", "txt", &["--slowest", "2"]),
        (
            "kernel.rec",
            "jsonl",
            &["--slowest", "2", "--format", "json"],
        ),
        ("upstream.txt", "out.txt", &["-b", "5", "--sets"]),
        ("upstream.txt", "jsonl", &["--format", "json"]),
    ] {
        let output = replay(&fixture(name), args);
        assert!(output.status.success(), "{name}");
        let expected = fixture(name).with_extension(form);
        if update {
            fs::write(&expected, &output.stdout).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&expected).expect("an expected text");
        for (number, (shown, expected)) in text(&output.stdout)
            .lines()
            .zip(expected.lines())
            .enumerate()
        {
            assert_eq!(shown, expected, "{name} as {form}, line {}", number + 1);
        }
        assert_eq!(text(&output.stdout).len(), expected.len(), "{name}");
    }
}

/// The lines of a report in JSON, by their record.
fn lines(output: &Output) -> BTreeMap<String, Vec<Value>> {
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for value in Schema::of("upcall-cost").stream(text(&output.stdout)) {
        let record = value["record"].as_str().expect("a record").to_string();
        lines.entry(record).or_default().push(value);
    }
    lines
}

/// Check that every upcall of upstream's file that was received is put together: the four that upstream finds, with the
/// same times, and those that it misses.
#[test]
fn upstream_sets() {
    let output = replay(
        &fixture("upstream.txt"),
        &["-q", "--format", "json", "--slowest", "100"],
    );
    let lines = lines(&output);
    let mut found: Vec<[Option<u64>; 5]> = lines["slow"]
        .iter()
        .map(|slow| {
            let field = |name: &str| slow[name].as_u64();
            [
                field("time_ns").map(|time| time - 1_000_000_000_000),
                field("queue_ns"),
                field("lookup_ns"),
                field("execute_ns"),
                field("duration_ns"),
            ]
        })
        .collect();
    found.sort();
    let plain = |start| [start, 25_416, 7_863, 4_629, 38_808];
    // The lookup of those that are segmented goes on to the next segment.
    let expected = [
        plain(0),
        plain(100_000),
        plain(200_000),
        [300_000, 30_000, 10_000, 4_000, 45_000],
        plain(400_000),
        [500_000, 20_000, 9_000, 9_000, 70_000],
        [500_000, 29_000, 9_000, 12_000, 74_000],
        [500_000, 38_000, 22_000, 15_000, 78_000],
        [800_000, 12_345, 7_655, 9_999, 29_999],
    ];
    assert_eq!(found, expected.map(|set| set.map(Some)));
    let unmatched: Vec<_> = lines["unmatched"]
        .iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap(),
                line["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        unmatched,
        [
            ("openvswitch__dp_upcall", 2),
            ("dpif_netlink_operate__op_flow_put", 1),
            ("dpif_netlink_operate__op_flow_execute", 1),
            ("ktrace__ovs_packet_cmd_execute", 1),
        ]
    );
    let missed: u64 = lines["events"]
        .iter()
        .map(|line| line["lost"].as_u64().unwrap())
        .sum();
    assert_eq!(missed, 4);
}

/// Check that the manual page names every record of the JSON and every field of it.
#[test]
fn documented_json() {
    let manual = Command::new(UPCALL_COST)
        .args(["--generate", "man"])
        .output()
        .expect("upcall-cost starts");
    let manual = text(&manual.stdout).replace('\\', "");
    let section = manual.split(".SH JSON").nth(1).expect("a section");
    let section = section.split(".SH ").next().unwrap_or_default();
    let words: BTreeSet<&str> = section
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    for name in ["small.rec", "kernel.rec", "upstream.txt"] {
        let output = replay(&fixture(name), &["--format", "json", "--sets"]);
        for (record, lines) in lines(&output) {
            assert!(words.contains(record.as_str()), "{record}");
            for line in lines {
                let fields = line.as_object().expect("an object").keys();
                for field in fields.filter(|field| *field != "record") {
                    assert!(words.contains(field.as_str()), "{record}: {field}");
                }
                let reason = line["reason"].as_str().unwrap_or("text");
                assert!(words.contains(reason), "{reason}");
            }
        }
    }
}

/// Check that every upcall of a synthetic recording that was received is put together with all its events.
#[test]
fn everything_is_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("synthetic.rec");
    let out = std::io::BufWriter::new(fs::File::create(&file).unwrap());
    let (events, upcalls) = synthetic(out, 20_000, 80);
    let output = replay(&file, &["-q", "--format", "json"]);
    let lines = lines(&output);
    let summary = &lines["summary"][0];
    assert_eq!(summary["events"], events);
    assert_eq!(summary["sets"], upcalls);
    for stage in &lines["stage"] {
        assert_eq!(stage["count"], upcalls, "{stage}");
    }
    for line in &lines["unmatched"] {
        assert_eq!(line["event"], "openvswitch__dp_upcall");
    }
    for by in ["handler", "port", "datapath", "batch_size"] {
        let groups = lines["group"].iter().filter(|group| group["by"] == by);
        let sum: u64 = groups.map(|group| group["upcalls"].as_u64().unwrap()).sum();
        assert_eq!(sum, upcalls, "{by}");
    }
}

/// Check that a group which has all upcalls has the percentiles of the stage, exact as long as there are no more than
/// are kept, and that the report says when there are more.
#[test]
fn percentiles_of_a_group() {
    let folder = tempfile::tempdir().unwrap();
    for (upcalls, exact) in [(1001, true), (100_003, false)] {
        let file = folder.path().join(format!("{upcalls}.rec"));
        let out = std::io::BufWriter::new(fs::File::create(&file).unwrap());
        of_kernel(out, upcalls);
        let json = lines(&replay(&file, &["-q", "--format", "json"]));
        let all = |group: &&Value| group["upcalls"] == upcalls;
        let groups: Vec<&Value> = json["group"].iter().filter(all).collect();
        assert!(groups.iter().any(|group| group["by"] == "datapath"));
        for group in groups {
            for name in ["queue", "lookup", "total"] {
                let mut stages = json["stage"].iter();
                let stage = stages.find(|stage| stage["name"] == name).unwrap();
                assert_eq!(group[name]["count"], stage["count"]);
                for share in ["p50", "p90", "p99", "p99_9"] {
                    let ns = group[name][format!("{share}_ns")].as_u64().unwrap();
                    let us = stage[format!("{share}_us")].as_f64().unwrap();
                    assert_eq!(ns as f64 / 1000.0, us, "{name} {share} of {upcalls}");
                }
            }
        }
        let report = replay(&file, &["-q"]);
        let says = text(&report.stdout).contains("# of more than 100000 upcalls");
        assert_eq!(says, !exact, "{upcalls}");
    }
}

/// Check that with the kernel as the source every upcall is followed from its first event to its last, that those which
/// are equal are told apart, and that what failed is counted by its error.
#[test]
fn followed_in_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kernel.rec");
    of_kernel(fs::File::create(&file).unwrap(), 1001);
    let output = replay(&file, &["-q", "--format", "json", "--slowest", "2000"]);
    let lines = lines(&output);
    assert_eq!(lines["start"][0]["source"], "kernel");
    assert_eq!(lines["summary"][0]["sets"], 1001);
    assert!(!lines.contains_key("unmatched"), "{:?}", lines["unmatched"]);
    let puts = (0..1001).filter(|n| n % 5 != 4);
    for stage in &lines["stage"] {
        let expected = match stage["name"].as_str().unwrap() {
            "kernel_put" | "overhead" => puts.clone().count(),
            "socket" => (0..1001).filter(|n| n % 13 != 12).count(),
            _ => 1001,
        };
        assert_eq!(stage["count"], expected, "{stage}");
        assert!(stage["from"].is_string() && stage["to"].is_string());
    }
    // The socket is the end of the queue, and nothing takes longer than the generator made it.
    for slow in &lines["slow"] {
        let ns = |name: &str| slow[name].as_u64();
        if let Some(socket) = ns("socket_ns") {
            assert!(socket < ns("queue_ns").unwrap(), "{slow}");
        }
        assert!((2_000..5_000).contains(&ns("kernel_execute_ns").unwrap()));
        assert!(ns("execute_ns") > ns("wait_ns"));
        assert_eq!(slow["datapath"], "system@ovs-system");
    }
    let failed: Vec<_> = lines["failed_request"]
        .iter()
        .map(|line| (line["error_name"].as_str().unwrap(), line["count"].as_u64()))
        .collect();
    let existing = puts.filter(|n| n % 7 == 6).count() as u64;
    assert_eq!(failed, [("EEXIST", Some(existing)), ("ENODEV", Some(91))]);
}

/// Check that the stages which only the kernel as the source shows are in the picture, and not in that of probes.
#[test]
fn picture_of_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.svg");
    for (name, expected) in [("kernel.rec", 2), ("small.rec", 0)] {
        let path = picture.to_str().expect("UTF-8");
        let output = replay(&fixture(name), &["-q", "--force", "--svg", path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let picture = fs::read_to_string(&picture).unwrap();
        for title in [
            "Message in the socket's queue",
            "Kernel handles requests sent before it",
            "Kernel puts the flow",
            "Kernel executes the packet",
        ] {
            // How its times are spread, and how they change.
            let count = picture.matches(&format!(">{title}</text>")).count();
            assert_eq!(count, expected, "{name}: {title}");
        }
        assert!(!picture.contains("not seen"), "{name}");
    }
}

/// Check that --count and --stop end the analysis where they say, and that --handler-filter filters by thread.
#[test]
fn filters() {
    let small = fixture("small.rec");
    let total = |args: &[&str], kind: &str| {
        let all = [&["-q", "--format", "json"], args].concat();
        let lines = lines(&replay(&small, &all));
        let events = lines["events"].iter();
        let mut wanted = events.filter(|line| kind.is_empty() || line["event"] == kind);
        wanted
            .try_fold(0, |sum, line| Some(sum + line["total"].as_u64()?))
            .unwrap()
    };
    assert_eq!(total(&["--stop", "17"], ""), 17);
    assert_eq!(total(&["--stop", "0"], ""), total(&[], ""));
    assert_eq!(total(&["-c", "7"], "dpif_recv__recv_upcall"), 7);
    let filter = ["--handler-filter", "handler1,handler3"];
    let (sent, received) = ("openvswitch__dp_upcall", "dpif_recv__recv_upcall");
    assert_eq!(total(&filter, sent), total(&[], sent));
    let some = total(&filter, received);
    assert!(some > 0 && some < total(&[], received));
    let others = total(&["--handler-filter", "handler2,handler4"], received);
    assert_eq!(some + others, total(&[], received));
}

/// Writes a recording of these events.
fn write(file: &Path, events: &[Event<'_>]) {
    let out = std::io::BufWriter::new(fs::File::create(file).unwrap());
    let mut writer = recording::Writer::new(out, &recording::Start::new(&RECORDS)).unwrap();
    for event in events {
        writer.record(&common::record(event)).unwrap();
    }
    writer.finish().unwrap();
}

/// Check that threads of one name are counted separately, that an upcall whose key is cut before its port is of an
/// unknown port, and that a failure without an error of the kernel is not counted as usable.
#[test]
fn namesakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    let bytes = common::packet(false, 1, 60);
    let key = common::key(1, &bytes);
    let receive = |comm, tid| Event {
        comm,
        tid,
        datapath: b"system@ovs-system",
        packet: common::captured(&bytes, 60),
        key: common::captured(&key[..2], key.len()),
        ..Event::new(Kind::RecvUpcall, u64::from(tid))
    };
    let failed = |result| Event {
        result,
        ..Event::new(Kind::DpFailed, 1)
    };
    write(
        &file,
        &[
            failed(-11),
            failed(7),
            failed(i32::MIN),
            receive(b"handler", 7),
            receive(b"handler", 9),
            receive(b"handler1", 8),
        ],
    );
    let output = replay(&file, &["-q"]);
    let report = text(&output.stdout);
    for line in [
        "  openvswitch__dp_upcall_failed       :          1/         3 [         0]",
        "  handler [7]                         :          1",
        "  handler [9]                         :          1",
        "  handler1                            :          1",
        "  unknown port (ovs-system)                  3           -          -           -          -           -          -          -",
        "  11 EAGAIN                           :          1",
    ] {
        assert!(
            report.lines().any(|other| other == line),
            "{line}\n{report}"
        );
    }
}

/// Check that counts of lost events, which a file may make arbitrarily large, are added up to what 64 bits hold, and
/// that the report says what such a count means.
#[test]
fn enormous_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (text_file, recording) = (folder.path().join("text"), folder.path().join("recording"));
    let map_and_counts = "dp_port_map = {}\nevent_miss = {0: 18446744073709551615, 1: 1}\n";
    fs::write(&text_file, map_and_counts).unwrap();
    let out = fs::File::create(&recording).unwrap();
    let mut writer = recording::Writer::new(out, &recording::Start::new(&RECORDS)).unwrap();
    let failed = Event {
        result: -11,
        ..Event::new(Kind::DpFailed, 1)
    };
    writer.record(&common::record(&failed)).unwrap();
    writer.lost(&[1, 0, 0, 0, 0, u64::MAX, u64::MAX]).unwrap();
    writer.finish().unwrap();
    for file in [&text_file, &recording] {
        let output = replay(file, &["-q", "--format", "json"]);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let lines = lines(&output);
        assert_eq!(lines["lost"][0]["lost"], u64::MAX);
        assert_eq!(lines["summary"][0]["lost"], u64::MAX);
        let output = replay(file, &["-q"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let note =
            "NOTE: A count of 18446744073709551615 means that as many events or more were lost.";
        let report = text(&output.stdout);
        assert_eq!(report.matches(note).count(), 1, "{report}");
    }
}

/// Check that a picture is well-formed and has every stage.
#[test]
fn picture() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cost.svg");
    let name = file.to_str().unwrap();
    let output = replay(&fixture("small.rec"), &["-q", "--svg", name]);
    assert!(output.status.success());
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("Kernel upcall to vswitchd receive").count(), 2);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    let again = replay(&fixture("small.rec"), &["-q", "--svg", name]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"));
}

/// Check that the picture of a single upcall shows it, at its time and not as if it had lasted, that its labels are
/// within it, and that one of no upcalls is small.
#[test]
fn small_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = common::packet(false, 1, 60);
    let key = common::key(1, &bytes);
    let of_thread = |kind, time| Event {
        tid: 7,
        comm: b"handler1",
        datapath: b"system@ovs-system",
        packet: common::captured(&bytes, 60),
        key: common::captured(&key, key.len()),
        ..Event::new(kind, time)
    };
    let draw = |name: &str, events: &[Event<'_>]| {
        let (recording, picture) = (folder.path().join(name), folder.path().join("svg"));
        write(&recording, events);
        let options = ["-q", "--force", "--svg", picture.to_str().unwrap()];
        assert!(replay(&recording, &options).status.success());
        fs::read_to_string(picture).unwrap()
    };
    let height = |svg: &str| -> f64 {
        let attribute = svg.split(" height=\"").nth(1).unwrap();
        attribute.split('"').next().unwrap().parse().unwrap()
    };

    let none = draw("none", &[]);
    assert!(none.contains("There were no upcalls") && height(&none) < 150.0);

    let one = draw(
        "one",
        &[
            of_thread(Kind::RecvUpcall, 1_000_000),
            of_thread(Kind::OpFlowExecute, 1_040_000),
        ],
    );
    // Of the lookup and of the rest of the batch: lines over time that are a column wide.
    let lines = one
        .lines()
        .filter(|line| line.starts_with("<path class=\"p99\" d=\"M76.0 "));
    let wide = lines.filter(|line| line.contains("H111.8")).count();
    assert_eq!(wide, 2, "{one}");
    assert_eq!(one.matches("not seen").count(), 3);
    assert!(one.contains(">20 µs</text>"), "{one}");

    let mut events = Vec::new();
    for n in 0..305 {
        events.push(of_thread(Kind::RecvUpcall, 1_000_000 + n * 1_000_000));
        events.push(of_thread(Kind::OpFlowExecute, 1_030_000 + n * 1_000_000));
    }
    let many = draw("many", &events);
    assert!(many.contains("text-anchor=\"end\">300 ms</text>"), "{many}");
}

/// Analyses bytes as the tool does, and returns how many events there were and whether they were read to their end.
fn analyse(bytes: &[u8]) -> (u64, bool) {
    let mut analysis = Analysis::new(&[], 3, true);
    let mut whole = false;
    if let Ok(mut reader) = recording::Reader::new(bytes, &RECORDS) {
        loop {
            match reader.next_block() {
                Ok(Block::Record(record)) => {
                    if let Ok(event) = Event::from_record(record) {
                        analysis.event(&event);
                    }
                }
                Ok(Block::End) => {
                    whole = true;
                    break;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    } else if let Ok(mut reader) = upstream::Reader::new(bytes) {
        loop {
            match reader.next_item() {
                Ok(Some(Item::Event(event))) => analysis.event(&event),
                Ok(Some(Item::Missed(_))) => {}
                Ok(None) => {
                    whole = true;
                    break;
                }
                Err(_) => break,
            }
        }
    }
    analysis.finish();
    (analysis.counts.total.iter().sum(), whole)
}

/// Check that a recording and a file which are cut at any byte are read up to there, and that a cut one is not taken
/// for a whole one.
#[test]
fn cut_anywhere() {
    for name in ["small.rec", "upstream.txt"] {
        let bytes = fs::read(fixture(name)).unwrap();
        let (all, whole) = analyse(&bytes);
        assert!(whole && all > 40, "{name}");
        let mut before = 0;
        for cut in (0..bytes.len()).filter(|cut| name != "small.rec" || cut % 7 == 0) {
            let (events, whole) = analyse(&bytes[..cut]);
            assert!(events >= before && events <= all, "{name} cut at {cut}");
            // A text that is cut between two lines looks whole.
            assert!(!whole || bytes[cut - 1] == b'\n' && name != "small.rec");
            before = events;
        }
        assert_eq!(before, all, "{name}");
    }
}

/// Check that a flipped bit in a recording is noticed, and that one in a file does not make the tool panic.
#[test]
fn flipped_bytes() {
    let bytes = fs::read(fixture("small.rec")).unwrap();
    for at in (0..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(!analyse(&damaged).1, "flipped at {at}");
    }
    let bytes = fs::read(fixture("upstream.txt")).unwrap();
    for at in (0..bytes.len()).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        analyse(&damaged);
    }
}

/// Check that the tool says on standard error, once, what is wrong with a file, and reports the events before that.
#[test]
fn damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged");
    let recording = fs::read(fixture("small.rec")).unwrap();
    let upstream = fs::read(fixture("upstream.txt")).unwrap();
    let mut flipped = recording.clone();
    flipped[recording.len() / 2] ^= 4;
    let mut newer = recording.clone();
    newer[8] += 2;
    let mut line = upstream.clone();
    let place = upstream.len() / 2;
    line[place..place + 9].copy_from_slice(b"'\\q', 1: ");
    for (bytes, said, reports) in [
        (&recording[..recording.len() / 2], "cut off at byte", true),
        (&recording[..5], "cut off at byte 5", false),
        (&flipped, "damaged at byte", true),
        (
            &newer,
            "version 4, and this program reads versions 2 to 3",
            false,
        ),
        (&upstream[..upstream.len() / 2], "cut off in line", true),
        (&line, "damaged in line", true),
        (
            b"",
            "neither a recording nor a file of upcall_cost.py",
            false,
        ),
        (
            b"no events\n",
            "neither a recording nor a file of upcall_cost.py",
            false,
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        let output = replay(&file, &["-q"]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(said), "{said}: {stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1);
        let reported = text(&output.stdout).contains("=> Upcalls handled per thread");
        assert_eq!(reported, reports, "{said}");
    }
}

proptest! {
    /// Check that no bytes of a record cause a panic, and that an event never uses more bytes than there are.
    #[test]
    fn arbitrary_records(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        if let Ok(event) = Event::from_record(&bytes) {
            prop_assert!(event.record_len <= bytes.len());
        }
    }

    /// Check that events with arbitrary fields are analysed without panic.
    #[test]
    fn arbitrary_events(
        events in proptest::collection::vec(
            (0u32..7, any::<[u8; 176]>(), 0u32..40, 0u32..40, proptest::collection::vec(any::<u8>(), 80)),
            0..60,
        ),
        few in any::<bool>(),
    ) {
        let mut analysis = Analysis::new(&[], 2, true);
        for (kind, mut header, key, packet, data) in events {
            if few {
                // Few values, so that something matches.
                header.iter_mut().for_each(|byte| *byte &= 1);
            }
            let mut record = header.to_vec();
            record.resize(176, 0);
            for (at, value) in [
                (20, kind),
                (72, packet),
                (76, key),
                (80, packet),
                (84, key),
                (88, key),
            ] {
                record[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            record.extend(if few { vec![data[0] & 1; 80] } else { data });
            let event = Event::from_record(&record).expect("its lengths are right");
            analysis.event(&event);
        }
        analysis.finish();
    }

    /// Check that no text makes the parser panic.
    #[test]
    fn arbitrary_text(
        lines in proptest::collection::vec("(event|event_miss|dp_port_map) = [{}'\"b:, 0-9a-z\\\\]{0,60}", 0..8),
    ) {
        let text = format!("dp_port_map = {{}}\n{}\n", lines.join("\n"));
        let mut reader = upstream::Reader::new(text.as_bytes()).expect("a map");
        while let Ok(Some(_)) = reader.next_item() {}
    }
}

/// Check that the tool analyses a recording that is larger than its memory.
#[test]
fn memory_is_bounded() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = std::io::BufWriter::new(file.reopen().unwrap());
    synthetic(out, 300_000, 90);
    let limit: u64 = 48 << 20;
    assert!(file.as_file().metadata().unwrap().len() > limit);
    let output = Command::new("sh")
        .args(["-c", "ulimit -v $1; exec \"$2\" -q -r \"$3\"", "sh"])
        .arg((limit >> 10).to_string())
        .arg(UPCALL_COST)
        .arg(file.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}
