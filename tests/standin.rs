//! The stand-in's upcalls through sockets, as they are at its probe.

mod common;

use std::fs;
use std::process::ExitCode;

use common::{Monitor, StandIn, is_root, standins, trial};
use libtest_mimic::Arguments;
use serde_json::Value;

/// One of each kind of message, twice for each thread, and some more.
const COUNT: &str = "101";

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(1);
    let root = ("root", is_root());
    let loopback =
        fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| text.contains(" lo\n"));
    let trials = vec![
        trial("netlink", netlink, &[root]),
        trial("fragments", fragments, &[root, ("IPv6 on lo", loopback)]),
        trial("malformed", malformed, &[root]),
        trial("no_probe", no_probe, &[]),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

/// The upcalls that a stand-in fires, by their number, without what differs from one run to the next.
#[track_caller]
fn upcalls(args: &[&str]) -> Vec<Value> {
    let args = [&["--rate", "20000", "--threads", "2"], args].concat();
    let target = StandIn::start("standin", &args);
    let monitor = Monitor::attach(target.pid, &["--format", "json"]);
    let fired = target.run();
    let output = monitor.output();
    let mut upcalls: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["record"] == "event")
        .collect();
    assert_eq!(upcalls.len() as u64, fired, "{}", output.stderr);
    for upcall in &mut upcalls {
        let upcall = upcall.as_object_mut().expect("an object");
        for field in ["time_ns", "wall_time", "cpu", "pid", "tid", "daemon"] {
            assert!(upcall.remove(field).is_some(), "{field}");
        }
    }
    upcalls.sort_by_key(number);
    upcalls
}

fn number(upcall: &Value) -> u64 {
    let mark = &upcall["key"]["fields"]["skb_mark"];
    mark.as_u64().expect("the number of the upcall")
}

/// Check that the probe has the same upcalls when they come through netlink sockets, whatever attributes the messages
/// have and whatever comes between them, and those of this process only.
fn netlink() {
    let direct = upcalls(&["--count", COUNT]);
    assert_eq!(upcalls(&["--count", COUNT, "--netlink"]), direct);
    let args = [
        "--count",
        COUNT,
        "--netlink",
        "--attributes",
        "--noise",
        "3",
        "--twin",
    ];
    assert_eq!(upcalls(&args), direct);
    let args = [
        "--count",
        COUNT,
        "--netlink",
        "--family",
        "33",
        "--dp-ifindex",
        "1",
    ];
    assert_eq!(upcalls(&args), direct);
}

/// Check that the same is true of messages with page fragments.
fn fragments() {
    let direct = upcalls(&["--count", COUNT]);
    let of_packet = |bytes| {
        let args = ["--count", COUNT, "--netlink", "--linear", bytes];
        upcalls(&[&args[..], &["--noise", "3", "--twin"]].concat())
    };
    for bytes in ["0", "66", "9000"] {
        assert_eq!(of_packet(bytes), direct, "{bytes} bytes before them");
    }
}

/// Check that a malformed message is not fired, and is counted.
fn malformed() {
    let bad = |n: u64| n % 7 == 6 || n % 10 == 9;
    let args = [
        "--count",
        COUNT,
        "--netlink",
        "--bad-packet",
        "7",
        "--bad-key",
        "10",
    ];
    let fired: Vec<u64> = upcalls(&args).iter().map(number).collect();
    let good: Vec<u64> = (0..101).filter(|&n| !bad(n)).collect();
    assert_eq!(fired, good);
    let text = StandIn::start("standin", &args).run_text();
    let counts = format!("fired {}\nmalformed {}\n", good.len(), 101 - good.len());
    assert!(text.ends_with(&counts), "{text}");
}

/// Check that the build without a probe has none, and receives all.
fn no_probe() {
    let binary = fs::read(standins().join("standin-stock")).expect("it is built");
    let probe = b"recv_upcall\0";
    assert!(!binary.windows(probe.len()).any(|bytes| bytes == probe));
    let args = [
        "--rate",
        "0",
        "--count",
        COUNT,
        "--threads",
        "3",
        "--netlink",
    ];
    assert_eq!(StandIn::start("standin-stock", &args).run(), 101);
}
