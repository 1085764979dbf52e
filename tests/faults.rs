//! What becomes of a trace when something around it fails: the disk, the reader, the tool itself, and a traced process
//! that is stopped, or that does not keep still.
//!
//! These tests need root. Without it each is listed as ignored.

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{
    BRIDGE_LOOP, DPIF_OPS, Monitor, Output, StandIn, UPCALL_COST, UPCALL_MONITOR, is_installed,
    is_root, path, run, standins, trial,
};
use libtest_mimic::Arguments;
use serde_json::Value;

const USDT_PROBES: &str = env!("CARGO_BIN_EXE_usdt-probes");

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine.
    args.test_threads.get_or_insert(1);
    let root = ("root", is_root());
    let mut trials = Vec::new();
    macro_rules! trials {
        ($($name:ident),*) => {
            $(trials.push(trial(stringify!($name), $name, &[root]));)*
        };
    }
    trials!(
        full_disk,
        closed_pipe,
        killed,
        killed_before_an_event,
        stopped_tool,
        stopped_process,
        memory_rewritten,
        memory_unmapped,
        crowds,
        any_name,
        replaced_meanwhile
    );
    let objcopy = ("objcopy", is_installed("objcopy"));
    trials.push(trial("countless_notes", countless_notes, &[root, objcopy]));
    libtest_mimic::run(&args, trials).exit_code()
}

fn signal(pid: u32, signal: &str) {
    run("kill", &["-s", signal, &pid.to_string()]);
}

/// The records of this kind in JSON Lines.
fn records(stdout: &str, kind: &str) -> Vec<Value> {
    let lines = stdout.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
    let of_kind = |value: &Value| value["record"] == kind;
    lines.into_iter().filter(of_kind).collect()
}

/// The numbers that upcalls have in their keys.
fn marks(stdout: &str) -> Vec<u64> {
    let mark = |line: &Value| {
        let odp = line["key"]["odp"].as_str().expect("a key");
        let (_, mark) = odp.split_once("skb_mark(").expect("a mark");
        let (mark, _) = mark.split_once(')').expect("its end");
        let digits = mark.strip_prefix("0x").unwrap_or(mark);
        u64::from_str_radix(digits, 16).expect("a number")
    };
    records(stdout, "event").iter().map(mark).collect()
}

/// Shows a recording again, as JSON.
fn replay(tool: &str, file: &str) -> Output {
    let mut command = Command::new(tool);
    command.args(["--format", "json", "--replay", file]);
    Monitor::spawn(command).output()
}

/// How many whole packets a pcapng file has, and how many bytes of the last block are there if that is not whole.
fn packets(file: &str) -> (u64, usize) {
    const ENHANCED_PACKET: u32 = 6;
    let bytes = fs::read(file).expect("the capture");
    let (mut rest, mut count) = (&bytes[..], 0);
    let word = |at: &[u8]| u32::from_le_bytes(at[..4].try_into().expect("four bytes"));
    while rest.len() >= 12 && rest.len() >= word(&rest[4..]) as usize {
        let (block, after) = rest.split_at(word(&rest[4..]) as usize);
        assert_eq!(block[4..8], block[block.len() - 4..], "a damaged block");
        count += u64::from(word(block) == ENHANCED_PACKET);
        rest = after;
    }
    (count, rest.len())
}

