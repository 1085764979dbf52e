//! upcall-monitor on live uprobes of this kernel, with the stand-in for ovs-vswitchd as its target.
//!
//! These tests need root. Without it each is listed as ignored: this is why they have a harness of their own.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use common::{
    Monitor, Output, StandIn, UPCALL_MONITOR, in_pid_namespace, is_installed, is_root, open_folder,
    path, run, standins, succeeds, trial,
};
use jsonschema::Validator;
use libtest_mimic::Arguments;
use serde_json::Value;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine, and on no other process called ovs-vswitchd.
    args.test_threads.get_or_insert(1);
    let root = is_root();
    let tshark = is_installed("tshark") && is_installed("capinfos");
    let mut trials = Vec::new();
    macro_rules! trial {
        ($name:ident $(, $needs:literal if $have:expr)*) => {
            trials.push(trial(stringify!($name), $name, &[("root", root) $(, ($needs, $have))*]));
        };
    }
    trial!(prime_number, "tshark" if tshark);
    trial!(every_event_is_itself);
    trial!(threads_of_one_cpu);
    trial!(packets_are_whole, "tshark" if tshark);
    trial!(burst_into_smallest_ring, "tshark" if tshark);
    trial!(held_up);
    trial!(held_up_too_long);
    trial!(count_after_exit);
    trial!(every_build);
    trial!(semaphore);
    trial!(snap_lengths);
    trial!(unreadable);
    trial!(count_and_duration);
    trial!(count_is_exact);
    trial!(closed_stderr);
    trial!(signals);
    trial!(one_file_twice);
    trial!(failed_start);
    trial!(monitor_parent);
    trial!(nohup);
    trial!(target_exits);
    trial!(closed_pipe, "tshark" if tshark);
    trial!(full_disk, "tshark" if tshark);
    trial!(capture_to_stdout, "tshark" if tshark);
    trial!(capture_into_tshark, "tshark" if tshark);
    trial!(replay_is_the_same);
    trial!(deleted_binary);
    trial!(other_mount_namespace);
    trial!(container, "user namespaces" if succeeds("unshare", &["--user", "true"]));
    // Before, uprobes take CAP_SYS_ADMIN.
    let multi = ovs_tracers::trace::kernel::kernel_version() >= (6, 10);
    trial!(capabilities, "setpriv" if is_installed("setpriv"), "Linux 6.10" if multi);
    trial!(finds_the_daemon);
    trial!(no_privilege);
    trial!(hidden_processes, "setpriv" if is_installed("setpriv"));
    trial!(powerless_root, "setpriv" if is_installed("setpriv"));
    trial!(rootless, "user namespaces" if succeeds("unshare", &["--user", "true"]));
    trial!(drops_privilege);
    trial!(status_line, "script" if is_installed("script"));
    trial!(wrong_arguments);
    trial!(existing_file);
    let datapath = ovs_tracers::ovs::ports::has_kernel_datapath().unwrap_or(false);
    trial!(no_type_information);
    trial!(no_datapath, "no openvswitch module" if !datapath);
    trial!(filters);
    trial!(filtering_is_cheaper);
    trial!(packet_filter);
    trial!(packet_filter_as_replay);
    trial!(packet_filter_unreadable);
    trial!(scan_is_named);
    trial!(intervals);
    trial!(idle_intervals);
    trial!(several_daemons);
    trial!(follow);
    trial!(follow_an_upgrade);
    trial!(follow_waits);
    trial!(follow_detached);
    libtest_mimic::run(&args, trials).exit_code()
}

/// The lines of --format json, each of which must be one of the schema.
#[track_caller]
fn json_lines(output: &Output) -> Vec<Value> {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let schema = include_str!("../docs/upcall-monitor.schema.json");
        let schema = serde_json::from_str(schema).expect("the schema is JSON");
        jsonschema::draft202012::new(&schema).expect("it is a schema")
    });
    let line = |line: &str| {
        let value = serde_json::from_str(line).expect("JSON");
        if let Err(error) = SCHEMA.validate(&value) {
            panic!("{error}, at {}: {line}", error.instance_path());
        }
        value
    };
    output.stdout.lines().map(line).collect()
}

/// How many of these lines are of a kind.
fn count_of(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["record"] == kind).count()
}

/// What capinfos says is the number of packets of a file.
#[track_caller]
fn packets(file: &str) -> u64 {
    let text = run("capinfos", &["-c", "-M", "-T", "-r", file]);
    let number = text.split_whitespace().last().expect("a number");
    number.parse().expect("a number of packets")
}

/// Check that 10,007 events of two threads at 50,000 a second are 10,007 rows and 10,007 packets: the ring has room for
/// all of them, however slow the machine is.
fn prime_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let target = StandIn::start(
        "standin",
        &["--rate", "50000", "--threads", "2", "--count", "10007"],
    );
    let monitor = Monitor::attach(
        target.pid,
        &["--pcap", &file, "--buffer-page-count", "16384"],
    );
    assert_eq!(target.run(), 10007);
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.figure("lost"), 0, "{}", output.stderr);
    assert_eq!(output.figure("upcalls in all"), 10007);
    assert_eq!(output.rows().len(), 10007);
    assert_eq!(packets(&file), 10007);
    let threads: BTreeSet<_> = output.rows().iter().map(|row| &row[24..32]).collect();
    assert_eq!(threads, BTreeSet::from(["handler1", "handler2"]));
}

/// The values of skb_mark, which the stand-in counts its events with.
fn marks(output: &Output) -> Vec<u64> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    output
        .stdout
        .split("skb_mark(")
        .skip(1)
        .map(|rest| number(rest.split(')').next().unwrap_or_default()).expect("a number"))
        .collect()
}

/// Checks that each row has the key, sizes, type and thread of the event that its mark says, of a stand-in with that
/// many threads. Returns the marks.
fn own_rows(output: &Output, pid: u32, threads: u64) -> Vec<u64> {
    let marks = marks(output);
    let rows = output.rows();
    assert_eq!(rows.len(), marks.len());
    // In the order of the table in fixtures/standin/standin.c.
    let lengths = [42, 54, 73, 98, 86, 158, 492, 9014];
    let types = [0, 0, 0, 0, 0, 1, 1, 0];
    let ports = [1, 2, 3, 2, 1, 4, 5, 2];
    for (row, mark) in rows.into_iter().zip(&marks) {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let kind = (mark % 8) as usize;
        let expected = [
            format!("handler{}", mark % threads + 1),
            format!("{}", ports[kind]),
            "(system@ovs-system)".to_string(),
            types[kind].to_string(),
            lengths[kind].to_string(),
            "0".to_string(),
        ];
        let shown = [
            fields[2], fields[4], fields[5], fields[6], fields[7], fields[9],
        ];
        assert_eq!(
            shown,
            expected.each_ref().map(String::as_str),
            "event {mark}"
        );
        assert!(fields[3].parse::<u32>().is_ok_and(|tid| tid > pid));
    }
    marks
}

/// Check that each event is delivered once, with its own key, sizes, type and thread.
fn every_event_is_itself() {
    let target = StandIn::start(
        "standin",
        &["--rate", "5000", "--threads", "2", "--count", "1009"],
    );
    let pid = target.pid;
    let monitor = Monitor::attach(pid, &["-k", "odp"]);
    target.run();
    let output = monitor.output();
    let mut marks = own_rows(&output, pid, 2);
    marks.sort_unstable();
    assert_eq!(marks, (0..1009).collect::<Vec<_>>());
}

