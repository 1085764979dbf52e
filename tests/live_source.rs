//! Which source upcall-monitor takes its upcalls from, with which privileges, and which processes are traced then.
//!
//! These tests need root. Without it each is listed as ignored: this is why they have a harness of their own.

mod common;
#[path = "common/schema.rs"]
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitCode};

use common::{
    Monitor, Output, StandIn, UPCALL_MONITOR, in_pid_namespace, is_installed, is_root, open_folder,
    standins, trial,
};
use libtest_mimic::Arguments;
use ovs_tracers::ovs::ports;
use ovs_tracers::trace::kernel::{has_kernel_btf, pid_namespace};
use schema::Schema;
use serde_json::Value;

/// The stand-in's messages.
const NETLINK: &[&str] = &["--netlink", "2:27"];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: --follow looks for processes called ovs-vswitchd.
    args.test_threads.get_or_insert(1);
    let needs = [("root", is_root()), ("BTF", has_kernel_btf())];
    let datapath = ports::has_kernel_datapath().unwrap_or(false);
    let no_datapath = ("no openvswitch module", !datapath);
    let first = ("the first pid namespace", pid_namespace().is_none());
    let mut trials = Vec::new();
    macro_rules! trial {
        ($name:ident $(, $need:expr)*) => {
            trials.push(trial(stringify!($name), $name, &[needs[0], needs[1] $(, $need)*]));
        };
    }
    trial!(auto);
    trial!(one_without_probes);
    trial!(usdt_is_asked_for);
    trial!(code_moved_away);
    trial!(no_datapath_module, no_datapath);
    trial!(no_type_information, no_datapath);
    trial!(capabilities, ("setpriv", is_installed("setpriv")));
    trial!(several_daemons);
    trial!(follow);
    trial!(daemon_in_pid_namespace, first);
    trial!(tool_in_pid_namespace);
    trial!(nested_pid_namespaces);
    libtest_mimic::run(&args, trials).exit_code()
}

#[track_caller]
fn lines(output: &Output) -> Vec<Value> {
    Schema::of("upcall-monitor").lines(&output.stdout)
}

/// The upcalls of --format json by their numbers.
#[track_caller]
fn events(output: &Output) -> BTreeMap<u64, Value> {
    let lines = lines(output).into_iter();
    let number = |event: &Value| {
        event["key"]["fields"]["skb_mark"]
            .as_u64()
            .expect("a number")
    };
    let events = lines.filter(|line| line["record"] == "event");
    events.map(|event| (number(&event), event)).collect()
}

/// Runs the tool, which must fail, and returns what it said.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let output = command.output().expect("the tool starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn tool(pid: u32, args: &[&str]) -> Command {
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &pid.to_string()]).args(args);
    command
}

/// Why a stand-in has no probes.
fn without_probes(pid: u32) -> String {
    let path = standins().join("standin-stock");
    format!(
        "process {pid} ({path:?}) was built without probes, as Debian's and Ubuntu's packages are"
    )
}