/// Check that a full disk ends each tool at once, whichever output is on it, that the error says which file that is and
/// what became of the events is said, and that what was written before can be read.
fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_str().unwrap();
    let file = path(&folder, "out");
    let [record, capture] = ["--record", "--pcap"].map(|option| [option, &file]);
    for (tool, standin, args, to_stdout) in [
        (UPCALL_MONITOR, "standin", &[][..], true),
        (UPCALL_MONITOR, "standin", &["--format", "json"], true),
        (
            UPCALL_MONITOR,
            "standin",
            &["-q", "--interval", "1ms"],
            true,
        ),
        (UPCALL_MONITOR, "standin", &["-w", "-"], true),
        (UPCALL_MONITOR, "standin", &capture, false),
        (UPCALL_MONITOR, "standin", &record, false),
        (UPCALL_COST, "standin-ops", &[], true),
        (UPCALL_COST, "standin-ops", &["--format", "json"], true),
        (UPCALL_COST, "standin-ops", &record, false),
        (
            UPCALL_COST,
            "standin-ops",
            &["-q", "--count", "5000", "--svg", &file],
            false,
        ),
        (DPIF_OPS, "standin-ops", &[], true),
        (DPIF_OPS, "standin-ops", &["--format", "json"], true),
        (DPIF_OPS, "standin-ops", &record, false),
        (BRIDGE_LOOP, "standin-loop", &[], true),
        (BRIDGE_LOOP, "standin-loop", &["--format", "json"], true),
    ] {
        // A picture has a few kilobytes.
        let size = if args.contains(&"--svg") {
            "size=8k"
        } else {
            "size=64k"
        };
        run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", disk]);
        let mut target = StandIn::start(standin, &["--rate", "20000"]);
        let mut command = Command::new(tool);
        command.args(["-p", &target.pid.to_string()]).args(args);
        let out = if to_stdout { &file } else { "/dev/null" };
        let mut child = command
            .stdout(File::create(out).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It has the file open, too.
        drop(command);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("attached")));
        target.go();
        let stderr: Vec<String> = lines.map(Result::unwrap).collect();
        let stderr = stderr.join("\n");
        let status = child.wait().unwrap();
        let written = fs::read_to_string(&file);
        let replayed = args.contains(&"--record").then(|| replay(tool, &file));
        let captured = (args.contains(&"--pcap") || args.contains(&"-")).then(|| packets(&file));
        run("umount", &[disk]);

        let case = format!("{tool} {args:?}: {stderr}");
        assert_eq!(status.code(), Some(1), "{case}");
        let failed: Vec<_> = stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let named = match args {
            ["-w", "-"] => "the capture",
            _ if to_stdout => "standard output",
            _ => &file,
        };
        let full = format!("{named}: No space left on device");
        assert!(failed.len() == 1 && failed[0].ends_with(&full), "{case}");
        let counted = if tool == BRIDGE_LOOP {
            " counted, "
        } else {
            " in all: "
        };
        assert!(stderr.contains(counted), "{case}");
        if let Some(replayed) = replayed {
            assert!(replayed.stderr.contains("was cut off at byte "), "{case}");
            assert!(replayed.stdout.lines().count() > 10, "{case}");
        } else if let Some((packets, _)) = captured {
            assert!(packets > 5, "{packets} packets, {case}");
        } else if to_stdout {
            let written = written.expect("text");
            let (whole, _) = written.rsplit_once('\n').expect("lines");
            assert!(whole.lines().count() > 5, "{case}");
            if args.contains(&"json") {
                assert!(
                    whole
                        .lines()
                        .all(|line| serde_json::from_str::<Value>(line).is_ok())
                );
            }
        }
    }
}

/// Check that a reader who has seen enough ends each tool soon and without a word of it, and that the other outputs are
/// complete.
fn closed_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, recording) = (path(&folder, "out.pcapng"), path(&folder, "out.rec"));
    let files = ["--pcap", &capture, "--record", &recording];
    for (tool, standin, args) in [
        (UPCALL_MONITOR, "standin", &files[..]),
        (UPCALL_MONITOR, "standin", &["--format", "json"]),
        (UPCALL_MONITOR, "standin", &["-q", "--interval", "10ms"]),
        (UPCALL_MONITOR, "standin", &["-w", "-"]),
        (UPCALL_COST, "standin-ops", &[]),
        (UPCALL_COST, "standin-ops", &["--format", "json"]),
        (DPIF_OPS, "standin-ops", &[]),
        (DPIF_OPS, "standin-ops", &["--format", "json"]),
        (DPIF_OPS, "standin-ops", &["-q", "--interval", "10ms"]),
        (BRIDGE_LOOP, "standin-loop", &[]),
        (BRIDGE_LOOP, "standin-loop", &["--format", "json"]),
        (BRIDGE_LOOP, "standin-loop", &["-q", "--interval", "10ms"]),
    ] {
        let mut target = StandIn::start(standin, &["--rate", "20000"]);
        let mut command = Command::new(tool);
        command.args(["-p", &target.pid.to_string()]).args(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("attached")));
        target.go();
        stdout.read_exact(&mut [0; 20]).expect("something");
        drop(stdout);
        let closed = Instant::now();
        let stderr: Vec<String> = lines.map(Result::unwrap).collect();
        let status = child.wait().unwrap();
        let case = format!("{tool} {args:?}: {stderr:?}");
        assert!(closed.elapsed() < Duration::from_secs(10), "{case}");
        assert!(status.success(), "{status}: {case}");
        for word in ["error", "pipe", "panicked"] {
            assert!(!stderr.iter().any(|line| line.contains(word)), "{case}");
        }
    }
    let replayed = replay(UPCALL_MONITOR, &recording);
    assert!(replayed.status.success(), "{}", replayed.stderr);
    let (packets, rest) = packets(&capture);
    assert_eq!(rest, 0);
    assert!(packets > 0 && marks(&replayed.stdout).len() as u64 >= packets);
}