/// Check that threads which share a CPU, where one can be preempted in the probe and the next run into it, all live on,
/// that each of their events is delivered as it was, or counted as lost, and none twice.
fn threads_of_one_cpu() {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpu = (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
    let mut command = Command::new("taskset");
    command
        .args(["-c", &cpu.expect("we run on one").to_string()])
        .arg(standins().join("standin"))
        .args(["--rate", "0", "--threads", "8", "--count", "200003"]);
    let target = StandIn::spawn(command);
    let pid = target.pid;
    let monitor = Monitor::attach(pid, &["-k", "odp"]);
    assert_eq!(target.run(), 200_003);
    let output = monitor.output();
    let mut marks = own_rows(&output, pid, 8);
    assert_eq!(marks.len() as u64 + output.figure("lost"), 200_003);
    assert!(marks.iter().all(|&mark| mark < 200_003));
    marks.sort_unstable();
    assert!(marks.is_sorted_by(|a, b| a < b));
}

/// Check that tshark finds every checksum of every packet right, each on its own interface and in order of time.
fn packets_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let before = std::time::SystemTime::now();
    let target = StandIn::start("standin", &["--rate", "2000", "--count", "211"]);
    let monitor = Monitor::attach(target.pid, &["-w", &file]);
    target.run();
    let output = monitor.output();
    let after = std::time::SystemTime::now();
    let fields = [
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.len",
        "-e",
        "frame.cap_len",
        "-e",
        "frame.interface_name",
        "-e",
        "ip.checksum.status",
        "-e",
        "tcp.checksum.status",
        "-e",
        "udp.checksum.status",
        "-e",
        "_ws.malformed",
    ];
    let mut args = vec![
        "-r",
        &file,
        "--disable-protocol",
        "dns",
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
    ];
    args.extend(fields);
    let shown = run("tshark", &args);
    let epoch = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    };
    let mut last = epoch(before);
    assert_eq!(shown.lines().count(), 211);
    for (line, row) in shown.lines().zip(output.rows()) {
        let fields: Vec<&str> = line.split(';').collect();
        let time: f64 = fields[0].parse().unwrap();
        assert!(time >= last && time <= epoch(after), "{line}");
        last = time;
        assert_eq!(fields[1], fields[2], "{line}");
        assert!(row.contains(&format!(" {} ", fields[1])), "{line}\n{row}");
        assert!(row.contains(&format!(" {} ", fields[3])), "{line}\n{row}");
        assert!(
            fields[4..7].iter().all(|status| !status.contains('0')),
            "{line}"
        );
        assert_eq!(fields[7], "", "{line}");
    }
}

/// Check that what does not fit into the ring is counted, exactly, and said on the way and at the end.
fn burst_into_smallest_ring() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let target = StandIn::start(
        "standin",
        &["--rate", "0", "--count", "50021", "--threads", "2"],
    );
    let monitor = Monitor::attach(
        target.pid,
        &["--buffer-page-count", "1", "-w", &file, "-s", "64"],
    );
    assert_eq!(target.run(), 50021);
    let output = monitor.output();
    let (kept, lost) = (output.figure("shown"), output.figure("lost"));
    assert!(lost > 0, "the ring held a burst of 50021");
    assert_eq!(kept + lost, 50021);
    assert_eq!(output.figure("upcalls in all"), 50021);
    assert_eq!(output.rows().len() as u64, kept);
    assert_eq!(packets(&file), kept);
    assert!(
        output.stderr.contains(&format!("{lost} ring full")),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("warning: "), "{}", output.stderr);
    assert!(
        output.stderr.contains("--buffer-page-count"),
        "{}",
        output.stderr
    );
    let interfaces = run("tshark", &["-r", &file, "-z", "io,phs", "-q"]);
    assert!(
        interfaces.contains(&format!("frames:{kept} ")),
        "{interfaces}"
    );
    let about = run("capinfos", &[&file]);
    assert!(about.contains(&format!("{lost} upcalls lost")), "{about}");
}

/// Check that a reader who takes nothing for as long as several rings last costs no event, and that the thread which
/// empties the ring goes before others.
fn held_up() {
    let args = ["--rate", "20000", "--threads", "2", "--count", "100003"];
    let target = StandIn::start("standin", &args);
    let pid = target.pid;
    let (monitor, read) = Monitor::attach_unread(pid, &["-k", "odp"]);
    let nice = |task: &str| {
        let stat = fs::read_to_string(format!("{task}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().to_string()
    };
    let is_drain = |task: &String| fs::read_to_string(format!("{task}/comm")).unwrap() == "drain\n";
    let drain = tasks(monitor.id()).into_iter().find(is_drain);
    assert_eq!(nice(&drain.expect("a thread")), "-20");
    assert_eq!(target.run(), 100_003);
    read.send(true).unwrap();
    let output = monitor.output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.figure("lost"), 0, "{}", output.stderr);
    let marks = marks(&output);
    let distinct: BTreeSet<_> = marks.iter().collect();
    assert_eq!((marks.len(), distinct.len()), (100_003, 100_003));
}

/// Check that what a full queue cannot take is counted, exactly, and with what helps, that the rest is shown once the
/// reader goes on, and that neither a full queue nor a reader who goes away then keeps it from ending.
fn held_up_too_long() {
    let queue = ["--queue-size", "1", "--buffer-page-count", "64"];
    for reads in [true, false] {
        let target = StandIn::start("standin", &["--rate", "0", "--count", "50021"]);
        let pid = target.pid;
        let (monitor, read) = Monitor::attach_unread(pid, &queue);
        assert_eq!(target.run(), 50021);
        read.send(reads).unwrap();
        let output = monitor.output();
        assert!(output.status.success(), "{}", output.stderr);
        assert!(!output.stderr.contains("error"), "{}", output.stderr);
        if !reads {
            continue;
        }
        let (shown, lost) = (output.figure("shown"), output.figure("lost"));
        // A megabyte of events waited, and what the ring and the pipe had room for.
        assert!((2000..20_000).contains(&shown), "{}", output.stderr);
        assert_eq!(shown + lost, 50021, "{}", output.stderr);
        assert_eq!(output.rows().len() as u64, shown);
        for hint in ["a larger --queue-size helps", "the queue was full"] {
            assert!(output.stderr.contains(hint), "{}", output.stderr);
        }
    }
}

/// Check that --count ends a trace that follows its daemon, although the daemon has exited before so many are shown.
fn count_after_exit() {
    let target = StandIn::start("standin", &["--rate", "20000", "--count", "5003"]);
    let pid = target.pid;
    let (monitor, read) = Monitor::attach_unread(pid, &["--follow", "-c", "4001"]);
    assert_eq!(target.run(), 5003);
    read.send(true).unwrap();
    let output = monitor.output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.rows().len(), 4001, "{}", output.stderr);
    assert_eq!(output.figure("after the last one shown"), 1002);
}

/// The folders of a process's threads.
fn tasks(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .map(|task| task.unwrap().path().display().to_string())
        .collect()
}

/// Check that the probe is found and read in memory operands, in forms with an index, and in a shared library.
fn every_build() {
    for name in ["standin", "standin-O0", "standin-forms", "standin-shared"] {
        let target = StandIn::start(name, &["--rate", "5000", "--count", "503"]);
        let monitor = Monitor::attach(target.pid, &["-k", "odp"]);
        assert_eq!(target.run(), 503, "{name}");
        let output = monitor.output();
        let mut marks = marks(&output);
        marks.sort_unstable();
        assert_eq!(marks, (0..503).collect::<Vec<_>>(), "{name}");
        assert_eq!(output.figure("shown"), 503, "{name}");
    }
}

/// Check that a probe with a semaphore is switched on while we are attached, and only then.
fn semaphore() {
    let mut target = StandIn::start("standin-semaphore", &["--rate", "5000", "--count", "307"]);
    let monitor = Monitor::attach(target.pid, &[]);
    target.go();
    assert_eq!(target.fired(), 307);
    let output = monitor.output();
    assert_eq!(output.rows().len(), 307);

    let mut target = StandIn::start("standin-semaphore", &["--rate", "5000", "--count", "307"]);
    let monitor = Monitor::attach(target.pid, &[]);
    monitor.signal("INT");
    monitor.output();
    target.go();
    assert_eq!(target.fired(), 0);
}

