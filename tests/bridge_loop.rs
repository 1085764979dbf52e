//! bridge-loop on live uprobes of this kernel: of a stand-in for the main loop that knows what each run and wait took,
//! and of a real ovs-vswitchd, against bridge_loop.bt.
//!
//! These tests need root, and the last one more; what is missing is the reason why a test is listed as ignored.

mod common;
#[path = "common/schema.rs"]
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BRIDGE_LOOP, Monitor, Output, StandIn, is_installed, is_root, trial};
use libtest_mimic::Arguments;
use ovs_tracers::trace::kernel::{has_kernel_btf, kernel_version};
use schema::Schema;
use serde_json::Value;

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
        prime_number,
        every_line,
        linear_buckets,
        threshold,
        lost_lines,
        count,
        begun_before,
        many_threads,
        stacks,
        intervals,
        closed_pipe,
        no_type_information,
        no_such_probe,
        no_way_into_the_kernel
    );
    let tracefs = ("tracepoints of system calls", has_tracepoints());
    macro_rules! kernel_trials {
        ($($name:ident),*) => {
            $(trials.push(trial(stringify!($name), $name, &[root, tracefs]));)*
        };
    }
    let has_registers = kernel_version() >= (5, 15) && has_kernel_btf();
    trials.push(trial(
        "callers",
        callers,
        &[root, ("Linux 5.15 with BTF", has_registers)],
    ));
    kernel_trials!(
        kernel_against_probes,
        interrupted_waits,
        groups_of_threads,
        held_up,
        blocked_stack,
        no_probes
    );
    trials.push(trial(
        "real_main_loop",
        real_main_loop,
        &[
            root,
            ("the Open vSwitch of make lab", ovs().is_some()),
            ("bpftrace", is_installed("bpftrace")),
            ("openvswitch-test", Path::new(SCRIPT).exists()),
        ],
    ));
    libtest_mimic::run(&args, trials).exit_code()
}

/// Spans of the runs and of the waits that the stand-in measured: within the probes, and around them.
fn spans(text: &str) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut spans = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines() {
        if let [kind @ ("run" | "wait"), inner, outer] = line.split(' ').collect::<Vec<_>>()[..] {
            let span = (inner.parse().unwrap(), outer.parse().unwrap());
            spans.entry(kind.to_string()).or_default().push(span);
        }
    }
    spans
}

/// The object whose record is `kind`, the last one.
#[track_caller]
fn object(output: &Output, kind: &str) -> Value {
    objects(output, kind).pop().expect("such an object")
}

#[track_caller]
fn objects(output: &Output, kind: &str) -> Vec<Value> {
    let lines = Schema::of("bridge-loop").stream(&output.stdout);
    assert_eq!(lines[0]["tool"], "bridge-loop");
    let of_kind = |value: &Value| value["record"] == kind;
    lines.into_iter().filter(of_kind).collect()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

/// Checks a histogram against what is known of each time: of those that are certainly shorter than the end of a bucket
/// there are no more, and of those that may be no less, than it has up to there.
#[track_caller]
fn check_histogram(histogram: &Value, spans: &[(u64, u64)]) {
    let mut seen = 0;
    for bucket in histogram.as_array().expect("buckets") {
        let below = |limit: u64| {
            let certain = spans.iter().filter(|span| span.1 < limit).count() as u64;
            let possible = spans.iter().filter(|span| span.0 < limit).count() as u64;
            certain..=possible
        };
        let low = number(&bucket[0]);
        assert!(
            below(low).contains(&seen),
            "{seen} below {bucket}: {:?}",
            below(low)
        );
        seen += number(&bucket[2]);
        if let Some(end) = bucket[1].as_u64() {
            assert!(
                below(end).contains(&seen),
                "{seen} up to {bucket}: {:?}",
                below(end)
            );
        }
    }
    assert_eq!(seen, spans.len() as u64);
}

/// Checks all that is shown of a kind against what is known of it.
#[track_caller]
fn check_figures(figures: &Value, spans: &[(u64, u64)]) {
    let within = |name: &str, of: &dyn Fn(&mut dyn Iterator<Item = u64>) -> u64| {
        let low = of(&mut spans.iter().map(|span| span.0));
        let high = of(&mut spans.iter().map(|span| span.1));
        let value = number(&figures[name]);
        assert!(
            (low..=high).contains(&value),
            "{name}: {value} in {low}..={high}"
        );
    };
    assert_eq!(number(&figures["count"]), spans.len() as u64);
    within("sum_ns", &|times| times.sum());
    within("min_ns", &|times| times.min().unwrap());
    within("max_ns", &|times| times.max().unwrap());
    for (name, share) in [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99)] {
        let at = |times: Vec<u64>| {
            let mut times = times;
            times.sort_unstable();
            times[(share * times.len() as f64).ceil() as usize - 1] as f64
        };
        let low = at(spans.iter().map(|span| span.0).collect());
        let high = at(spans.iter().map(|span| span.1).collect());
        let value = number(&figures[name]) as f64;
        assert!(
            (low * 0.984 - 1.0..=high * 1.016 + 1.0).contains(&value),
            "{name}: {value} in {low}..={high}"
        );
    }
}

