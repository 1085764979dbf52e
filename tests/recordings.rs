//! Recordings through the whole of what comes after the kernel: of upcall-monitor, made by the lab, and of dpif-ops.
//!
//! `NAME.txt` says how `fixtures/recordings/NAME.rec` was made; `NAME.FORM.txt` and `NAME.jsonl` are what the tool shows of
//! it. `UPDATE=1 cargo test --test recordings` writes the latter.

#[path = "common/schema.rs"]
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ovs_tracers::bpf::record::bytes;
use ovs_tracers::bpf::upcall_monitor::types::{failed_from, upcall_record};
use ovs_tracers::dpif_ops;
use ovs_tracers::run::recording::{Block, Reader, Records, Start, Writer};
use ovs_tracers::upcall::record::RECORDS;
use schema::Schema;
use serde_json::{Value, json};

const UPCALL_MONITOR: &str = env!("CARGO_BIN_EXE_upcall-monitor");
const DPIF_OPS: &str = env!("CARGO_BIN_EXE_dpif-ops");

/// The ends of the names of what a tool shows, with the options for it.
type Forms = &'static [(&'static str, &'static [&'static str])];
const UPCALL_MONITOR_FORMS: Forms = &[
    ("raw.txt", &["-k", "nlraw", "-d", "hex"]),
    ("decoded.txt", &["-k", "odp", "-d", "decode"]),
];
const DPIF_OPS_FORMS: Forms = &[
    ("odp.txt", &[]),
    ("nlraw.txt", &["-n", "nlraw"]),
    ("hex.txt", &["-n", "hex"]),
    ("jsonl", &["--format", "json"]),
];

/// The tool that made a recording, by its name.
fn tool(recording: &Path) -> (&'static str, Forms) {
    match recording.file_stem().is_some_and(|name| name == "dpif-ops") {
        true => (DPIF_OPS, DPIF_OPS_FORMS),
        false => (UPCALL_MONITOR, UPCALL_MONITOR_FORMS),
    }
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the recordings are there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rec"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn replay(recording: &Path, args: &[&str]) -> Output {
    Command::new(tool(recording).0)
        .arg("--replay")
        .arg(recording)
        .args(args)
        .output()
        .expect("the tool starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is UTF-8")
}

/// Check that every recording shows what it showed when its expected text was read and found right.
#[test]
fn golden() {
    for recording in recordings() {
        for (form, args) in tool(&recording).1 {
            let output = replay(&recording, args);
            assert!(output.status.success(), "{recording:?}");
            let expected = recording.with_extension(form);
            let shown = match *form {
                "jsonl" => output.stdout,
                _ => [&output.stdout[..], &output.stderr].concat(),
            };
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&expected, &shown).expect("the folder can be written to");
                continue;
            }
            let expected = fs::read(&expected).expect("an expected text");
            let (shown, expected) = (text(&shown), text(&expected));
            for (number, (shown, expected)) in shown.lines().zip(expected.lines()).enumerate() {
                assert_eq!(
                    shown,
                    expected,
                    "{recording:?} as {form}, line {}",
                    number + 1
                );
            }
            assert_eq!(shown.lines().count(), expected.lines().count());
        }
    }
}

/// A prime number of bytes that goes into a recording some twenty times: it meets every part of a block.
fn step(recording: &[u8]) -> usize {
    if recording.len() < 50_000 { 499 } else { 4999 }
}

/// Check that a recording which was cut off shows the beginning of what the whole one shows, and says so.
#[test]
fn cut_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in recordings() {
        let file = folder.path().join(recording.file_name().expect("a name"));
        let bytes = fs::read(&recording).expect("a recording");
        let (_, args) = tool(&recording).1[0];
        let whole = replay(&recording, args).stdout;
        for cut in (0..bytes.len()).step_by(step(&bytes)) {
            fs::write(&file, &bytes[..cut]).expect("it can be written");
            let output = replay(&file, args);
            assert_eq!(output.status.code(), Some(1), "cut at {cut}");
            assert!(whole.starts_with(&output.stdout), "cut at {cut}");
            let stderr = text(&output.stderr);
            let said = if cut == 0 {
                "not a recording"
            } else {
                "cut off"
            };
            assert!(stderr.contains(said), "cut at {cut}: {stderr}");
        }
    }
}