/// Check that what a tool has written until it is killed, whenever that is, can be read: the recording and the capture
/// have every whole event, each once and in its order.
fn killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shown, mut captured) = (0, 0);
    for number in 0..50 {
        let (capture, recording) = (path(&folder, "out.pcapng"), path(&folder, "out.rec"));
        let (tool, standin, args) = match number % 4 {
            0 => (UPCALL_COST, "standin-ops", &["-q"][..]),
            1 => (DPIF_OPS, "standin-ops", &["-q"][..]),
            _ => (UPCALL_MONITOR, "standin", &["--pcap", &capture][..]),
        };
        let args = [args, &["--force", "--record", &recording][..]].concat();
        let mut target = StandIn::start(standin, &["--rate", "20000"]);
        let mut monitor = Monitor::attach_tool(tool, target.pid, &args);
        target.go();
        // At no certain time: that is what this is about.
        sleep(Duration::from_millis(number * 7919 % 97));
        monitor.signal("KILL");
        monitor.await_end();
        drop(target);

        let replayed = replay(tool, &recording);
        let cut = replayed
            .stderr
            .contains("error: the recording was cut off at byte ");
        assert!(
            replayed.status.success() || cut,
            "{tool}: {}",
            replayed.stderr
        );
        let length = fs::metadata(&recording).unwrap().len();
        assert!(!cut || replayed.stderr.contains(&format!(" at byte {length}\n")));
        if tool == UPCALL_MONITOR {
            let marks = marks(&replayed.stdout);
            assert!(marks.iter().copied().eq(0..marks.len() as u64), "{marks:?}");
            shown += marks.len();
            captured += packets(&capture).0;
        }
    }
    assert!(shown > 1000 && captured > 1000, "{shown} and {captured}");
}

/// Check that the files of a tool that is killed before there was an event are a capture and a recording of none.
fn killed_before_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, recording) = (path(&folder, "out.pcapng"), path(&folder, "out.rec"));
    let target = StandIn::start("standin", &[]);
    let files = ["--pcap", &capture, "--record", &recording];
    let mut monitor = Monitor::attach(target.pid, &files);
    monitor.signal("KILL");
    monitor.await_end();
    let replayed = replay(UPCALL_MONITOR, &recording);
    assert_eq!(marks(&replayed.stdout).len(), 0);
    assert!(
        !replayed.stderr.contains("not a recording"),
        "{}",
        replayed.stderr
    );
    assert_eq!(packets(&capture), (0, 0));
    assert!(fs::metadata(&capture).unwrap().len() > 0);
}

/// Check that a tool which is stopped for a second while the daemon goes on counts exactly what its ring had no room
/// for, and goes on with what comes after.
fn stopped_tool() {
    const COUNT: u64 = 50_021;
    let count = COUNT.to_string();
    let mut target = StandIn::start("standin", &["--rate", "20000", "--count", &count]);
    let args = ["--format", "json", "--buffer-page-count", "256"];
    let monitor = Monitor::attach(target.pid, &args);
    target.go();
    // No event says how far it is; the length only has to be longer than the ring lasts.
    sleep(Duration::from_millis(200));
    monitor.signal("STOP");
    sleep(Duration::from_millis(1200));
    monitor.signal("CONT");
    assert_eq!(target.fired(), COUNT);
    let output = monitor.output();
    assert!(output.status.success(), "{}", output.stderr);
    let marks = marks(&output.stdout);
    let lost = output.figure("lost");
    assert!(lost > 10_000, "{}", output.stderr);
    assert_eq!(marks.len() as u64 + lost, COUNT, "{}", output.stderr);
    assert!(marks.is_sorted_by(|one, other| one < other));
    // A busy machine may lose some of the last, too.
    let last = *marks.last().unwrap();
    assert!(marks[0] == 0 && last > COUNT - 10_000, "{last}");
    let told = records(&output.stdout, "lost");
    let told = told.iter().filter_map(|line| line["lost"].as_u64());
    assert_eq!(told.sum::<u64>(), lost);
}