/// Checks that the figures of the kernel are those of its lines, none of which was lost, to the nanosecond.
#[track_caller]
fn check_lines(output: &Output) {
    let summary = object(output, "summary");
    for kind in ["run", "wait"] {
        let lines = objects(output, kind).into_iter();
        let counted = lines.filter(|line| line["begun_before"] == false);
        let times: Vec<u64> = counted.map(|line| number(&line["duration_ns"])).collect();
        let figures = &summary[kind];
        assert_eq!(number(&figures["count"]), times.len() as u64);
        assert_eq!(number(&figures["sum_ns"]), times.iter().sum::<u64>());
        assert_eq!(Some(&number(&figures["min_ns"])), times.iter().min());
        assert_eq!(Some(&number(&figures["max_ns"])), times.iter().max());
        let mut seen = 0;
        for bucket in summary[format!("{kind}_histogram_ns")].as_array().unwrap() {
            let (low, end) = (number(&bucket[0]), bucket[1].as_u64().unwrap_or(u64::MAX));
            let within = times.iter().filter(|time| (low..end).contains(time));
            assert_eq!(number(&bucket[2]), within.count() as u64, "{kind} {bucket}");
            seen += number(&bucket[2]);
        }
        assert_eq!(seen, times.len() as u64);
    }
}

/// Check that 10,007 loops at 100,000 a second are 10,007 runs and 10,006 waits, and that nothing said of them is
/// other than what the program measured.
fn prime_number() {
    let target = StandIn::start(
        "standin-loop",
        &[
            "--rate",
            "100000",
            "--run",
            "1500,3000,6000",
            "--count",
            "10007",
            "--dump",
        ],
    );
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &["-q", "--format", "json"]);
    let spans = spans(&target.run_text());
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.figure("runs"), 10007, "{}", output.stderr);
    assert_eq!(output.figure("waits"), 10006, "{}", output.stderr);
    let summary = object(&output, "summary");
    // After the start record.
    assert_eq!(output.stdout.lines().count(), 2);
    for kind in ["run", "wait"] {
        check_figures(&summary[kind], &spans[kind]);
        check_histogram(&summary[format!("{kind}_histogram_ns")], &spans[kind]);
    }
    assert_eq!(number(&summary["begun_before"]), 1);
    let (run, wait) = (
        number(&summary["run"]["sum_ns"]),
        number(&summary["wait"]["sum_ns"]),
    );
    let busy = run as f64 * 100.0 / (run + wait) as f64;
    assert!((summary["busy_percent"].as_f64().unwrap() - busy).abs() < 0.001);
}

/// The lines of runs and of waits: their nanoseconds, and those begun before.
#[track_caller]
fn lines(output: &str) -> BTreeMap<&'static str, Vec<u64>> {
    let mut found = BTreeMap::from([
        ("run", Vec::new()),
        ("wait", Vec::new()),
        ("before", Vec::new()),
    ]);
    for line in output.lines().filter(|line| line.starts_with("- [")) {
        let (head, time) = line.split_once(": ").expect("a time");
        let (time, before) = match time.strip_prefix("at least ") {
            Some(time) => (time.split(' ').next().unwrap(), true),
            None => (time, false),
        };
        let (seconds, fraction) = time.split_once('.').expect("a fraction");
        let seconds = seconds.split(':').map(|part| part.parse::<u64>().unwrap());
        assert_eq!(fraction.len(), 9, "{line}");
        let ns = seconds.fold(0, |sum, part| sum * 60 + part) * 1_000_000_000
            + fraction.parse::<u64>().unwrap();
        let kind = match head.split_once("] ").expect("a thread").1 {
            _ if before => "before",
            "bridge run loop time  " => "run",
            "poll_block() wait time" => "wait",
            other => panic!("{other}"),
        };
        found.get_mut(kind).unwrap().push(ns);
    }
    found
}

/// Check that each run and each wait has its line, in order and with its time, and that the first wait, which had begun
/// before is shown as begun before, and not counted; and that figures and histograms are those of the lines.
fn every_line() {
    let target = StandIn::start(
        "standin-loop",
        &[
            "--run",
            "100000,2000,3000000",
            "--poll",
            "300000,20000",
            "--count",
            "1009",
            "--dump",
        ],
    );
    let pid = target.pid;
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, pid, &[]);
    let json = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--format", "json"]);
    let linear = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--format", "json", "--linear"]);
    let spans = spans(&target.run_text());
    let output = monitor.output();
    check_lines(&json.output());
    check_lines(&linear.output());
    let lines = lines(&output.stdout);
    assert_eq!(lines["before"].len(), 1);
    for kind in ["run", "wait"] {
        assert_eq!(lines[kind].len(), spans[kind].len());
        for (i, (ns, (inner, outer))) in lines[kind].iter().zip(&spans[kind]).enumerate() {
            assert!(
                (inner..=outer).contains(&ns),
                "{kind} {i}: {ns} in {inner}..={outer}"
            );
        }
    }
    let first = format!("- [{pid}@standin-loop] poll_block() wait time: at least 0:00:");
    assert!(
        output.stdout.starts_with(&first),
        "{}",
        &output.stdout[..200]
    );
    assert_eq!(output.figure("lines"), 1009 + 1008 + 1);
    assert_eq!(output.figure("shown"), 1009 + 1008 + 1);
    assert_eq!(output.figure("lost"), 0);
    // 100 us are visible, which is what the default is for.
    let rows: Vec<&str> = output
        .stdout
        .split("@bridge_run_time: \n")
        .nth(1)
        .unwrap()
        .lines()
        .collect();
    assert!(rows[0].starts_with("[2, 4) "), "{rows:?}");
    assert!(
        rows.iter().any(|row| row.starts_with("[64, 128) ")),
        "{rows:?}"
    );
}