/// Check that snap lengths cut what is captured, and not the sizes that are shown.
fn snap_lengths() {
    let target = StandIn::start("standin", &["--rate", "5000", "--count", "101"]);
    let monitor = Monitor::attach(
        target.pid,
        &["-s", "60", "-f", "50", "-d", "hex", "-k", "nlraw"],
    );
    target.run();
    let output = monitor.output();
    assert_eq!(output.rows().len(), 101);
    for line in output
        .stdout
        .lines()
        .filter(|line| line.contains("size captured"))
    {
        let numbers: Vec<u32> = line
            .split([' ', ':'])
            .filter_map(|word| word.parse().ok())
            .collect();
        let [.., size, captured] = numbers[..] else {
            panic!("{line}")
        };
        let snaplen = if line.contains("Flow key") { 50 } else { 60 };
        assert_eq!(captured, size.min(snaplen), "{line}");
    }
    assert_eq!(output.stdout.matches("WARN: decode truncated").count(), 101);
    assert!(
        output
            .stdout
            .contains("packet size 9014 bytes, size captured 60 bytes.")
    );
}

/// Check that what cannot be read is shown as unreadable, is counted, and shows no byte.
fn unreadable() {
    let args = [
        "--rate",
        "5000",
        "--count",
        "300",
        "--bad-packet",
        "3",
        "--bad-key",
        "5",
    ];
    let target = StandIn::start("standin", &args);
    let monitor = Monitor::attach(target.pid, &["-d", "hex", "-k", "hex"]);
    target.run();
    let output = monitor.output();
    assert_eq!(output.rows().len(), 300);
    assert_eq!(output.figure("packets of those shown"), 100);
    assert_eq!(output.figure("flow keys of those shown"), 60);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let mut unreadable = 0;
    for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
        if line.contains("unreadable (Bad address") {
            unreadable += 1;
            assert!(!next.starts_with("    "), "bytes are shown below {line:?}");
        }
    }
    assert_eq!(unreadable, 160);
    // Where the key is not known, neither is the port.
    assert_eq!(
        output
            .rows()
            .iter()
            .filter(|row| row.contains(" Unknown ("))
            .count(),
        60
    );
}

/// Check that -c and --duration end it, the one with just as many rows.
fn count_and_duration() {
    let mut target = StandIn::start("standin", &["--rate", "20000"]);
    let monitor = Monitor::attach(target.pid, &["-c", "97"]);
    target.go();
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.rows().len(), 97);
    assert_eq!(output.figure("shown"), 97);

    let started = std::time::Instant::now();
    let monitor = Monitor::attach(target.pid, &["--duration", "0.3"]);
    let output = monitor.output();
    assert!(output.status.success());
    assert!(started.elapsed().as_secs_f64() >= 0.3);
    assert_eq!(output.rows().len() as u64, output.figure("shown"));
}

/// Check that what is fired after the last upcall of -c, or lost, is neither shown nor forgotten.
fn count_is_exact() {
    for (pages, count) in [("1", 5), ("4096", 31)] {
        let args = ["--rate", "0", "--count", "20011", "--threads", "2"];
        let mut target = StandIn::start("standin", &args);
        let wanted = count.to_string();
        let options = ["-c", &wanted, "--buffer-page-count", pages];
        let monitor = Monitor::attach(target.pid, &options);
        // It sees the first upcalls when all have been fired.
        monitor.signal("STOP");
        target.go();
        assert_eq!(target.fired(), 20011);
        monitor.signal("CONT");
        let output = monitor.output();
        assert_eq!(output.rows().len() as u64, count);
        assert_eq!(output.figure("shown"), count);
        let (left, lost) = (
            output.figure("after the last one shown"),
            output.figure("lost"),
        );
        assert_eq!(count + left + lost, 20011, "{}", output.stderr);
        assert_eq!(output.figure("upcalls in all"), 20011, "{}", output.stderr);
        assert_eq!(lost > 0, pages == "1", "{}", output.stderr);
    }
}

/// Check that a reader of standard error who goes away ends nothing.
fn closed_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    let mut target = StandIn::start("standin", &["--rate", "5000"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string(), "-c", "50", "--record", &file]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    target.go();
    assert!(child.wait().unwrap().success());
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["--replay", &file]);
    let output = Monitor::spawn(command).output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.rows().len(), 50);
}

/// Check that SIGINT, SIGTERM and SIGHUP end it with all that was received.
fn signals() {
    for signal in ["INT", "TERM", "HUP"] {
        let mut target = StandIn::start("standin", &["--rate", "50000", "--count", "211"]);
        // A second process keeps the event count exact: all is fired before the signal.
        let monitor = Monitor::attach(target.pid, &[]);
        target.go();
        assert_eq!(target.fired(), 211);
        monitor.signal(signal);
        let output = monitor.output();
        assert!(output.status.success(), "{signal}");
        assert_eq!(output.rows().len(), 211, "{signal}");
        assert_eq!(output.figure("upcalls in all"), 211, "{signal}");
    }
}

/// Check that SIGHUP does not end it under nohup.
fn nohup() {
    let mut target = StandIn::start("standin", &["--rate", "5000", "--count", "23"]);
    let mut command = Command::new("nohup");
    command.args([UPCALL_MONITOR, "-p", &target.pid.to_string()]);
    let mut monitor = Monitor::spawn(command);
    monitor.await_line("attached");
    monitor.signal("HUP");
    target.go();
    assert_eq!(target.fired(), 23);
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.figure("shown"), 23);
}

/// Check that the death of the target ends it, with a message and the summary.
fn target_exits() {
    let target = StandIn::start("standin", &["--rate", "5000", "--count", "13"]);
    let pid = target.pid;
    let monitor = Monitor::attach(pid, &[]);
    target.run();
    let output = monitor.output();
    assert!(output.status.success());
    assert!(
        output.stderr.contains(&format!("process {pid} has exited")),
        "{}",
        output.stderr
    );
    assert_eq!(output.figure("shown"), 13);
}

/// Check that a reader who goes away is no error, and that the capture is completed all the same.
fn closed_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let mut target = StandIn::start("standin", &["--rate", "20000"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string(), "-k", "nlraw", "-w", &file]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    target.go();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("error"), "{stderr}");
    assert!(stderr.contains("upcalls in all"), "{stderr}");
    // Only a complete capture has the statistics block of each of its interfaces.
    let about = run("capinfos", &["-I", &file]);
    let count = |text: &str| about.matches(text).count();
    assert!(count("Interface #") > 0);
    assert_eq!(
        count("Number of stat entries = 1"),
        count("Interface #"),
        "{about}"
    );
}

/// Check that a full disk ends it with one error, and that what was written before can be read: in one file, in
/// several, and if the next of them cannot be created.
fn full_disk() {
    let rotate = ["--rotate", "filesize:100"];
    for (disk, args, error) in [
        ("size=256k", &[][..], "out.pcapng: No space"),
        ("size=256k", &rotate, ".pcapng: No space"),
        (
            "nr_inodes=3",
            &rotate,
            "failed to write the capture: failed to create ",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk_path = folder.path().to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", disk, "tmpfs", disk_path]);
        let file = path(&folder, "out.pcapng");
        let mut target = StandIn::start("standin", &["--rate", "20000"]);
        let monitor = Monitor::attach(target.pid, &[&["-w", &file], args].concat());
        target.go();
        let output = monitor.output();
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let read = |file| Command::new("tshark").arg("-r").arg(file).output().unwrap();
        let read: Vec<_> = files.iter().map(read).collect();
        run("umount", &[disk_path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains(error), "{}", output.stderr);
        assert!(
            output.stderr.contains("No space left on device"),
            "{}",
            output.stderr
        );
        assert_eq!(
            output.stderr.matches("error:").count(),
            1,
            "{}",
            output.stderr
        );
        assert_eq!(read.len() > 1, !args.is_empty(), "{files:?}");
        for (number, file) in read.iter().enumerate() {
            let shown = String::from_utf8_lossy(&file.stdout).lines().count();
            let stderr = String::from_utf8_lossy(&file.stderr);
            assert!(shown > 20, "{shown} packets\n{stderr}");
            // Only the last one may end within a packet.
            let whole = !stderr.contains("cut short");
            assert!(whole || number + 1 == read.len(), "{stderr}");
        }
    }
}

/// Check that -w - is a capture and nothing else.
fn capture_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let target = StandIn::start("standin", &["--rate", "5000", "--count", "101"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string(), "-w", "-"]);
    command
        .stdout(fs::File::create(&file).unwrap())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("attached")));
    target.run();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    assert!(rest.join("\n").contains("101 shown"), "{rest:?}");
    assert_eq!(packets(&file), 101);
}

