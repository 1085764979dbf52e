//! Command lines and what they print, in `tests/cmd`. `TRYCMD=overwrite cargo test --test cli` writes what is new.

use std::process::Command;

/// Check that errors read as they are meant to.
#[test]
fn errors() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}

/// Check that no line of a manual page that is shown as it is goes beyond a terminal of 80 columns.
#[test]
fn manual_pages_fit() {
    // The margin of man.
    const ROOM: usize = 80 - 7;
    for tool in [
        env!("CARGO_BIN_EXE_upcall-monitor"),
        env!("CARGO_BIN_EXE_upcall-cost"),
        env!("CARGO_BIN_EXE_bridge-loop"),
        env!("CARGO_BIN_EXE_dpif-ops"),
        env!("CARGO_BIN_EXE_usdt-probes"),
    ] {
        let output = Command::new(tool)
            .args(["--generate", "man"])
            .output()
            .expect("the tool starts");
        let page = String::from_utf8(output.stdout).expect("UTF-8");
        let mut literal = false;
        let mut lines = 0;
        for line in page.lines() {
            literal = (literal || line == ".nf") && line != ".fi";
            // What roff makes of it: an apostrophe, nothing, a hyphen, a backslash.
            let shown = [(r"\*(Aq", "'"), (r"\&", ""), (r"\-", "-"), (r"\\", r"\")]
                .into_iter()
                .fold(line.to_string(), |line, (from, to)| line.replace(from, to));
            if literal {
                lines += 1;
                assert!(shown.chars().count() <= ROOM, "{tool}: {shown}");
            }
        }
        assert!(lines > 5, "{tool}: {page}");
    }
}