/// Check that --linear counts what falls into each of bridge_loop.bt's buckets, the last included.
fn linear_buckets() {
    let target = StandIn::start(
        "standin-loop",
        &[
            "--run",
            "200000,1500000,1003000000,7500000",
            "--poll",
            "2000000,59000000",
            "--count",
            "8",
            "--dump",
        ],
    );
    let pid = target.pid;
    let json = Monitor::attach_tool(BRIDGE_LOOP, pid, &["-q", "--linear", "--format", "json"]);
    let text = Monitor::attach_tool(BRIDGE_LOOP, pid, &["-q", "--linear"]);
    let spans = spans(&target.run_text());
    let (json, text) = (json.output(), text.output());
    let summary = object(&json, "summary");
    for kind in ["run", "wait"] {
        check_histogram(&summary[format!("{kind}_histogram_ns")], &spans[kind]);
    }
    let last = &summary["run_histogram_ns"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(**last, serde_json::json!([1_000_000_000, null, 2]));
    assert!(
        text.stdout.contains("\n[1000000, ...)         2 |"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.contains("\n[999000, 1000000)       0 |"),
        "{}",
        text.stdout
    );
    assert!(text.stdout.contains("\n[30000, 60000) "), "{}", text.stdout);
}

/// Check that --threshold and --only choose lines and nothing else.
fn threshold() {
    let target = StandIn::start(
        "standin-loop",
        &[
            "--run",
            "100000,100000,4000000",
            "--poll",
            "200000,6000000",
            "--count",
            "61",
            "--dump",
        ],
    );
    let pid = target.pid;
    let slow = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--threshold", "3ms"]);
    let runs = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--threshold", "3ms", "--only", "run"]);
    let spans = spans(&target.run_text());
    let (slow, runs) = (slow.output(), runs.output());
    for (output, kinds) in [(&slow, &["run", "wait"][..]), (&runs, &["run"])] {
        assert_eq!(output.figure("runs"), 61);
        assert_eq!(output.figure("waits"), 60);
        let found = lines(&output.stdout);
        for kind in ["run", "wait"] {
            let times = &found[kind];
            let certain = spans[kind]
                .iter()
                .filter(|span| span.0 >= 3_000_000)
                .count();
            let possible = spans[kind]
                .iter()
                .filter(|span| span.1 >= 3_000_000)
                .count();
            if kinds.contains(&kind) {
                assert!(
                    (certain..=possible).contains(&times.len()),
                    "{kind}: {times:?}"
                );
                assert!(times.iter().all(|time| *time >= 3_000_000));
            } else {
                assert_eq!(times.len(), 0);
            }
        }
        let shown = found.values().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(output.figure("shown"), shown);
        assert_eq!(output.figure("lines"), shown);
    }
}

/// Check that lines that the ring does not hold are counted as lost, and that the figures miss nothing.
fn lost_lines() {
    let target = StandIn::start(
        "standin-loop",
        &["--run", "0", "--poll", "0", "--count", "50021", "--dump"],
    );
    let args = ["--buffer-page-count", "1", "--format", "json"];
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &args);
    let spans = spans(&target.run_text());
    let output = monitor.output();
    let lost = output.figure("lost");
    assert!(lost > 0, "the ring held 100,042 lines");
    let shown = (objects(&output, "run").len() + objects(&output, "wait").len()) as u64;
    assert_eq!(shown + lost, 50021 + 50020 + 1);
    assert_eq!(output.figure("shown"), shown);
    assert_eq!(output.figure("lines"), shown + lost);
    assert!(output.stderr.contains("warning: "), "{}", output.stderr);
    assert!(
        output.stderr.contains("--buffer-page-count"),
        "{}",
        output.stderr
    );
    let summary = object(&output, "summary");
    for kind in ["run", "wait"] {
        check_figures(&summary[kind], &spans[kind]);
        check_histogram(&summary[format!("{kind}_histogram_ns")], &spans[kind]);
    }
}

/// Check that --count ends it after so many runs, all of them shown, and --duration in time.
fn count() {
    let mut target = StandIn::start("standin-loop", &["--run", "1000", "--poll", "0"]);
    target.go();
    let output = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &["-c", "10007"]).output();
    assert!(output.status.success());
    assert_eq!(output.figure("runs"), 10007);
    let shown = lines(&output.stdout);
    assert_eq!(
        shown["run"].len() as u64
            + shown["wait"].len() as u64
            + shown["before"].len() as u64
            + output.figure("lost"),
        output.figure("lines")
    );
    assert!(output.figure("waits").abs_diff(10007) <= 1);
    let start = Instant::now();
    let args = ["-q", "--duration", "0.5"];
    let output = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &args).output();
    assert!(output.status.success());
    assert!(start.elapsed() >= Duration::from_millis(500));
}