/// Check that tshark shows the packets as they come, while upcall-monitor runs on, and that its end is no error.
fn capture_into_tshark() {
    let mut target = StandIn::start("standin", &["--rate", "5000"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string(), "-w", "-"]);
    let mut monitor = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.len",
        "-e",
        "frame.interface_name",
    ];
    let tshark = Command::new("tshark")
        .args(["-n", "-l", "-i", "-", "-c", "1009"])
        .args(fields)
        .stdin(monitor.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    target.go();
    // It ends because it has seen so many, not because there are no more.
    let shown = tshark.wait_with_output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 1009);
    let jumbo = shown
        .lines()
        .filter(|line| *line == "9014\t2 (system@ovs-system)");
    assert!(jumbo.count() >= 1009 / 8, "{shown}");
    let output = monitor.wait_with_output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("error"), "{stderr}");
}

/// Check that a recording shows, without privilege, what was shown live, to the byte.
fn replay_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let recording = path(&folder, "out.rec");
    let args = ["--rate", "5000", "--count", "199", "--bad-packet", "7"];
    let target = StandIn::start("standin", &args);
    let forms = ["-k", "nlraw", "-d", "decode"];
    let live_capture = path(&folder, "live.pcapng");
    let mut live = forms.to_vec();
    live.extend(["--record", &recording, "-w", &live_capture]);
    let monitor = Monitor::attach(target.pid, &live);
    target.run();
    let live = monitor.output();
    assert_eq!(live.rows().len(), 199);
    let mode = fs::metadata(&recording).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let capture = path(&folder, "replayed.pcapng");
    let mut command = Command::new(UPCALL_MONITOR);
    command
        .args(forms)
        .args(["--replay", &recording, "-w", &capture]);
    let replayed = Monitor::spawn(command).output();
    assert!(replayed.status.success(), "{}", replayed.stderr);
    assert!(live.stdout == replayed.stdout, "the tables differ");
    let bytes = |file: &str| fs::read(file).unwrap();
    assert!(
        bytes(&live_capture) == bytes(&capture),
        "the captures differ"
    );
    assert_eq!(replayed.figure("packets of those shown"), 28);
}

/// Check that a daemon whose binary was replaced, by an upgrade for one, is traced as it runs.
fn deleted_binary() {
    let folder = tempfile::tempdir().unwrap();
    let binary = path(&folder, "vswitchd");
    fs::copy(standins().join("standin"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(["--rate", "5000", "--count", "103"]);
    let target = StandIn::spawn(command);
    fs::remove_file(&binary).unwrap();
    fs::write(&binary, "a newer one").unwrap();
    let monitor = Monitor::attach(target.pid, &[]);
    target.run();
    assert_eq!(monitor.output().rows().len(), 103);
}

/// Check that a daemon whose binary only its own mount namespace has is traced.
fn other_mount_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"mount -t tmpfs tmpfs "$1" && cp "$2" "$1/vswitchd" && folder=$1 && shift 2 && exec "$folder/vswitchd" "$@""#);
    command
        .arg("sh")
        .arg(folder.path())
        .arg(standins().join("standin"));
    command.args(["--rate", "5000", "--count", "107"]);
    let target = StandIn::spawn(command);
    assert!(!folder.path().join("vswitchd").exists());
    let monitor = Monitor::attach(target.pid, &[]);
    target.run();
    assert_eq!(monitor.output().rows().len(), 107);
}

/// Check that a daemon in a container is traced: in a user, pid, mount and network namespace of its own, with a binary
/// that nobody else sees, and by its id as it is here.
fn container() {
    let (folder, binary) = open_folder("standin", standins().join("standin"));
    let inner = path(&folder, "inner");
    fs::create_dir(&inner).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--mount", "--net"]);
    command.args(["--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    command.arg(
        r#"mount -t tmpfs tmpfs "$1" && cp "$2" "$1/vswitchd" && folder=$1 && shift 2 && exec "$folder/vswitchd" "$@""#,
    );
    command.args(["sh", &inner, &binary, "--rate", "5000", "--count", "109"]);
    let target = StandIn::spawn(command);
    let unshare = target.pid;
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let children = fs::read_to_string(children).unwrap();
    let pid: u32 = children.trim().parse().expect("one child");
    let namespace = |pid: u32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    for name in ["user", "pid", "mnt", "net"] {
        assert_ne!(namespace(pid, name), namespace(std::process::id(), name));
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    assert_eq!(ids.unwrap().split_whitespace().last(), Some("1"));

    let monitor = Monitor::attach(pid, &["-k", "odp", "--format", "json"]);
    target.run();
    let output = monitor.output();
    assert_eq!(output.figure("shown"), 109, "{}", output.stderr);
    assert!(!output.stderr.contains("namespace"), "{}", output.stderr);
    // The id by which it was named, and thread ids from the same place.
    let mut events = json_lines(&output);
    events.retain(|line| line["record"] == "event");
    assert_eq!(events.len(), 109);
    for event in events {
        assert_eq!(
            (&event["daemon"], &event["pid"]),
            (&pid.into(), &pid.into())
        );
        assert!(event["tid"].as_u64() >= Some(pid.into()), "{event}");
    }
}

/// Check that CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are enough for a user who is not root and to whom the daemon is
/// another's, and that none of them remain once attached.
fn capabilities() {
    const CAPABILITIES: &str = "+bpf,+perfmon,+sys_ptrace";
    let (_folder, tool) = open_folder("upcall-monitor", UPCALL_MONITOR);
    let (_folder, binary) = open_folder("standin", standins().join("standin"));
    let mut command = Command::new(binary);
    command.args(["--rate", "5000", "--count", "113"]);
    let target = StandIn::spawn(command);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]);
    command.args([&tool, "-k", "odp", "-p", &target.pid.to_string()]);
    let mut monitor = Monitor::spawn(command);
    monitor.await_line("attached");
    let status = fs::read_to_string(format!("/proc/{}/status", monitor.id())).unwrap();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.expect("a field").trim().to_string()
    };
    assert!(field("Uid:").starts_with("65534"));
    for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(name), "0".repeat(16), "{name}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    target.run();
    let output = monitor.output();
    assert_eq!(output.rows().len(), 113, "{}", output.stderr);
    assert_eq!(marks(&output).len(), 113);
    assert!(!output.stderr.contains("failed to"), "{}", output.stderr);
}

/// Check that the daemon is found by its name, that a second one is an error which lists both, and that none is one.
fn finds_the_daemon() {
    const SCRIPT: &str = r#"
        look() { "$monitor" --duration 0.01 2>&1 >/dev/null; echo "status $?"; }
        start() { "$standin" --comm ovs-vswitchd >fifo & read -r _ pid <fifo; echo "pid $pid"; }
        mkfifo fifo
        look; start; look; start; look
        kill %1 %2
    "#;
    let text = in_pid_namespace(SCRIPT);
    let lines: Vec<&str> = text.lines().collect();
    let [
        none,
        "status 1",
        first,
        ..,
        second,
        several,
        candidates,
        "status 1",
    ] = lines[..]
    else {
        panic!("{text}");
    };
    assert_eq!(
        none,
        "error: no ovs-vswitchd is running here; start it, or name its process with -p"
    );
    let (first, second) = (&first["pid ".len()..], &second["pid ".len()..]);
    assert!(
        text.contains(&format!("of process {first} (2 sites)")),
        "{text}"
    );
    assert!(text.contains("status 0"), "{text}");
    assert_eq!(
        several,
        "error: several ovs-vswitchd are running, choose one with -p:"
    );
    assert!(candidates.contains(&format!("{first} (")), "{text}");
    assert!(candidates.contains(&format!("{second} (")), "{text}");
}