/// Check that a daemon with probes is traced by them, as with --source usdt, and one without by the kernel, and that
/// this is said, with the reason.
fn auto() {
    let args = ["--rate", "5000", "--threads", "2", "--count", "211"];
    let target = StandIn::start("standin", &args);
    let start = |args: &[&str]| {
        let mut monitor = Monitor::spawn(tool(
            target.pid,
            &[args, &["--format", "json", "-r", "ok"]].concat(),
        ));
        let line = monitor.await_line("attached");
        (monitor, line)
    };
    let (auto, line) = start(&[]);
    let (usdt, same) = start(&["--source", "usdt"]);
    assert_eq!(line, same);
    assert_eq!(
        line,
        format!(
            "attached to dpif_recv:recv_upcall of process {} (2 sites); Ctrl-C ends it",
            target.pid
        )
    );
    target.run();
    let (auto, usdt) = (auto.output(), usdt.output());
    assert_eq!(lines(&auto)[0], lines(&usdt)[0]);
    assert_eq!(lines(&auto)[0]["source"], "usdt");
    let (auto, usdt) = (events(&auto), events(&usdt));
    assert!(auto.keys().copied().eq(0..211));
    assert!(usdt.keys().eq(auto.keys()));
    let fields = |event: &Value| {
        event
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for (number, mut event) in auto {
        let mut same = usdt[&number].clone();
        assert_eq!(fields(&event), fields(&same));
        assert!(event.get("dp_ifindex").is_none());
        for field in ["time_ns", "wall_time", "cpu"] {
            event.as_object_mut().unwrap().remove(field);
            same.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(event, same);
    }

    let target = StandIn::start("standin-stock", &[&["--netlink"], &args[..]].concat());
    let pid = target.pid;
    let mut monitor = Monitor::spawn(tool(
        pid,
        &[NETLINK, &["--format", "json", "-r", "ok"]].concat(),
    ));
    assert_eq!(
        monitor.await_line("attached"),
        format!(
            "attached to received upcalls of process {pid}, by the kernel's own functions ({}); Ctrl-C ends it",
            without_probes(pid)
        )
    );
    target.run();
    let output = monitor.output();
    assert_eq!(lines(&output)[0]["source"], "kernel");
    assert!(events(&output).keys().copied().eq(0..211));
}

/// Check that the kernel is the source of all daemons if one of them has no probes.
fn one_without_probes() {
    let args = ["--netlink", "--rate", "5000", "--count", "103"];
    let probes = StandIn::start("standin", &args);
    let stock = StandIn::start("standin-stock", &args);
    let other = stock.pid.to_string();
    let both = [NETLINK, &["-p", &other]].concat();
    let mut monitor = Monitor::spawn(tool(probes.pid, &both));
    let line = monitor.await_line("attached");
    assert!(line.contains("by the kernel's own functions"), "{line}");
    assert!(line.contains(&without_probes(stock.pid)), "{line}");
    probes.run();
    stock.run();
    assert_eq!(monitor.output().figure("shown"), 206);
}

/// Check that --source usdt does not take the kernel instead, and that the error is the one that there was before there
/// was a choice.
fn usdt_is_asked_for() {
    let target = StandIn::start("standin-stock", &["--netlink"]);
    let pid = target.pid;
    let args = [NETLINK, &["--source", "usdt"]].concat();
    assert_eq!(
        refused(&mut tool(pid, &args)),
        format!(
            "error: {}\n  rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check \
             says more\n",
            without_probes(pid)
        )
    );
    // Probes that are there and cannot be used are no reason to take the kernel.
    let target = StandIn::start("standin-badargs", &["--netlink"]);
    let error = refused(&mut tool(target.pid, NETLINK));
    assert!(error.contains("other arguments"), "{error}");
}

/// Check that a kernel without the module openvswitch is named as what stands in the way, beside the probes if those were
/// looked for.
fn no_datapath_module() {
    const MODULE: &str = "the kernel's module openvswitch is not loaded";
    let target = StandIn::start("standin-stock", &["--netlink"]);
    let pid = target.pid;
    assert_eq!(
        refused(&mut tool(pid, &["--source", "kernel"])),
        format!(
            "error: received upcalls cannot be seen: {MODULE}\n  usdt-probes --check says more\n"
        )
    );
    assert_eq!(
        refused(&mut tool(pid, &[])),
        format!(
            "error: {}, and the kernel's own functions cannot be used instead: {MODULE}\n  \
             rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check says more\n",
            without_probes(pid)
        )
    );
}

/// Check that without type information of the kernel only the probes can be the source, and that errors say so.
fn no_type_information() {
    const TYPES: &str = "this kernel has no type information (CONFIG_DEBUG_INFO_BTF)";
    let without = |pid: u32, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            r#"mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@""#,
        ]);
        command.args(["sh", UPCALL_MONITOR, "-p", &pid.to_string(), "-r", "ok"]);
        command.args(NETLINK).args(args);
        command
    };
    let stock = StandIn::start("standin-stock", &["--netlink"]);
    let pid = stock.pid;
    assert_eq!(
        refused(&mut without(pid, &["--source", "kernel"])),
        format!(
            "error: received upcalls cannot be seen: {TYPES}\n  usdt-probes --check says more\n"
        )
    );
    assert_eq!(
        refused(&mut without(pid, &[])),
        format!(
            "error: {}, and the kernel's own functions cannot be used instead: {TYPES}\n  \
             rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check says more\n",
            without_probes(pid)
        )
    );
    let probes = StandIn::start(
        "standin",
        &["--netlink", "--rate", "5000", "--count", "101"],
    );
    let mut monitor = Monitor::spawn(without(probes.pid, &[]));
    let line = monitor.await_line("attached");
    assert!(line.contains("dpif_recv:recv_upcall"), "{line}");
    probes.run();
    assert_eq!(monitor.output().figure("shown"), 101);
}