/// Check that a damaged recording shows what comes before the damage, and says so.
#[test]
fn damaged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in recordings() {
        let file = folder.path().join(recording.file_name().expect("a name"));
        let whole = replay(&recording, &[]).stdout;
        let original = fs::read(&recording).expect("a recording");
        for at in (12..original.len()).step_by(step(&original)) {
            let mut bytes = original.clone();
            bytes[at] ^= 0x20;
            fs::write(&file, &bytes).expect("it can be written");
            let output = replay(&file, &[]);
            assert_eq!(output.status.code(), Some(1), "damaged at {at}");
            assert!(whole.starts_with(&output.stdout), "damaged at {at}");
            let stderr = text(&output.stderr);
            assert!(
                stderr.contains("damaged at byte") || stderr.contains("cut off"),
                "damaged at {at}: {stderr}"
            );
        }
    }
}

/// Check that --count stops a replay as it stops a trace.
#[test]
fn count() {
    let output = replay(Path::new("fixtures/recordings/lab-6.1.rec"), &["-c", "7"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1 + 7);
    assert!(text(&output.stderr).contains("7 upcalls in all: 7 shown, 0 lost by upcall-monitor"));
    let recording = Path::new("fixtures/recordings/dpif-ops.rec");
    let output = replay(recording, &["-c", "7", "-n", "none"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1 + 7);
    assert!(text(&output.stderr).contains("7 operations in all: 7 shown, 0 lost by dpif-ops"));
}

/// Check that the JSON of dpif-ops is of its schema, with as many operations as its summary says, also if a filter excludes
/// some.
#[test]
fn dpif_ops_json() {
    let recording = Path::new("fixtures/recordings/dpif-ops.rec");
    let schema = Schema::of("dpif-ops");
    for (args, shown, filtered) in [
        (&[][..], 29, 0),
        (&["-o", "get,del"], 6, 23),
        (&["-t", "handler1"], 29, 0),
        (&["-t", "handler2"], 0, 29),
    ] {
        let output = replay(recording, &[args, &["--format", "json"]].concat());
        assert!(output.status.success());
        let lines = schema.stream(text(&output.stdout));
        let (summary, ops) = lines[1..].split_last().expect("a summary");
        assert!(ops.iter().all(|line| line["record"] == "op"));
        assert_eq!(ops.len(), shown, "{args:?}");
        assert_eq!(summary["shown"], shown);
        assert_eq!(summary["filtered"], filtered);
    }
}

/// Bytes of `struct event_head` (`bpf/event.h`): where the name of the thread is.
const COMM: std::ops::Range<usize> = 24..40;

/// Check that names with which characters turn around are escaped for a terminal, and are in JSON as they are: those of
/// threads, of datapaths and of ports.
#[test]
fn hostile_names() {
    const THREAD: &str = "h\u{202e}\u{2066}1";
    const PORT: &str = "p\u{202e}\u{2066}";
    const DATAPATH: &str = "system@\u{2066}d";
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A recording whose first record has other names.
    let rewrite = |name: &str, records: &Records, datapath: &str| {
        let from = Path::new("fixtures/recordings").join(name);
        let bytes = fs::read(from).expect("a recording");
        let mut reader = Reader::new(&bytes[..], records).expect("a recording");
        let mut record = loop {
            if let Block::Record(record) = reader.next_block().expect("a record") {
                break record.to_vec();
            }
        };
        record[COMM].fill(0);
        record[COMM][..THREAD.len()].copy_from_slice(THREAD.as_bytes());
        let mut start = Start::new(records);
        start.set("pid", 7);
        let mut writer = Writer::new(Vec::new(), &start).expect("memory takes it");
        writer
            .datapath(6, datapath.as_bytes())
            .expect("memory takes it");
        for port in 0..8 {
            writer
                .port(datapath.as_bytes(), port, PORT)
                .expect("memory takes it");
        }
        writer.record(&record).expect("memory takes it");
        let file = folder.path().join(name);
        fs::write(&file, writer.finish().expect("memory takes it")).expect("it can be written");
        file
    };
    let shown = |file: &Path, args: &[&str]| -> String {
        let output = replay(file, args);
        assert!(output.status.success());
        let text = text(&output.stdout);
        assert!(!text.contains(['\u{202e}', '\u{2066}']), "{text}");
        text.to_string()
    };
    let json = |file: &Path, name: &str| -> Vec<Value> {
        let output = replay(file, &["--format", "json"]);
        Schema::of(name).stream(text(&output.stdout))
    };

    let file = rewrite("dpif-ops.rec", &dpif_ops::event::RECORDS, DATAPATH);
    let text = shown(&file, &[]);
    let columns = text.lines().nth(1).expect("a row").split_whitespace();
    let columns: Vec<&str> = columns.collect();
    assert_eq!(columns[2], "h\\u{202e}\\u{2066}1");
    assert_eq!(columns[6], "system@\\u{2066}d");
    assert!(text.contains(",in_port(p\\u{202e}\\u{2066}),"), "{text}");
    assert!(text.contains(", actions:p\\u{202e}\\u{2066}\n"), "{text}");
    let summary = shown(&file, &["-q"]);
    assert!(summary.contains("/s  h\\u{202e}\\u{2066}1 ("), "{summary}");
    assert!(summary.contains("/s  system@\\u{2066}d\n"), "{summary}");
    let lines = json(&file, "dpif-ops");
    let (op, counts) = (&lines[1], &lines[2]["operations"]);
    assert_eq!(
        (&op["comm"], &op["datapath"]),
        (&json!(THREAD), &json!(DATAPATH))
    );
    let flow = op["flow"].as_str().expect("a flow");
    assert!(flow.contains(&format!(",in_port({PORT}),")), "{flow}");
    assert_eq!(op["actions"], PORT);
    assert_eq!(
        counts["by_thread"][0]["name"],
        format!("{THREAD} ({})", op["tid"])
    );
    assert_eq!(counts["by_datapath"][0]["name"], DATAPATH);

    let file = rewrite("lab-6.1.rec", &RECORDS, "system@ovs-system");
    let text = shown(&file, &["-k", "odp"]);
    assert!(text.contains(" h\\u{202e}\\u{2066}1 "), "{text}");
    assert!(text.contains("p\\u{202e}\\u{2066}"), "{text}");
    shown(&file, &["-q"]);
    let lines = json(&file, "upcall-monitor");
    assert_eq!(lines[1]["comm"], THREAD);
    assert_eq!(lines[1]["port"]["name"], PORT);
}

/// Check that on a terminal an upcall that failed is red, that it is not with NO_COLOR or through a pipe, and that the
/// terminal shows the same table otherwise.
#[test]
fn red_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("failed.rec");
    // A header without key, packet and result, to which a struct failed_from is added (bpf/upcall_monitor.h): one that
    // says nothing.
    let mut header = upcall_record {
        result: -105,
        ..Default::default()
    };
    header.captured.key_len = size_of::<failed_from>() as u32;
    header.captured.packet_at = header.captured.key_len;
    let mut writer = Writer::new(Vec::new(), &Start::new(&RECORDS)).expect("memory takes it");
    for result in [-105, 0] {
        header.result = result;
        let record = [bytes(&header), &[0; size_of::<failed_from>()]].concat();
        writer.record(&record).expect("memory takes it");
    }
    let bytes = writer.finish().expect("memory takes it");
    fs::write(&file, bytes).expect("it can be written");

    let plain = text(&replay(&file, &[]).stdout).to_string();
    assert!(!plain.contains('\x1b'));
    let terminal = |environment: &str| {
        let command = format!("{environment} {UPCALL_MONITOR} --replay {}", file.display());
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script is installed");
        text(&output.stdout).replace("\r\n", "\n")
    };
    let colored = terminal("");
    let red: Vec<&str> = colored
        .lines()
        .filter(|line| line.contains('\x1b'))
        .collect();
    let failed = plain.lines().nth(1).expect("a row");
    assert_eq!(red, [format!("\x1b[31m{failed}\x1b[0m")]);
    assert!(
        colored
            .replace("\x1b[31m", "")
            .replace("\x1b[0m", "")
            .starts_with(&plain)
    );
    assert!(terminal("NO_COLOR=1").starts_with(&plain));
}

/// Check that the picture of the README is what the tool prints.
#[test]
fn picture() {
    const WIDTH: usize = 128;
    let recording = Path::new("fixtures/recordings/lab-6.1.rec");
    let mut printed = Vec::new();
    for args in [
        &["-k", "odp", "-d", "decode"][..],
        &["--quiet", "--top", "4"],
    ] {
        let output = replay(recording, args);
        for line in text(&output.stdout).lines() {
            let lines = line.trim_end().as_bytes().chunks(WIDTH).map(text);
            printed.extend(lines.map(str::to_string));
        }
    }
    let picture = fs::read_to_string("docs/upcall-monitor.svg").expect("a picture");
    let shown = picture.lines().filter_map(|line| {
        let (_, text) = line.strip_prefix("<text ")?.split_once('>')?;
        let text = text.strip_suffix("</text>")?;
        Some(
            text.replace("&gt;", ">")
                .replace("&lt;", "<")
                .replace("&amp;", "&"),
        )
    });
    let shown: Vec<String> = shown.filter(|line| !line.starts_with("$ ")).collect();
    assert!(shown.len() > 50, "{shown:?}");
    for line in shown {
        let elsewhere = line == "^C" || line == "[...]";
        assert!(elsewhere || printed.contains(&line), "{line}");
    }
}