/// Check that where /proc hides the processes of other users, it is not said that no daemon runs, nor that the process
/// that is asked for does not.
fn hidden_processes() {
    let (_folder, tool) = open_folder("upcall-monitor", UPCALL_MONITOR);
    let text = in_pid_namespace(&format!(
        "mount -o remount,hidepid=1 /proc
         for pid in '' '-p 1'; do
             setpriv --reuid 65534 --regid 65534 --clear-groups {tool} $pid 2>&1
         done"
    ));
    let hidden =
        "error: not permitted to read \"/proc/1/stat\"\n  run as root, or with CAP_SYS_PTRACE\n";
    assert_eq!(text, hidden.repeat(2));
}

/// Check that the error of a user without privilege names the capabilities that are missing.
fn no_privilege() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = path(&folder, "upcall-monitor");
    fs::copy(UPCALL_MONITOR, &binary).unwrap();
    let target = StandIn::start("standin", &[]);
    let mut command = Command::new(&binary);
    command
        .args(["-p", &target.pid.to_string()])
        .uid(65534)
        .gid(65534);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "error: no privilege to trace: CAP_BPF and CAP_PERFMON are missing\n  \
         run it as root, or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE; usdt-probes --check says more\n"
    );
}

/// Check that a root who lacks capabilities, as in a container, is not advised to be root.
fn powerless_root() {
    let target = StandIn::start("standin", &[]);
    let mut command = Command::new("setpriv");
    command
        .args([
            "--inh-caps",
            "-all",
            "--bounding-set",
            "-all",
            UPCALL_MONITOR,
        ])
        .args(["-p", &target.pid.to_string()]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "error: no privilege to trace: CAP_BPF and CAP_PERFMON are missing\n  \
         this root has lost them: start its container with --privileged, or run it on the host; usdt-probes --check \
         says more\n"
    );
}

/// Check that the error for root of a user namespace says that this is not enough, and not that the kernel is too old.
fn rootless() {
    const SCRIPT: &str = r#"
        "$standin" >fifo & read -r _ pid <fifo
        "$monitor" -p $pid 2>&1; echo "status $?"
        kill $pid
    "#;
    let folder = tempfile::tempdir().unwrap();
    run("mkfifo", &[folder.path().join("fifo")]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", SCRIPT]);
    command
        .env("monitor", UPCALL_MONITOR)
        .env("standin", standins().join("standin"));
    let output = command.current_dir(&folder).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "error: no privilege to trace from within a user namespace, a rootless container's for example\n  \
         run it outside of it, with -p and the id that the process has there\nstatus 1\n"
    );
}

/// Check that once attached only the capabilities remain that are still needed, that they cannot come back, and that
/// all goes on to the end without them: a second file, the summary, detaching.
fn drops_privilege() {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const BPF: u64 = 1 << 39;
    let folder = tempfile::tempdir().unwrap();
    // Nobody's, so that root alone is not enough to write there.
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let file = path(&folder, "out.pcapng");
    for (args, keeps) in [
        (&[][..], 0),
        (&["--top", "3", "--interval", "0.1"], BPF),
        (&["--pcap", &file, "--rotate", "filesize:1"], DAC_OVERRIDE),
    ] {
        let target = StandIn::start("standin", &["--rate", "5000", "--count", "101"]);
        let monitor = Monitor::attach(target.pid, args);
        let threads = tasks(monitor.id());
        assert_eq!(threads.len(), 2, "{threads:?}");
        for thread in threads {
            let status = fs::read_to_string(format!("{thread}/status")).unwrap();
            let field = |name: &str| {
                let mut lines = status.lines();
                let value = lines
                    .find_map(|line| line.strip_prefix(name))
                    .expect("a field");
                u64::from_str_radix(value.trim(), 16).expect("a number")
            };
            assert_eq!(field("NoNewPrivs:"), 1);
            assert_eq!(field("CapEff:"), keeps, "{args:?}");
            assert_eq!(field("CapPrm:"), keeps, "{args:?}");
            assert_eq!(field("CapBnd:"), keeps, "{args:?}");
            assert_eq!((field("CapInh:"), field("CapAmb:")), (0, 0));
        }
        assert_eq!(target.run(), 101);
        let output = monitor.output();
        assert!(output.status.success(), "{}", output.stderr);
        assert_eq!(output.figure("shown"), 101, "{}", output.stderr);
        assert!(
            !output.stderr.contains("failed to give up"),
            "{}",
            output.stderr
        );
    }
    assert!(fs::read_dir(folder.path()).unwrap().count() > 2);
}

/// Check that a terminal shows how it goes while the table goes to a file, that the line is gone before anything else
/// is said, and that nothing of it is in the table; and that there is none if the table goes to a pipe.
fn status_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "table");
    let terminal = |command: &str| {
        let output = Command::new("script")
            .args(["-qec", command, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut target = StandIn::start("standin", &["--rate", "2000"]);
    target.go();
    let monitor = format!("{UPCALL_MONITOR} -p {} -c 3001", target.pid);
    let text = terminal(&format!("{monitor} > {file}"));
    let erase = "\r\x1b[K";
    let parts: Vec<&str> = text.split(erase).collect();
    // Before the first, what was said when it attached; after the last, the summary.
    assert!(parts.len() > 2, "{text:?}");
    assert!(parts[0].ends_with("Ctrl-C ends it\r\n"), "{text:?}");
    for part in &parts[1..parts.len() - 1] {
        let numbers = part.strip_suffix(" a second, 0 lost by upcall-monitor");
        let (events, rate) = numbers
            .and_then(|numbers| {
                numbers
                    .split_once(" upcalls, ")
                    .or(numbers.split_once(" upcall, "))
            })
            .unwrap_or_else(|| panic!("{part:?}"));
        assert!(
            events.parse::<u64>().is_ok() && rate.parse::<u64>().is_ok(),
            "{part:?}"
        );
    }
    let summary = parts[parts.len() - 1];
    assert!(summary.contains(" upcalls in all: "), "{text:?}");
    let table = fs::read_to_string(&file).unwrap();
    assert_eq!(table.lines().count(), 1 + 3001);
    assert!(!table.contains(['\r', '\x1b']));

    // With --quiet it is there while nothing else is, and gone before the summary.
    let text = terminal(&format!("{monitor} --quiet"));
    let parts: Vec<&str> = text.split(erase).collect();
    assert!(parts.len() > 2, "{text:?}");
    for part in &parts[1..parts.len() - 1] {
        assert!(
            part.contains(" upcall") && part.ends_with(" lost by upcall-monitor"),
            "{part:?}"
        );
    }
    assert!(
        parts[parts.len() - 1].starts_with("3001 upcalls in "),
        "{text:?}"
    );

    let text = terminal(&format!("{monitor} | cat > {file}"));
    assert!(
        text.contains("upcalls in all") && !text.contains(erase),
        "{text:?}"
    );
}

/// Check that the errors for a probe with other arguments, and for a program without probes, say so.
fn wrong_arguments() {
    let target = StandIn::start("standin-badargs", &[]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string()]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("other arguments"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.lines().count() <= 2, "{}", output.stderr);

    let mut without = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &without.id().to_string()]);
    let output = Monitor::spawn(command).output();
    without.kill().unwrap();
    without.wait().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("--enable-usdt-probes"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.lines().count() <= 2, "{}", output.stderr);
}

/// Check that no file is given to two outputs, or is both input and output.
fn one_file_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (file, same) = (path(&folder, "f"), folder.path().join("./f"));
    let target = StandIn::start("standin", &["--rate", "5000", "--count", "7"]);
    let refused = |command: &mut Command| {
        let command = std::mem::replace(command, Command::new("false"));
        let output = Monitor::spawn(command).output();
        assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
        assert!(
            output.stderr.contains("is in use already"),
            "{}",
            output.stderr
        );
    };
    let mut command = Command::new(UPCALL_MONITOR);
    command
        .args([
            "-p",
            &target.pid.to_string(),
            "--force",
            "-w",
            &file,
            "--record",
        ])
        .arg(&same);
    refused(&mut command);
    assert!(!same.exists(), "a failed start leaves a file behind");

    let monitor = Monitor::attach(target.pid, &["--record", &file]);
    target.run();
    monitor.output();
    let recorded = fs::read(&file).unwrap();
    let mut command = Command::new(UPCALL_MONITOR);
    command
        .args(["--replay", &file, "--force", "-w"])
        .arg(&same);
    refused(&mut command);
    assert!(fs::read(&file).unwrap() == recorded);
}