/// Check that CAP_BPF and CAP_PERFMON are enough for the kernel as the source, whoever's the daemon is, that auto takes
/// it then, and that none of them remain once attached.
fn capabilities() {
    const CAPABILITIES: &str = "+bpf,+perfmon";
    let (_folder, tool) = open_folder("upcall-monitor", UPCALL_MONITOR);
    for (name, args) in [
        ("standin-stock", &["--source", "kernel"][..]),
        ("standin-stock", &[]),
        // It has probes, but nobody may look for them.
        ("standin", &["--source", "kernel", "-r", "ok"]),
    ] {
        let (_folder, binary) = open_folder(name, standins().join(name));
        let mut command = Command::new(binary);
        command.args(["--netlink", "--rate", "5000", "--count", "113"]);
        let target = StandIn::spawn(command);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]);
        command.args([&tool, "-p", &target.pid.to_string(), "--format", "json"]);
        command.args(NETLINK).args(args);
        let mut monitor = Monitor::spawn(command);
        let line = monitor.await_line("attached");
        assert!(line.contains("by the kernel's own functions"), "{line}");
        let status = fs::read_to_string(format!("/proc/{}/status", monitor.id())).unwrap();
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert!(
                status.contains(&format!("{set}\t{}\n", "0".repeat(16))),
                "{status}"
            );
        }
        target.run();
        let output = monitor.output();
        assert!(
            events(&output).keys().copied().eq(0..113),
            "{}",
            output.stderr
        );
        let failed = "warning: upcalls that fail in the kernel cannot be seen: not permitted to read \"/proc/";
        assert_eq!(
            output.stderr.contains(failed),
            !args.contains(&"ok"),
            "{}",
            output.stderr
        );
    }
}

/// Check that two daemons whose datapaths have the same number are shown apart, in rows and in JSON, and are counted
/// apart; and that the trace ends when both have exited.
fn several_daemons() {
    let start = |count| {
        StandIn::start(
            "standin-stock",
            &["--netlink", "--rate", "2000", "--count", count],
        )
    };
    let (first, second) = (start("101"), start("203"));
    let (one, two) = (first.pid, second.pid);
    let attach = |args: &[&str]| {
        let other = two.to_string();
        Monitor::attach(one, &[NETLINK, &["-p", &other], args].concat())
    };
    let rows = attach(&[]);
    let json = attach(&["--format", "json"]);
    let quiet = attach(&["-q", "--format", "json"]);
    first.run();
    second.run();
    let (rows, json, quiet) = (rows.output(), json.output(), quiet.output());
    for (pid, count) in [(one, 101), (two, 203)] {
        let label = format!(" (6 of {pid}) ");
        let shown = rows
            .rows()
            .iter()
            .filter(|row| row.contains(&label))
            .count();
        assert_eq!(shown, count, "{}", rows.stdout);
        let lines = lines(&json);
        let own = lines.iter().filter(|line| line["daemon"] == pid);
        let own: Vec<&Value> = own.collect();
        assert_eq!(own.len(), count);
        assert!(own.iter().all(|event| event["pid"] == pid));
    }
    assert_eq!(rows.rows().len(), 304);
    let by = &lines(&quiet).pop().unwrap()["flows"]["by_datapath"];
    for (part, (pid, count)) in [(two, 203), (one, 101)].iter().enumerate() {
        assert_eq!(by[part]["name"], format!("6 of {pid}"));
        assert_eq!(by[part]["upcalls"], *count);
    }
}