/// Check that a traced process which is stopped for a while, also when a tool attaches to it, is traced on; that
/// nothing is lost; and that a tool ends while it is stopped.
fn stopped_process() {
    const COUNT: u64 = 10_007;
    let count = COUNT.to_string();
    let mut target = StandIn::start("standin", &["--rate", "20000", "--count", &count]);
    let monitor = Monitor::attach(target.pid, &[]);
    target.go();
    sleep(Duration::from_millis(100));
    signal(target.pid, "STOP");
    let second = Monitor::attach(target.pid, &[]);
    let third = Monitor::attach(target.pid, &[]);
    third.signal("INT");
    assert!(third.output().status.success());
    signal(target.pid, "CONT");
    assert_eq!(target.fired(), COUNT);
    let output = monitor.output();
    assert_eq!((output.figure("shown"), output.figure("lost")), (COUNT, 0));
    let rest = second.output();
    assert!(
        rest.status.success() && rest.figure("shown") > 0,
        "{}",
        rest.stderr
    );
    assert_eq!(rest.figure("lost"), 0);
}

/// A running fixtures/standin/hostile.
fn hostile(args: &[&str]) -> StandIn {
    StandIn::start("hostile", args)
}

/// The bytes of a value in base64.
fn bytes(value: &Value) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().expect("bytes"))
        .expect("base64")
}

/// Check that of a key and a packet which other threads write to all the time only bytes are shown that they had, and
/// none of the memory around them.
fn memory_rewritten() {
    let target = hostile(&["--rewrite", "--count", "2003"]);
    let monitor = Monitor::attach(target.pid, &["--format", "json", "-d", "hex"]);
    assert_eq!(target.run(), 2003);
    let output = monitor.output();
    let events = records(&output.stdout, "event");
    assert_eq!(events.len() as u64 + output.figure("lost"), 2003);
    let mut seen = [0; 256];
    for event in &events {
        let packet = bytes(&event["packet"]["bytes"]);
        assert_eq!(packet.len(), 3 * 4096);
        packet.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        let undecoded = event["key"]["undecoded"].as_array().expect("the key");
        let key = undecoded.iter().flat_map(|part| bytes(&part["bytes"]));
        key.for_each(|byte| seen[usize::from(byte)] += 1);
    }
    let patterns = [0x11, 0x22, 0x33, 0xa1, 0xb2, 0xc3];
    for (byte, count) in seen.iter().enumerate() {
        assert!(
            patterns.contains(&byte) || *count == 0,
            "{count} of {byte:#x}"
        );
    }
    let changed = patterns.iter().filter(|byte| seen[**byte] > 0);
    assert!(changed.count() > 2, "nothing was changed meanwhile");
}

/// Check that a packet whose memory comes and goes is shown as it was or as unreadable, and that the latter are
/// counted.
fn memory_unmapped() {
    let target = hostile(&["--unmap", "--count", "3001"]);
    let monitor = Monitor::attach(target.pid, &["--format", "json", "-d", "hex"]);
    assert_eq!(target.run(), 3001);
    let output = monitor.output();
    let events = records(&output.stdout, "event");
    assert_eq!(events.len() as u64 + output.figure("lost"), 3001);
    let mut unreadable = 0;
    for event in &events {
        let packet = &event["packet"];
        if packet["captured"] == 0 {
            unreadable += 1;
            assert!(
                packet.get("bytes").is_none_or(|bytes| bytes == ""),
                "{event}"
            );
        } else {
            let packet = bytes(&packet["bytes"]);
            assert!(
                packet.iter().all(|byte| [0, 0xa1].contains(byte)),
                "{event}"
            );
        }
    }
    let summary = records(&output.stdout, "summary");
    assert_eq!(summary[0]["packets_unreadable"], unreadable);
    assert!(unreadable > 0, "it was always there");
}

/// Check that it takes no long time to attach to a process of 10,000 mappings, or of 5,000 threads.
fn crowds() {
    for args in [["--mappings", "10000"], ["--threads", "5000"]] {
        let target = hostile(&args);
        let begun = Instant::now();
        let monitor = Monitor::attach(target.pid, &[]);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{args:?}: {took:?}");
        assert_eq!(target.run(), 1000);
        assert_eq!(monitor.output().figure("upcalls in all"), 1000);
    }
}