/// Check that a start which fails leaves no file behind, and prints no table.
fn failed_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.pcapng");
    let target = StandIn::start("standin", &["--count", "7"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args([
        "-p",
        &target.pid.to_string(),
        "-w",
        &file,
        "--record",
        "/no/such/folder",
    ]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output
            .stderr
            .contains("failed to create /no/such/folder: No such file or directory")
    );
    assert_eq!(output.stdout, "");
    assert!(!Path::new(&file).exists());
}

/// Check that the parent which --monitor leaves is refused, and that the error names its child.
fn monitor_parent() {
    let mut command = Command::new(standins().join("standin"));
    command.arg0("ovs-vswitchd: monitoring pid 4711 (healthy)");
    command.args(["--comm", "ovs-vswitchd"]);
    let target = StandIn::spawn(command);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string()]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "error: process {} is the --monitor of ovs-vswitchd; use -p 4711\n",
        target.pid
    );
    assert_eq!(output.stderr, expected);
}

/// Check that no file is overwritten without --force, nor through a link with it.
fn existing_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (path(&folder, "precious"), path(&folder, "link"));
    fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let target = StandIn::start("standin", &["--count", "7"]);
    for option in ["--pcap", "--record"] {
        for (name, force) in [(&file, false), (&link, false), (&link, true)] {
            let mut command = Command::new(UPCALL_MONITOR);
            command.args(["-p", &target.pid.to_string(), option, name]);
            command.args(force.then_some("--force"));
            let output = Monitor::spawn(command).output();
            assert_eq!(output.status.code(), Some(1), "{option} {name}");
            assert!(output.stderr.contains(name.as_str()), "{}", output.stderr);
            assert_eq!(
                fs::read(&file).unwrap(),
                b"precious",
                "{option} {name} {force}"
            );
        }
    }
    let monitor = Monitor::attach(target.pid, &["--record", &file, "--force"]);
    target.run();
    assert!(monitor.output().status.success());
    assert!(fs::read(&file).unwrap().starts_with(b"OVSTRACE"));
    assert!(Path::new(&link).is_symlink());
}

/// Check that a kernel without type information is no obstacle, and that the names of threads are known there too.
fn no_type_information() {
    let target = StandIn::start("standin", &["--rate", "5000", "--count", "101"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@""#);
    command.args(["sh", UPCALL_MONITOR, "-p", &target.pid.to_string()]);
    let mut monitor = Monitor::spawn(command);
    monitor.await_line("attached");
    target.run();
    let output = monitor.output();
    assert_eq!(output.rows().len(), 101, "{}", output.stderr);
    assert!(output.rows().iter().all(|row| row.contains(" handler1 ")));
}

/// Check that without a kernel datapath --result error is an error, and any a warning.
fn no_datapath() {
    let target = StandIn::start("standin", &["--rate", "1000", "--count", "53"]);
    let pid = target.pid.to_string();
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &pid, "--result", "error"]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "error: upcalls that fail in the kernel cannot be seen: the kernel's module openvswitch is not loaded\n  \
         usdt-probes --check says more\n"
    );
    assert_eq!(output.stdout, "");

    let any = Monitor::attach(target.pid, &["--result", "any"]);
    let ok = Monitor::attach(target.pid, &["--result", "ok"]);
    target.run();
    let (any, ok) = (any.output(), ok.output());
    assert!(
        any.stderr
            .starts_with("warning: upcalls that fail in the kernel cannot be seen")
    );
    assert!(ok.stderr.starts_with("attached to"), "{}", ok.stderr);
    assert_eq!((any.rows().len(), ok.rows().len()), (53, 53));
}

/// Check that each filter lets through exactly what it names, and that the others are counted. Of eight events in a
/// row, which are on two threads in turn, three are of port 2, two of type 1, and six smaller than 200 bytes.
fn filters() {
    for (args, passes) in [
        (&["--port", "2"][..], 3 * 101),
        (&["--port", "2", "--port", "5"], 4 * 101),
        (&["--type", "action"], 2 * 101),
        (&["--type", "miss"], 6 * 101),
        (&["--thread", "handler2"], 4 * 101),
        (&["--min-size", "200"], 2 * 101),
        (&["--dp", "ovs-system"], 8 * 101),
        (&["--dp", "system@ovs-system"], 8 * 101),
        (&["--dp", "netdev@ovs-system"], 0),
        (
            &["--type", "miss", "--port", "2", "--min-size", "90"],
            2 * 101,
        ),
    ] {
        let target = StandIn::start(
            "standin",
            &["--rate", "20000", "--threads", "2", "--count", "808"],
        );
        let monitor = Monitor::attach(target.pid, args);
        target.run();
        let output = monitor.output();
        assert_eq!(output.rows().len(), passes, "{args:?}: {}", output.stderr);
        assert_eq!(output.figure("upcalls in all"), 808);
        assert_eq!(output.figure("shown"), passes as u64);
        if passes < 808 {
            assert_eq!(output.figure("filtered"), 808 - passes as u64, "{args:?}");
        }
    }
    let target = StandIn::start("standin", &["--count", "1"]);
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &target.pid.to_string(), "--port", "no-such-port"]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output
            .stderr
            .starts_with("error: no port named no-such-port\n"),
        "{}",
        output.stderr
    );
}

/// Check that upcalls which a filter keeps back take no room: a small ring has it for the few that pass.
fn filtering_is_cheaper() {
    for filter in [
        &["--port", "1", "--port", "2", "--port", "3"][..],
        &["not src host 203.0.113.9"],
    ] {
        let target = StandIn::start(
            "standin",
            &["--rate", "0", "--count", "100003", "--scan", "1000"],
        );
        // One event in a thousand is not of the scan.
        let args = [filter, &["--buffer-page-count", "16"]].concat();
        let monitor = Monitor::attach(target.pid, &args);
        assert_eq!(target.run(), 100_003);
        let output = monitor.output();
        assert_eq!(output.figure("lost"), 0, "{filter:?}: {}", output.stderr);
        assert_eq!(output.figure("shown") + output.figure("filtered"), 100_003);
        assert_eq!(output.rows().len(), 101);
    }
}

/// Check that a packet filter is applied in the kernel, to packets of which nothing is captured unless something else
/// wants it, and however much --packet-size cuts off; that where it cannot, because of how far it looks, it gets as
/// much of each packet as it looks at, and packets that --packet-size cuts are reported; and that a recording has what
/// passes. Of eight events in a row, one is of TCP over IPv4 without a VLAN tag, three of UDP, and one, of UDP too,
/// over 1000 bytes.
fn packet_filter() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    let in_kernel = [
        (&["ip", "and", "tcp"][..], 101, 0),
        (&["greater 1000"], 101, 0),
        (&["-s", "20", "ip and tcp"], 101, 20),
        (&["-s", "20", "ip and tcp", "--port", "3"], 0, 20),
        (&["--record", &file, "tcp or arp"], 2 * 101, 65535),
    ];
    let in_user_space = [
        (&["ether[1000] = 0", "and", "arp"][..], 0, 1001, 0),
        (&["ether[1000] < 256 and udp"], 101, 1001, 0),
        (&["ip and tcp or ether[1000] < 256"], 2 * 101, 1001, 0),
        (&["-s", "20", "ether[1000] < 256 and udp"], 0, 20, 808),
    ];
    let in_kernel = in_kernel.map(|(args, passes, captured)| (args, passes, captured, None));
    let in_user_space =
        in_user_space.map(|(args, passes, captured, cut)| (args, passes, captured, Some(cut)));
    for (args, passes, captured, user_space) in in_kernel.into_iter().chain(in_user_space) {
        let target = StandIn::start("standin", &["--rate", "20000", "--count", "808"]);
        let args = [&["--format", "json"], args].concat();
        let monitor = Monitor::attach(target.pid, &args);
        assert_eq!(target.run(), 808);
        let output = monitor.output();
        assert_eq!(output.figure("lost"), 0, "{}", output.stderr);
        assert_eq!(output.figure("shown"), passes, "{args:?}");
        assert_eq!(output.figure("filtered"), 808 - passes, "{args:?}");
        let said = "the packet filter is applied in user space: it looks at the first 1001 bytes";
        assert_eq!(
            output.stderr.contains(said),
            user_space.is_some(),
            "{args:?}: {}",
            output.stderr
        );
        match user_space.unwrap_or_default() {
            0 => assert!(!output.stderr.contains("may have matched"), "{args:?}"),
            cut => assert_eq!(output.figure("of the filtered upcalls"), cut, "{args:?}"),
        }
        let lines = json_lines(&output);
        assert_eq!(lines[0]["packet_size"], captured, "{args:?}");
        for event in lines.iter().filter(|line| line["record"] == "event") {
            let size = |name: &str| event["packet"][name].as_u64().expect("a size");
            assert_eq!(size("captured"), size("length").min(captured), "{args:?}");
        }
    }
    assert_eq!(replayed(&file, "").len(), 2 * 101);
}

