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

/// Check that the footer of a manual page has the day of the release, which CHANGELOG.md has from then on.
#[test]
fn manual_pages_have_the_day() {
    let changelog = std::fs::read_to_string("CHANGELOG.md").expect("the changelog is there");
    let heading = format!("## {} - ", env!("CARGO_PKG_VERSION"));
    let Some(released) = changelog
        .lines()
        .find_map(|line| line.strip_prefix(&heading))
    else {
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_upcall-monitor"))
        .args(["--generate", "man"])
        .output()
        .expect("the tool starts");
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    let title = page.lines().find(|line| line.starts_with(".TH "));
    let title = title.expect("the page has a title");
    assert!(title.contains(&format!(" {released} ")), "{title}");
}