/// Check that a daemon whose code is not mapped from its file is traced from the kernel, with the reason, and by its
/// probes not at all; and that of one with a part of its code moved, the kernel shows all, and the probes the rest, with
/// a warning.
fn code_moved_away() {
    let start = |what: &str| {
        let args = [
            "--netlink",
            "--rate",
            "5000",
            "--count",
            "109",
            "--move-code",
            what,
        ];
        StandIn::start("standin-pages", &args)
    };
    let file = standins().join("standin-pages");
    let all = start("file");
    let pid = all.pid.to_string();
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &pid, "--source", "usdt"]);
    let fact = format!(
        "process {pid} has the probe dpif_recv:recv_upcall, but its code is not mapped from {file:?}"
    );
    assert_eq!(
        refused(&mut command),
        format!(
            "error: {fact}\n  it runs a copy, on huge pages for example, where no uprobe can be; \
             --source kernel needs none\n"
        )
    );
    let mut command = Command::new(UPCALL_MONITOR);
    command.args(["-p", &pid, "--format", "json"]).args(NETLINK);
    let mut monitor = Monitor::spawn(command);
    let line = monitor.await_line("attached");
    let why = format!("of process {pid}, by the kernel's own functions ({fact})");
    assert!(line.contains(&why), "{line}");
    all.run();
    assert!(events(&monitor.output()).keys().copied().eq(0..109));

    let part = start("second");
    let pid = part.pid.to_string();
    let fact = format!(
        "process {pid} has 1 of the 2 sites of dpif_recv:recv_upcall in code that is not mapped from {file:?}"
    );
    let attach = |args: &[&str]| {
        let mut command = Command::new(UPCALL_MONITOR);
        command.args(["-p", &pid, "--format", "json"]).args(args);
        let mut monitor = Monitor::spawn(command);
        let line = monitor.await_line("attached");
        (monitor, line)
    };
    let (probes, line) = attach(&["--source", "usdt"]);
    assert!(
        line.contains("dpif_recv:recv_upcall of process") && line.contains("(1 site)"),
        "{line}"
    );
    let (kernel, line) = attach(NETLINK);
    assert!(
        line.contains(&format!("by the kernel's own functions ({fact})")),
        "{line}"
    );
    part.run();
    let (probes, kernel) = (probes.output(), kernel.output());
    let warning =
        format!("warning: {fact}\n  what passes there is not seen; --source kernel shows all\n");
    assert!(probes.stderr.starts_with(&warning), "{}", probes.stderr);
    let kernel = events(&kernel);
    assert!(kernel.keys().copied().eq(0..109));
    let misses = kernel
        .into_iter()
        .filter(|(_, event)| event["type_name"] == "miss");
    let misses: Vec<u64> = misses.map(|(number, _)| number).collect();
    assert!((1..109).contains(&misses.len()), "{misses:?}");
    assert!(events(&probes).keys().eq(&misses));
}