/// The marks of the upcalls of a recording that a packet filter lets through.
#[track_caller]
fn replayed(file: &str, filter: &str) -> Vec<u64> {
    let output = Command::new(UPCALL_MONITOR)
        .args(["--replay", file, "-k", "odp", filter])
        .output()
        .unwrap();
    assert!(output.status.success());
    marks(&Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::new(),
    })
}

/// Check that filters choose the same upcalls in the kernel as in user space, from a recording of all.
fn packet_filter_as_replay() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    let options = ["--rate", "20000", "--threads", "2", "--count", "808"];
    let target = StandIn::start("standin", &options);
    let monitor = Monitor::attach(target.pid, &["--record", &file]);
    assert_eq!(target.run(), 808);
    assert_eq!(monitor.output().figure("shown"), 808);
    for filter in [
        "udp port 9",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "not tcp port 443",
        "vlan 100 and tcp",
        "arp or icmp or icmp6",
        "ether[60:4] & 0xff > 30",
        "len > 1000 or ip[2:2] = 40",
        "ether[38:2] / (ether[22] - 64) < 100",
        "ether[14] << (ip[8] - 60) != 0",
    ] {
        let target = StandIn::start("standin", &options);
        let monitor = Monitor::attach(target.pid, &["-k", "odp", filter]);
        assert_eq!(target.run(), 808);
        let output = monitor.output();
        assert!(!output.stderr.contains("user space"), "{}", output.stderr);
        let sorted = |mut marks: Vec<u64>| {
            marks.sort_unstable();
            marks
        };
        let shown = sorted(marks(&output));
        assert_eq!(shown, sorted(replayed(&file, filter)), "{filter}");
        assert_eq!(output.figure("filtered"), 808 - shown.len() as u64);
    }
}

/// Check that a packet which cannot be read matches only where the filter does not look at it, and that those of which
/// nothing is known are reported. It is the eighth of eight events in a row, of UDP like two others.
fn packet_filter_unreadable() {
    for (filter, passes, doubtful) in [
        ("udp", 2 * 101, 101),
        ("not udp", 5 * 101, 101),
        ("greater 1000", 101, 0),
        ("greater 1000 and udp", 0, 101),
        ("less 1000 and udp", 2 * 101, 0),
    ] {
        let target = StandIn::start(
            "standin",
            &["--rate", "20000", "--count", "808", "--bad-packet", "8"],
        );
        let monitor = Monitor::attach(target.pid, &[filter]);
        assert_eq!(target.run(), 808);
        let output = monitor.output();
        assert_eq!(output.figure("shown"), passes, "{filter}");
        assert_eq!(output.figure("filtered"), 808 - passes, "{filter}");
        match doubtful {
            0 => assert!(!output.stderr.contains("may have matched"), "{filter}"),
            _ => assert_eq!(
                output.figure("of the filtered upcalls"),
                doubtful,
                "{filter}"
            ),
        }
    }
}

/// Check that a port scan is named first, and that all that was fired is counted, each by its own thread and source,
/// although most of it was lost.
fn scan_is_named() {
    let target = StandIn::start(
        "standin",
        &[
            "--rate",
            "0",
            "--count",
            "300007",
            "--threads",
            "2",
            "--scan",
            "10",
        ],
    );
    let args = ["--quiet", "--top", "5", "--buffer-page-count", "1"];
    let text = Monitor::attach(target.pid, &args);
    let json = Monitor::attach(target.pid, &[&args[..], &["--format", "json"]].concat());
    assert_eq!(target.run(), 300_007);
    let (text, json) = (text.output(), json.output());
    assert!(json.figure("lost") > 1000, "{}", json.stderr);

    let lines = json_lines(&json);
    assert!(count_of(&lines, "lost") > 0);
    let summary = lines.last().unwrap();
    assert_eq!(summary["record"], "summary");
    assert_eq!(summary["fired"], 300_007);
    let flows = &summary["flows"];
    assert_eq!(
        (&flows["upcalls"], &flows["unknown"]),
        (&300_007.into(), &0.into())
    );
    let scan = &flows["top"][0];
    assert_eq!(scan["src"], "203.0.113.9");
    assert_eq!(scan["dst"], "192.0.2.2");
    assert_eq!(scan["protocol"], "udp");
    // Each tenth event, from the first on, is something else.
    assert_eq!(scan["upcalls"], 300_007 - 30_001);
    let sum = |part: &str| -> u64 {
        let parts = flows[part].as_array().unwrap().iter();
        parts.map(|part| part["upcalls"].as_u64().unwrap()).sum()
    };
    for part in [
        "by_datapath",
        "by_port",
        "by_type",
        "by_protocol",
        "by_result",
        "by_thread",
    ] {
        assert_eq!(sum(part), 300_007, "{part}");
    }
    assert_eq!(flows["by_thread"][0]["upcalls"], 150_004);
    assert_eq!(flows["by_thread"].as_array().unwrap().len(), 2);

    let lines: Vec<&str> = text.stdout.lines().collect();
    assert!(
        lines[0].starts_with("300007 upcalls in "),
        "{}",
        text.stdout
    );
    let title = lines
        .iter()
        .position(|line| *line == "by source and destination");
    let first = lines[title.unwrap() + 1];
    assert!(first.trim_start().starts_with("270006  90.0 %"), "{first}");
    assert!(first.ends_with(" 6 udp 203.0.113.9 > 192.0.2.2"), "{first}");
}

/// Check that intervals have each upcall once, in JSON and as text, and that rows are shown between them.
fn intervals() {
    let target = StandIn::start("standin", &["--rate", "2000", "--count", "3001"]);
    let json = Monitor::attach(
        target.pid,
        &["--quiet", "--interval", "0.2", "--format", "json"],
    );
    let text = Monitor::attach(target.pid, &["--interval", "0.2"]);
    target.run();
    let (json, text) = (json.output(), text.output());
    let (mut intervals, mut sum, mut total) = (0, 0, 0);
    let mut before = 0;
    for line in json_lines(&json) {
        let upcalls = line["flows"]["upcalls"].as_u64();
        match line["record"].as_str() {
            Some("interval") => {
                intervals += 1;
                sum += upcalls.unwrap();
                let time = line["time_ns"].as_u64().unwrap();
                assert!(time > before, "{line}");
                assert!(line["wall_time"].as_str().unwrap().ends_with('Z'), "{line}");
                before = time;
            }
            Some("summary") => total = upcalls.unwrap(),
            other => assert_eq!(other, Some("start")),
        }
    }
    assert_eq!(total, 3001);
    assert!(intervals >= 2, "{intervals}");
    assert!(sum <= total);
    assert_eq!(text.rows().len(), 3001);
    assert!(
        text.stderr.contains("\n3001 upcalls in "),
        "{}",
        text.stderr
    );
    // Each interval begins with the time of its end.
    let time = |line: &str| line.split_once(' ')?.0.parse::<f64>().ok();
    let is_title = |line: &&str| line.contains(" upcalls in ") && line.ends_with("/s");
    let titles = text.stderr.lines().filter(is_title);
    let times: Vec<_> = titles.map(|line| (time(line).unwrap(), line)).collect();
    let ((total, _), intervals) = times.split_last().unwrap();
    assert_eq!(*total, 3001.0);
    assert!(!intervals.is_empty());
    assert!(intervals.is_sorted_by(|a, b| a.0 < b.0), "{intervals:?}");
    for (_, line) in intervals {
        // In a column of its own.
        let (time, rest) = line.split_at(19);
        assert!(time.contains('.') && !rest.starts_with(' '), "{line}");
    }
}

