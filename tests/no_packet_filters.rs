//! A build without packet filters: `cargo test --no-default-features`.

#![cfg(not(feature = "packet-filters"))]

use std::process::Command;

/// Check that a packet filter is an error that says what the build lacks, and that everything else works.
#[test]
fn says_so() {
    let replay = |filter: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_upcall-monitor"))
            .args(["--replay", "fixtures/recordings/lab-6.12.rec"])
            .args(filter)
            .output()
            .expect("upcall-monitor starts")
    };
    let output = replay(&["udp", "port", "53"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    let expected = "\
error: this build has no packet filters: it was made without libpcap
build it with the cargo feature packet-filters
";
    assert!(stderr.starts_with(expected), "{stderr}");
    let output = replay(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.len() > 1000, "{output:?}");
}