/// Check that --follow takes the upcalls of each daemon from the source that it has: a daemon with probes, one without,
/// and one with probes again, into the same outputs.
fn follow() {
    let first = StandIn::start("standin", &["--netlink", "--rate", "2000", "--count", "61"]);
    let mut monitor = Monitor::attach(first.pid, &[NETLINK, &["--follow"]].concat());
    first.run();
    for (name, count, how) in [
        ("standin-stock", "73", "by the kernel's own functions"),
        ("standin-O0", "53", "dpif_recv:recv_upcall of process"),
        ("standin-stock", "31", "by the kernel's own functions"),
    ] {
        monitor.await_line("waiting for the next ovs-vswitchd");
        let args = [
            "--netlink",
            "--rate",
            "2000",
            "--count",
            count,
            "--comm",
            "ovs-vswitchd",
        ];
        let next = StandIn::start(name, &args);
        let line = monitor.await_line("attached");
        assert!(
            line.contains(how) && line.contains(&next.pid.to_string()),
            "{line}"
        );
        next.run();
    }
    monitor.await_line("waiting for the next ovs-vswitchd");
    monitor.signal("INT");
    let output = monitor.output();
    assert!(output.status.success());
    assert_eq!(output.figure("upcalls in all"), 61 + 73 + 53 + 31);
    assert_eq!(output.figure("lost"), 0);
    let of = |datapath: &str| {
        output
            .rows()
            .iter()
            .filter(|row| row.contains(datapath))
            .count()
    };
    assert_eq!((of("(system@ovs-system)"), of("(6)")), (61 + 53, 73 + 31));
}

/// Check that a daemon in a pid namespace of its own is traced by its id outside, and that ids are those outside.
fn daemon_in_pid_namespace() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]);
    command.arg(standins().join("standin-stock"));
    command.args(["--netlink", "--rate", "5000", "--count", "107"]);
    let target = StandIn::spawn(command);
    let unshare = target.pid;
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
    let pid: u32 = children.trim().parse().expect("one child");
    let monitor = Monitor::attach(pid, &[NETLINK, &["--format", "json"]].concat());
    target.run();
    let output = monitor.output();
    let events = events(&output);
    assert!(events.keys().copied().eq(0..107), "{}", output.stderr);
    assert!(
        events
            .values()
            .all(|event| event["pid"] == pid && event["daemon"] == pid)
    );
}

/// Starts a stand-in and the tool in a pid namespace. `start` is a line of shell that starts the stand-in with $args in
/// the background and sets pid to its id there. Returns what the tool said.
fn trace_in_pid_namespace(start: &str) -> String {
    let script = r#"
        args="--netlink --rate 5000 --count 109 --wait"
        mkfifo go said errors
        START
        exec 4>go 5<said
        read -r ready inner <&5
        PID
        "$monitor" -p $pid --source kernel --netlink 2:27 >rows 2>errors &
        monitor_pid=$!
        exec 6<errors
        while read -r line <&6; do
            echo "$line"
            case $line in attached*) break;; esac
        done
        echo >&4
        cat <&6
        wait $monitor_pid; echo "status $?"
        echo "rows $(grep -c ' handler1 ' rows)"
    "#;
    let (start, pid) = start.split_once('|').expect("two parts");
    in_pid_namespace(&script.replace("START", start).replace("PID", pid))
}

#[track_caller]
fn all_are_shown(text: &str) {
    assert!(
        text.contains("109 upcalls in all: 109 shown, 0 lost by upcall-monitor\n"),
        "{text}"
    );
    assert!(text.ends_with("status 0\nrows 109\n"), "{text}");
}

/// Check that a daemon beside the tool in a pid namespace is found by its id there.
fn tool_in_pid_namespace() {
    all_are_shown(&trace_in_pid_namespace(
        r#""$standin" $args <go >said &|pid=$inner"#,
    ));
}

/// Check that a daemon in a pid namespace within the tool's is found by the id that it has in the tool's.
fn nested_pid_namespaces() {
    let start = r#"unshare --pid --fork --kill-child "$standin" $args <go >said & unshare=$!"#;
    let pid = "read -r pid </proc/$unshare/task/$unshare/children";
    all_are_shown(&trace_in_pid_namespace(&format!("{start}|{pid}")));
}