/// Check that an interval without upcalls has one line with its time, and no empty one.
fn idle_intervals() {
    let target = StandIn::start("standin", &[]);
    let args = ["-q", "--interval", "0.05", "--duration", "0.5"];
    let output = Monitor::attach(target.pid, &args).output();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let (total, intervals) = lines.split_last().unwrap();
    assert!(total.starts_with("0 upcalls in "), "{total}");
    assert!(!intervals.is_empty(), "{}", output.stdout);
    for line in intervals {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.parse::<f64>().is_ok() && time.contains('.'), "{line}");
        let rest = rest.trim_start();
        assert!(rest.starts_with("0 upcalls in "), "{line}");
        assert!(rest.ends_with(" s, 0.0/s"), "{line}");
    }
}

/// Check that two daemons are distinguished, and that the trace ends when both have exited.
fn several_daemons() {
    let first = StandIn::start("standin", &["--rate", "1000", "--count", "101"]);
    let second = StandIn::start("standin-O0", &["--rate", "1000", "--count", "203"]);
    let (one, two) = (first.pid, second.pid);
    let monitor = Monitor::attach(one, &["-p", &two.to_string(), "-q", "--format", "json"]);
    let rows = Monitor::attach(one, &["-p", &two.to_string()]);
    first.run();
    second.run();
    let (output, rows) = (monitor.output(), rows.output());
    let lines = json_lines(&output);
    let summary = lines.last().unwrap();
    let by = &summary["flows"]["by_datapath"];
    assert_eq!(by[0]["name"], format!("system@ovs-system of {two}"));
    assert_eq!(by[0]["upcalls"], 203);
    assert_eq!(by[1]["name"], format!("system@ovs-system of {one}"));
    assert_eq!(by[1]["upcalls"], 101);
    let label = format!("(system@ovs-system of {one})");
    let of_one = rows
        .rows()
        .iter()
        .filter(|row| row.contains(&label))
        .count();
    assert_eq!((of_one, rows.rows().len()), (101, 304));
}

/// Check that --follow goes on with the next daemon, into the same outputs, and counts both.
fn follow() {
    let first = StandIn::start("standin", &["--rate", "1000", "--count", "61"]);
    let mut monitor = Monitor::attach(first.pid, &["--follow"]);
    first.run();
    monitor.await_line("waiting for the next ovs-vswitchd");
    let second = StandIn::start(
        "standin-O0",
        &["--rate", "1000", "--count", "73", "--comm", "ovs-vswitchd"],
    );
    monitor.await_line(&format!("of process {} ", second.pid));
    second.run();
    monitor.await_line("waiting for the next ovs-vswitchd");
    monitor.signal("INT");
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.rows().len(), 61 + 73);
    assert_eq!(output.figure("upcalls in all"), 61 + 73);
    assert_eq!(output.stdout.matches("PORT_NAME").count(), 1);
}

/// Check that --follow takes the daemon that is started for the one which exited, from another binary at the same path,
/// and neither the parent that --monitor leaves nor a daemon that ran beside it all the time.
fn follow_an_upgrade() {
    let start = |name: &str, binary: &str, args: &[&str]| {
        let mut command = Command::new(binary);
        command.arg0(name);
        command
            .args(["--comm", "ovs-vswitchd", "--rate", "1000"])
            .args(args);
        StandIn::spawn(command)
    };
    let (folder, binary) = open_folder("vswitchd", standins().join("standin"));
    let parent = start("ovs-vswitchd: monitoring pid 4711 (healthy)", &binary, &[]);
    let beside = start("ovs-vswitchd", &binary, &[]);
    let first = start("ovs-vswitchd", &binary, &["--count", "67"]);
    let mut monitor = Monitor::attach(first.pid, &["--follow"]);
    let newer = path(&folder, "newer");
    fs::copy(standins().join("standin-O0"), &newer).unwrap();
    fs::rename(&newer, &binary).unwrap();
    first.run();
    monitor.await_line("waiting for the next ovs-vswitchd");
    let second = start("ovs-vswitchd", &binary, &["--count", "71"]);
    monitor.await_line(&format!("of process {} ", second.pid));
    second.run();
    monitor.await_line("waiting for the next ovs-vswitchd");
    monitor.signal("TERM");
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.rows().len(), 67 + 71, "{}", output.stderr);
    drop((parent, beside));
}

/// Check that --follow waits for the first daemon too, and says what stands in its way: two that were started since.
fn follow_waits() {
    const SCRIPT: &str = r#"
        start() { "$standin" --comm ovs-vswitchd >fifo & read -r _ pid <fifo; }
        mkfifo fifo errors
        "$monitor" --follow -c 7 2>errors &
        monitor_pid=$!
        exec 3<errors
        read -r line <&3; echo "$line"
        kill -STOP $monitor_pid
        start; first=$pid; start
        kill -CONT $monitor_pid
        read -r line <&3; echo "$line"; read -r line <&3; echo "$line"
        kill $first; wait $first
        wait $monitor_pid; echo "status $?"
        kill $pid
    "#;
    let text = in_pid_namespace(SCRIPT);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "waiting for the next ovs-vswitchd");
    assert_eq!(
        lines[1], "warning: still waiting: several ovs-vswitchd are running, choose one with -p:",
        "{text}"
    );
    assert_eq!(lines.last(), Some(&"status 0"), "{text}");
    let rows = lines.iter().filter(|line| line.contains(" handler1 "));
    assert_eq!(rows.count(), 7, "{text}");
}

/// Check that --follow takes the daemon that `--detach` starts, and not the parent that waits until the daemon is ready,
/// without a word of waiting if it runs already; and that without -p it is the daemon, too.
fn follow_detached() {
    const SCRIPT: &str = r#"
        start() { "$standin" --comm ovs-vswitchd --detach "$@" <go >fifo & parent=$!; read -r _ pid <fifo; }
        mkfifo fifo go errors
        # Opened for both directions, it is not at its end while nobody writes.
        exec 4<>go
        start --wait; beside=$pid
        "$monitor" --duration 1ns 2>&1 >/dev/null | sed -n "s/.*of process $beside (.*/found/p"
        # It ends in any case, so that this fails and does not hang.
        timeout 100 "$monitor" -p $beside --follow -c 7 2>errors >rows &
        monitor_pid=$!
        exec 3<errors
        said() {
            while read -r line <&3; do
                echo "$line" | sed "s/ $beside / beside /; s/ $parent / parent /; s/ $pid / child /"
                case $line in attached*) break;; esac
            done
        }
        said
        start --wait; echo "parent and child: $([ $parent -ne $pid ] && kill -0 $parent && kill -0 $pid && echo two)"
        kill -KILL $beside
        said
        kill -USR1 $pid
        wait $monitor_pid; echo "status $?"
        wait $parent; echo "parent $?"
        grep -c ' handler1 ' rows
        kill $pid
    "#;
    let text = in_pid_namespace(SCRIPT);
    let attached = |which: &str| {
        format!("attached to dpif_recv:recv_upcall of process {which} (2 sites); Ctrl-C ends it")
    };
    let lines: Vec<&str> = text.lines().collect();
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| !line.starts_with("warning: ") && !line.starts_with("  "))
        .collect();
    assert_eq!(
        lines,
        [
            "found",
            &attached("beside"),
            "parent and child: two",
            "process beside has exited",
            &attached("child"),
            "status 0",
            "parent 0",
            "7",
        ],
        "{text}"
    );
}