/// Check that a run in which bridge-loop attached is shown as longer than was seen, and counted nowhere.
fn begun_before() {
    let mut target = StandIn::start("standin-loop", &["--run", "4000000000", "--count", "1"]);
    target.go();
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &[]);
    let output = monitor.output();
    assert_eq!(output.figure("runs"), 0);
    assert_eq!(output.figure("begun"), 1, "{}", output.stderr);
    let lines = lines(&output.stdout);
    assert_eq!(lines["run"].len() + lines["wait"].len(), 0);
    assert_eq!(lines["before"].len(), 1);
    let line = output.stdout.lines().next().unwrap();
    assert!(
        line.contains("bridge run loop time  : at least 0:00:0"),
        "{line}"
    );
    assert!((1..4_000_000_000).contains(&lines["before"][0]), "{line}");
}

/// Check that threads do not get into each other's way, and that those beyond the 1024 that there is room for are
/// counted as what is missing.
fn many_threads() {
    let args = [
        "--threads",
        "8",
        "--run",
        "0",
        "--poll",
        "0",
        "--count",
        "5003",
    ];
    let target = StandIn::start("standin-loop", &args);
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &["-q"]);
    assert_eq!(target.run(), 8 * 5003);
    let output = monitor.output();
    assert_eq!(output.figure("runs"), 8 * 5003);
    assert_eq!(output.figure("waits"), 8 * 5002);
    assert_eq!(output.figure("begun"), 8);

    let args = [
        "--threads",
        "1100",
        "--run",
        "0",
        "--poll",
        "50000000",
        "--count",
        "7",
    ];
    let target = StandIn::start("standin-loop", &args);
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &["-q"]);
    assert_eq!(target.run(), 1100 * 7);
    let output = monitor.output();
    assert_eq!(output.figure("runs"), 1024 * 7);
    assert_eq!(output.figure("begun"), 1024);
    assert_eq!(output.figure("probes"), 76 * 7 * 2, "{}", output.stderr);
}

/// Check that --stack shows where a run was when it passed the threshold, and says of one that slept that it was not
/// seen there.
fn stacks() {
    let options = ["--threshold", "5ms", "--only", "run", "--stack", "-c", "5"];
    let run = |args: &[&str]| {
        let mut target = StandIn::start("standin-loop", args);
        let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &options);
        target.go();
        monitor.output().stdout
    };
    let text = run(&["--run", "20000000", "--poll", "1000000"]);
    let past = text.matches("    past the threshold it was in\n").count();
    // One that had to leave the CPU to others was not seen there for 5 ms.
    let not_seen = text.matches("    not seen past the threshold; ").count();
    assert_eq!(past + not_seen, 5, "{text}");
    assert!(past >= 1, "{text}");
    assert!(text.matches("      busy_run+0x").count() >= 1, "{text}");
    assert_eq!(text.matches("      main_loop+0x").count(), 5, "{text}");
    assert!(text.contains(" (standin-loop)\n"), "{text}");

    let text = run(&["--asleep", "--run", "20000000", "--poll", "1000000"]);
    let not_seen = text.matches("    not seen past the threshold; ").count();
    assert_eq!(not_seen, 5, "{text}");
    assert_eq!(text.matches("      main_loop+0x").count(), 5, "{text}");
}

/// The runs of a stand-in whose stacks were taken past the threshold, as JSON with the names of the frames.
#[track_caller]
fn past_threshold(standin: &str, args: &[&str]) -> Vec<(Value, Vec<String>)> {
    let lengths = ["--run", "20000000", "--poll", "1000000"];
    let mut target = StandIn::start(standin, &[&lengths[..], args].concat());
    let options = "--threshold 5ms --only run --stack -c 9 --format json";
    let options: Vec<&str> = options.split(' ').collect();
    let monitor = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &options);
    target.go();
    let runs = objects(&monitor.output(), "run").into_iter();
    let named = |run: Value| {
        let frames = run["stack"].as_array().expect("a stack").iter();
        let name = |frame: &Value| {
            frame
                .as_str()
                .unwrap()
                .split('+')
                .next()
                .unwrap()
                .to_string()
        };
        (frames.map(name).collect(), run)
    };
    let past = runs.filter(|run| run["stack_at"] == "threshold").map(named);
    let past: Vec<_> = past.map(|(frames, run)| (run, frames)).collect();
    // One that had to leave the CPU to others was not seen there for 5 ms.
    assert!(!past.is_empty());
    past
}

/// Where `names` begin in a stack, one directly after the other.
fn position(frames: &[String], names: &[&str]) -> Option<usize> {
    frames
        .windows(names.len())
        .position(|window| window == names)
}

/// Check that all callers are found in a program without frame pointers, as -O2 makes it, and in one with them; that
/// where the stack was not copied to its end, the callers up to there are found and it is said; and that without
/// .eh_frame callers are said to be uncertain.
fn callers() {
    let chain = [
        "busy_run",
        "deep_3",
        "deep_2",
        "deep_1",
        "main_loop",
        "main",
    ];
    for standin in ["standin-loop-nofp", "standin-loop"] {
        for (run, frames) in past_threshold(standin, &["--deep"]) {
            // The clock may come before.
            assert!(position(&frames, &chain).is_some(), "{run}");
            assert_eq!(run["stack_end"], "outermost", "{run}");
            assert_eq!(run["stack_certain"], frames.len(), "{run}");
        }
    }
    for (run, frames) in past_threshold("standin-loop-nofp", &["--wide"]) {
        let chain = ["busy_run", "deep_3", "deep_2", "deep_1", "deep_0"];
        let at = position(&frames, &chain).unwrap_or_else(|| panic!("{run}"));
        assert_eq!(frames.len(), at + chain.len(), "{run}");
        assert_eq!(run["stack_end"], "copy", "{run}");
        assert_eq!(run["stack_certain"], frames.len(), "{run}");
    }
    let found = past_threshold("standin-loop-nocfi", &["--deep"]);
    for (run, frames) in &found {
        assert!(
            run["stack_certain"].as_u64() < Some(frames.len() as u64),
            "{run}"
        );
    }
    // In the clock, which has no frame pointers, they lead past its caller.
    let whole = found
        .iter()
        .filter(|(_, frames)| position(frames, &chain).is_some());
    assert_ne!(whole.count(), 0, "{found:?}");
}