/// Check that no name that a process gives itself, its program or its arguments is a hindrance, that none reaches
/// standard error or a listing as it is, and that JSON stays JSON.
fn any_name() {
    let name = OsStr::from_bytes(b"x\x1b[31m\n\xff\x9b2J");
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join(name);
    for (program, tool, args) in [
        ("standin", USDT_PROBES, &[][..]),
        ("standin", USDT_PROBES, &["-v"]),
        ("standin", USDT_PROBES, &["--format", "json"]),
        ("standin", USDT_PROBES, &["--check"]),
        ("standin", UPCALL_MONITOR, &["-q"]),
        ("standin", UPCALL_MONITOR, &["--format", "json"]),
        ("standin-stock", UPCALL_MONITOR, &[]),
        ("standin-ops", UPCALL_COST, &["--format", "json"]),
        ("standin-ops", DPIF_OPS, &["--format", "json"]),
        ("standin-loop", BRIDGE_LOOP, &["--format", "json"]),
        (
            "standin-loop",
            BRIDGE_LOOP,
            &["--threshold", "1ns", "--stack"],
        ),
        ("standin", DPIF_OPS, &[]),
    ] {
        let _ = fs::remove_file(&binary);
        fs::copy(standins().join(program), &binary).unwrap();
        let mut command = Command::new(&binary);
        command
            .arg0(name)
            .arg("--comm")
            .arg(name)
            .args(["--count", "100"]);
        let target = StandIn::spawn(command);
        let mut command = Command::new(tool);
        command.args(["-p", &target.pid.to_string()]).args(args);
        let can_trace = program != "standin-stock" && (program != "standin" || tool != DPIF_OPS);
        let mut monitor = Monitor::spawn(command);
        if tool != USDT_PROBES && can_trace {
            monitor.await_line("attached");
            target.run();
        }
        let output = monitor.output();
        let case = format!("{tool} {args:?} of {program}: {}", output.stderr);
        if can_trace && !args.contains(&"--check") {
            assert!(output.status.success(), "{case}");
        }
        for text in [&output.stderr, &output.stdout] {
            assert!(!text.contains(['\x1b', '\u{9b}']), "{case}");
        }
        assert!(
            !output.stderr.contains("UTF-8") && !output.stderr.contains("panicked"),
            "{case}"
        );
        if args.contains(&"json") {
            records(&output.stdout, "");
        }
    }
}

/// Check that a program whose file is replaced while it is traced is traced on.
fn replaced_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (binary, newer) = (path(&folder, "vswitchd"), path(&folder, "newer"));
    fs::copy(standins().join("standin"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(["--rate", "5000", "--count", "211"]);
    let target = StandIn::spawn(command);
    let monitor = Monitor::attach(target.pid, &[]);
    fs::copy(standins().join("standin-O0"), &newer).unwrap();
    fs::rename(&newer, &binary).unwrap();
    assert_eq!(target.run(), 211);
    let output = monitor.output();
    assert_eq!(output.figure("shown"), 211, "{}", output.stderr);
}

/// Check that a section of 64 MB of notes, all of them without use, takes no more than some memory and time, and that
/// the warnings of them end.
fn countless_notes() {
    let folder = tempfile::tempdir().unwrap();
    let (notes, binary) = (path(&folder, "notes"), path(&folder, "standin"));
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    // Of a probe a:b at an address that no segment has.
    let note = [
        words(&[8, 30, 3]),
        b"stapsdt\0".to_vec(),
        words(&[0x1234, 0, 0, 0, 0, 0]),
        b"a\0b\0\0\0\0\0".to_vec(),
    ];
    let note = note.concat();
    fs::write(&notes, note.repeat((64 << 20) / note.len())).unwrap();
    let update = format!(".note.stapsdt={notes}");
    let from = standins().join("standin");
    run(
        "objcopy",
        &["--update-section", &update, from.to_str().unwrap(), &binary],
    );
    let target = StandIn::spawn(Command::new(&binary));
    for (tool, error) in [
        (USDT_PROBES, "no USDT probes in process"),
        (UPCALL_MONITOR, "built without probes"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 300000; exec \"$@\"", "sh", tool]);
        command.args(["-p", &target.pid.to_string()]);
        let begun = Instant::now();
        let output = Monitor::spawn(command).output();
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            begun.elapsed()
        );
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert!(lines.len() <= 1003, "{} lines", lines.len());
        assert!(output.stderr.contains(error), "{:?}", lines.last());
        if tool == USDT_PROBES {
            assert!(output.stderr.contains(" more notes cannot be used\n"));
        }
    }
}