/// Check that each interval has its own figures, whose sum is not more than all.
fn intervals() {
    let mut target = StandIn::start("standin-loop", &["--rate", "2000", "--run", "50000"]);
    target.go();
    let args = [
        "-q",
        "--interval",
        "0.4",
        "--duration",
        "2",
        "--format",
        "json",
    ];
    let output = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &args).output();
    let intervals = objects(&output, "interval");
    // On a busy machine attaching takes a part of --duration.
    let seconds = object(&output, "summary")["seconds"].as_f64().unwrap();
    let expected = seconds / 0.4;
    let difference = (intervals.len() as f64 - expected).abs();
    assert!(difference <= 1.5, "not {expected}: {}", output.stdout);
    let total = number(&object(&output, "summary")["run"]["count"]);
    let sum: u64 = intervals
        .iter()
        .map(|value| number(&value["run"]["count"]))
        .sum();
    assert!(sum > 0 && sum <= total, "{sum} of {total}");
    for interval in &intervals {
        let (count, seconds) = (
            number(&interval["run"]["count"]),
            interval["seconds"].as_f64().unwrap(),
        );
        let rate = interval["loops_per_second"].as_f64().unwrap();
        assert!((rate - count as f64 / seconds).abs() < 0.01, "{interval}");
        assert!(number(&interval["run"]["p99_ns"]) <= number(&interval["run"]["max_ns"]));
        assert!(number(&interval["run"]["min_ns"]) >= 48_000, "{interval}");
        assert!(interval["time_ns"].is_u64() && interval["wall_time"].is_string());
    }
    let args = ["-q", "--interval", "0.3", "--duration", "1"];
    let output = Monitor::attach_tool(BRIDGE_LOOP, target.pid, &args).output();
    let line = output.stdout.lines().next().unwrap();
    let time = line.split(' ').nth(1).unwrap();
    assert!(time.parse::<f64>().is_ok() && time.contains('.'), "{line}");
    for part in [
        "= ",
        " loops/s, ",
        " % busy; run p50 ",
        "; wait p50 ",
        ", p99 ",
        ", max ",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

/// Check that a reader that goes away ends it, and is no error.
fn closed_pipe() {
    let mut target = StandIn::start("standin-loop", &["--run", "1000", "--poll", "100000"]);
    target.go();
    let script = format!(
        "{BRIDGE_LOOP} -p {} | head -n 3; exit ${{PIPESTATUS[0]}}",
        target.pid
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let output = Monitor::spawn(command).output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stdout.lines().count(), 3);
}

/// Check that it counts on a kernel that has no type information.
fn no_type_information() {
    let mut target = StandIn::start(
        "standin-loop",
        &["--count", "53", "--run", "1000", "--poll", "1000"],
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@""#);
    command.args(["sh", BRIDGE_LOOP, "-p", &target.pid.to_string()]);
    let mut tool = Monitor::spawn(command);
    tool.await_line("attached");
    target.go();
    let output = tool.output();
    assert!(output.status.success(), "{}", output.stderr);
    let line = "@standin-loop] bridge run loop time";
    assert!(output.stdout.contains(line), "{}", output.stdout);
}

/// Check that the error for a program without these probes says so.
fn no_such_probe() {
    let target = StandIn::start("standin", &[]);
    let mut command = Command::new(BRIDGE_LOOP);
    command.args(["-p", &target.pid.to_string(), "--source", "usdt"]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("no probe main:poll_block"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.lines().count() <= 2, "{}", output.stderr);
}

/// Runs a command where tracefs is mounted, for itself.
fn with_tracefs(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"{ [ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; } && exec "$@""#);
    command.args(["sh", program]);
    command
}

/// Whether this kernel has the tracepoints of system calls.
fn has_tracepoints() -> bool {
    let mut command = with_tracefs("test");
    command.args([
        "-e",
        "/sys/kernel/tracing/events/syscalls/sys_enter_restart_syscall",
    ]);
    command.stderr(Stdio::null());
    is_root() && command.status().is_ok_and(|status| status.success())
}

/// bridge-loop with the kernel as its source, attached.
#[track_caller]
fn by_kernel(pid: u32, args: &[&str]) -> Monitor {
    let mut command = with_tracefs(BRIDGE_LOOP);
    command
        .args(["-p", &pid.to_string(), "--source", "kernel"])
        .args(args);
    let mut tool = Monitor::spawn(command);
    let line = tool.await_line("attached");
    assert!(line.contains("attached to calls of poll()"), "{line}");
    tool
}

/// Check that runs and waits by poll() are those by the probes of the same loop: as many, at the same times but for the
/// code between a probe and the system call, although the loop looks at a latch by a poll() of its own.
fn kernel_against_probes() {
    let target = StandIn::start(
        "standin-loop",
        &[
            "--poll-call",
            "--run",
            "100000,1500000,3000000",
            "--poll",
            "0,2000000,5000000",
            "--count",
            "307",
        ],
    );
    let pid = target.pid;
    let kernel = by_kernel(pid, &["--format", "json"]);
    let probes = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--format", "json"]);
    assert_eq!(target.run(), 307);
    let (kernel, probes) = (kernel.output(), probes.output());
    check_lines(&kernel);
    for kind in ["run", "wait"] {
        let [mine, theirs] = [&kernel, &probes].map(|output| {
            let lines = objects(output, kind).into_iter();
            let counted = lines.filter(|line| line["begun_before"] == false);
            Vec::from_iter(counted.map(|line| number(&line["duration_ns"])))
        });
        // The last run of the probes ends with the loop; so does the poll() behind it.
        assert_eq!(theirs.len(), if kind == "run" { 307 } else { 306 });
        assert_eq!(mine.len(), if kind == "run" { 306 } else { 307 }, "{kind}");
        // The first poll() comes after the first run, so that this has begun before it.
        let skip = usize::from(kind == "run");
        let mut apart: Vec<u64> = theirs[skip..]
            .iter()
            .zip(&mine)
            .map(|(theirs, mine)| theirs.abs_diff(*mine))
            .collect();
        apart.sort_unstable();
        println!(
            "{kind}: ns apart {:?} to {:?}",
            apart[0],
            apart[apart.len() - 1]
        );
        assert!(apart[apart.len() / 2] < 50_000, "{kind}: {apart:?}");
        assert!(apart[apart.len() * 9 / 10] < 1_000_000, "{kind}: {apart:?}");
    }
}

/// Check that a signal ends no wait, whether the daemon has a handler for it or the kernel goes on by itself.
fn interrupted_waits() {
    let args = ["--poll-call", "--poll", "300000000", "--count", "5"];
    let mut target = StandIn::start("standin-loop", &args);
    let pid = target.pid;
    let kernel = by_kernel(pid, &["--format", "json"]);
    target.go();
    // It waits for 1.5 s altogether.
    for signal in ["USR1", "STOP", "CONT"].into_iter().cycle().take(30) {
        common::run("kill", &["-s", signal, &pid.to_string()]);
        sleep(Duration::from_millis(30));
    }
    assert_eq!(target.fired(), 5);
    let output = kernel.output();
    let waits = objects(&output, "wait");
    assert_eq!(waits.len(), 5, "{}", output.stdout);
    for wait in &waits {
        assert!(number(&wait["duration_ns"]) >= 300_000_000, "{wait}");
    }
    assert_eq!(objects(&output, "run").len(), 4 + 1, "{}", output.stdout);
}

/// Check that of several threads those are timed that were asked for, each group by itself.
fn groups_of_threads() {
    let start = || {
        StandIn::start(
            "standin-loop",
            &[
                "--poll-call",
                "--threads",
                "4",
                "--names",
                "handler",
                "--run",
                "100000",
                "--poll",
                "1000000",
                "--count",
                "53",
            ],
        )
    };
    for (threads, expected) in [
        ("main", &[("main", 1)][..]),
        ("handler", &[("handler", 3)]),
        ("main,handler", &[("main", 1), ("handler", 3)]),
        (
            "all",
            &[
                ("main", 1),
                ("handler", 3),
                ("revalidator", 0),
                ("other", 0),
            ],
        ),
    ] {
        let target = start();
        let args = ["--threads", threads, "--format", "json"];
        let kernel = by_kernel(target.pid, &args);
        assert_eq!(target.run(), 4 * 53);
        let output = kernel.output();
        let summaries = objects(&output, "summary");
        let counts: Vec<_> = summaries
            .iter()
            .map(|summary| {
                let waits = number(&summary["wait"]["count"]);
                assert_eq!(number(&summary["begun_before"]) * 53, waits, "{summary}");
                (summary["threads"].as_str().unwrap(), waits / 53)
            })
            .collect();
        assert_eq!(counts, expected);
        for line in objects(&output, "run") {
            let named = line["comm"].as_str().unwrap().starts_with("handler");
            assert_eq!(named, line["threads"] == "handler", "{line}");
        }
    }
    let target = start();
    let output = by_kernel(target.pid, &["-q", "--threads", "main,handler"]);
    target.run();
    let text = output.output().stdout;
    for title in ["Times of main thread in", "Times of handlers in"] {
        assert!(text.contains(title), "{text}");
    }
    let target = start();
    let mut command = Command::new(BRIDGE_LOOP);
    command.args([
        "-p",
        &target.pid.to_string(),
        "--threads",
        "all",
        "--source",
        "usdt",
    ]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "error: only the main thread has these probes\n  other --threads take --source kernel\n"
    );
}

/// Check that runs which something holds up are named for it: blocked in a system call, waiting for a CPU that another
/// thread has, or computing.
fn held_up() {
    let runs = |hold: &[&str], threads: &str| {
        let mut args = vec![
            "--poll-call",
            "--run",
            "60000000",
            "--poll",
            "1000000",
            "--count",
            "7",
        ];
        args.extend(hold);
        let target = StandIn::start("standin-loop", &args);
        let args = [
            "--threads",
            threads,
            "--threshold",
            "40ms",
            "--only",
            "run",
            "--format",
            "json",
        ];
        let kernel = by_kernel(target.pid, &args);
        target.run();
        let output = kernel.output();
        let runs: Vec<Value> = objects(&output, "run")
            .into_iter()
            .filter(|run| run["begun_before"] == false)
            .collect();
        assert_eq!(runs.len(), 6, "{}", output.stdout);
        for run in &runs {
            let parts = ["cpu_ns", "runnable_ns", "blocked_ns"].map(|part| number(&run[part]));
            assert_eq!(
                parts.iter().sum::<u64>(),
                number(&run["duration_ns"]),
                "{run}"
            );
            if let (Some(user), Some(system)) =
                (run["cpu_user_ns"].as_u64(), run["cpu_system_ns"].as_u64())
            {
                assert_eq!(user + system, parts[0], "{run}");
            }
        }
        runs
    };
    for (hold, syscall, functions) in [
        (
            "flock",
            "flock",
            &["flock_lock_inode_wait", "locks_lock_inode_wait"][..],
        ),
        // anon_pipe_read() since Linux 6.16.
        ("pipe", "read", &["pipe_read", "anon_pipe_read"]),
        // futex_wait_queue_me() until Linux 5.16, futex_do_wait() since 6.14.
        (
            "futex",
            "futex",
            &["futex_wait_queue", "futex_wait_queue_me", "futex_do_wait"],
        ),
    ] {
        for run in runs(&["--hold", hold], "main") {
            assert!(number(&run["longest_block_ns"]) > 40_000_000, "{run}");
            assert!(
                number(&run["blocked_ns"]) >= number(&run["longest_block_ns"]),
                "{run}"
            );
            assert_eq!(run["syscall"], syscall, "{run}");
            let function = run["blocked_in"].as_str().expect("a name");
            assert!(functions.contains(&function), "{run}");
        }
    }
    let hogged = runs(
        &["--hold", "hog", "--threads", "2", "--names", "handler"],
        "handler",
    );
    // Where other programs keep the CPU busy, they may hold up the hog and not the thread.
    let was_held = |run: &Value| number(&run["runnable_ns"]) > 40_000_000;
    assert!(hogged.iter().any(was_held), "{hogged:?}");
    for run in hogged {
        assert_eq!(run["comm"], "handler1");
        assert!(number(&run["blocked_ns"]) < 20_000_000, "{run}");
    }
    for run in runs(&[], "main") {
        assert!(number(&run["cpu_ns"]) > 1_000_000, "{run}");
        assert!(number(&run["blocked_ns"]) < 20_000_000, "{run}");
    }
}

/// Check that the stack of a run which was blocked is that of the time when it was, in the kernel and in the daemon.
fn blocked_stack() {
    let run = |more: &[&str]| {
        let args = ["--poll-call", "--hold", "pipe", "--run", "60000000"];
        let options = ["--threshold", "40ms", "--only", "run", "--stack", "-c", "4"];
        let mut target = StandIn::start("standin-loop", &args);
        let kernel = by_kernel(target.pid, &[&options[..], more].concat());
        target.go();
        kernel.output()
    };
    let text = run(&[]).stdout;
    for line in [
        "    when it was blocked for the longest time it was in\n",
        "pipe_read+0x",
        "      read+0x",
        "      main_loop+0x",
        "pipe_read() (read)\n",
    ] {
        assert_eq!(text.matches(line).count(), 4, "{line}: {text}");
    }
    let runs = objects(&run(&["--format", "json"]), "run");
    let blocked = runs.iter().filter(|run| run["stack_at"] == "block");
    assert_eq!(blocked.count(), 4, "{runs:?}");
    let whole = runs.iter().filter(|run| run["stack_end"] == "outermost");
    assert_eq!(whole.count(), 4, "{runs:?}");
}

/// Check that a daemon without probes is timed from the kernel, and that this is said.
fn no_probes() {
    // It has probes, but not these.
    let target = StandIn::start("standin", &[]);
    let mut command = with_tracefs(BRIDGE_LOOP);
    command.args(["-p", &target.pid.to_string(), "--duration", "0.1"]);
    let output = Monitor::spawn(command).output();
    assert!(output.status.success(), "{}", output.stderr);
    let why = format!("(process {} has no probe main:poll_block", target.pid);
    assert!(output.stderr.contains(&why), "{}", output.stderr);
    let nothing = "no thread that was asked for called poll()";
    assert!(output.stderr.contains(nothing), "{}", output.stderr);
}

/// Check that the error says what each way lacks if there is none.
fn no_way_into_the_kernel() {
    let target = StandIn::start("standin-loop", &[]);
    let mut command = Command::new(BRIDGE_LOOP);
    command.args(["-p", &target.pid.to_string(), "--source", "kernel"]);
    command.args(["--kernel-side", "none"]);
    let output = Monitor::spawn(command).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "error: calls of poll() cannot be seen: another way was asked for\n  usdt-probes --check says more\n"
    );
}

const SCRIPT: &str = "/usr/share/openvswitch/scripts/usdt/bridge_loop.bt";

/// A tree of Open vSwitch built with probes: OVS_BUILD, or the one that `make lab` builds.
fn ovs() -> Option<PathBuf> {
    let mut trees: Vec<PathBuf> = std::env::var_os("OVS_BUILD")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let lab = std::env::var_os("LAB_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab"),
        PathBuf::from,
    );
    let built = fs::read_dir(lab).into_iter().flatten().flatten();
    trees.extend(built.map(|entry| entry.path()));
    trees
        .into_iter()
        .find(|tree| tree.join("vswitchd/ovs-vswitchd").is_file())
}

/// Processes that are ended with the test.
struct Ended(Vec<Child>);

impl Drop for Ended {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// How many descriptors of perf events a process has.
fn perf_events(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter(|link| link.to_string_lossy().contains("perf_event"))
        .count()
}

/// Check that bridge-loop and bridge_loop.bt see the same runs and waits of a real ovs-vswitchd with a bridge, in ten
/// seconds: as many, and sums within 3 %. The daemon is stopped while either attaches or ends.
fn real_main_loop() {
    const WAIT: Duration = Duration::from_secs(60);
    let tree = ovs().expect("it was found before");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let socket = format!("unix:{}", path("db.sock").display());
    let command = |program: &str| {
        let mut command = Command::new(tree.join(program));
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(name, folder.path());
        }
        command.env("OVS_PKGDATADIR", tree.join("vswitchd"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let schema = tree.join("vswitchd/vswitch.ovsschema");
    let status = command("ovsdb/ovsdb-tool")
        .arg("create")
        .arg(path("conf.db"))
        .arg(schema)
        .status();
    assert!(status.unwrap().success());
    let mut server = command("ovsdb/ovsdb-server");
    server
        .arg(path("conf.db"))
        .arg(format!("--remote=punix:{}", path("db.sock").display()));
    let mut processes = Ended(vec![server.spawn().unwrap()]);
    let vsctl = |args: &[&str]| {
        let mut vsctl = command("utilities/ovs-vsctl");
        vsctl
            .args([&format!("--db={socket}"), "--timeout=60"])
            .args(args);
        assert!(vsctl.status().unwrap().success(), "ovs-vsctl {args:?}");
    };
    let deadline = Instant::now() + WAIT;
    while !path("db.sock").exists() {
        assert!(Instant::now() < deadline, "ovsdb-server does not start");
        sleep(Duration::from_millis(50));
    }
    vsctl(&["--no-wait", "init"]);
    let mut daemon = command("vswitchd/ovs-vswitchd");
    daemon.args(["--enable-dummy=override", "--disable-system", &socket]);
    processes.0.push(daemon.spawn().unwrap());
    let pid = processes.0[1].id();
    vsctl(&[
        "add-br",
        "br0",
        "--",
        "set",
        "bridge",
        "br0",
        "datapath_type=dummy",
    ]);

    signal(pid, "STOP");
    let mut bpftrace = Command::new("bpftrace");
    bpftrace.args(["-p", &pid.to_string(), SCRIPT]);
    let upstream = Monitor::spawn(bpftrace);
    // It says nothing when it has attached: that is when it opens no more perf events.
    let deadline = Instant::now() + WAIT;
    let mut last = (0, Instant::now());
    while last.0 == 0 || last.1.elapsed() < Duration::from_secs(3) {
        assert!(Instant::now() < deadline, "bpftrace does not attach");
        sleep(Duration::from_millis(50));
        let now = perf_events(upstream.id());
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    let ours = Monitor::attach_tool(BRIDGE_LOOP, pid, &["--linear"]);
    signal(pid, "CONT");
    // Some work, besides what the daemon does by itself.
    let end = Instant::now() + Duration::from_secs(10);
    let mut port = 0;
    while Instant::now() < end {
        vsctl(&[
            "--no-wait",
            "add-port",
            "br0",
            &format!("p{port}"),
            "--",
            "set",
            "interface",
            &format!("p{port}"),
            "type=dummy",
        ]);
        port += 1;
        sleep(Duration::from_millis(500));
    }
    signal(pid, "STOP");
    ours.signal("INT");
    upstream.signal("INT");
    let (ours, upstream) = (ours.output(), upstream.output());
    drop(processes);

    let (mine, theirs) = (lines(&ours.stdout), lines(&upstream.stdout));
    for kind in ["run", "wait"] {
        let sum = |times: &[u64]| times.iter().sum::<u64>() as f64;
        let (mine, theirs) = (&mine[kind], &theirs[kind]);
        println!(
            "{kind}: bridge-loop {} in {} ns, bridge_loop.bt {} in {} ns",
            mine.len(),
            sum(mine),
            theirs.len(),
            sum(theirs)
        );
        assert!(mine.len() > 20, "{}", ours.stdout);
        assert_eq!(
            mine.len(),
            theirs.len(),
            "{}\n{}",
            ours.stdout,
            upstream.stdout
        );
        assert!((sum(mine) / sum(theirs) - 1.0).abs() < 0.03);
    }
    assert_eq!(ours.figure("runs"), mine["run"].len() as u64);
    assert_eq!(ours.figure("waits"), mine["wait"].len() as u64);
    // A run at the edge of a bucket may be in the next one for the other tool: look at the form only.
    for name in ["@bridge_run_time: ", "@poll_block_wait_time: "] {
        let form = |text: &str| {
            let rows = text
                .split(name)
                .nth(1)
                .expect("a histogram")
                .lines()
                .skip(1);
            let rows = rows.take_while(|row| row.starts_with('['));
            let first = rows.clone().next().expect("a row").to_string();
            let widths: Vec<_> = rows.map(|row| (row.len(), row.find('|'))).collect();
            (
                first.split(')').next().unwrap_or_default().to_string(),
                widths[0],
            )
        };
        assert_eq!(form(&ours.stdout), form(&upstream.stdout));
    }
}
