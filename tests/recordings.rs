//! Recordings of real upcalls, made by the lab, through the whole of what comes after the kernel.
//!
//! `fixtures/recordings/NAME.rec` was recorded by upcall-monitor in a virtual machine with a real Open vSwitch, as
//! `NAME.txt` says; `NAME.FORM.txt` is what it shows of it. `UPDATE=1 cargo test --test recordings` writes the latter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ovs_tracers::bpf::record::bytes;
use ovs_tracers::bpf::upcall_monitor::types::{failed_from, upcall_record};
use ovs_tracers::run::recording::{Start, Writer};
use ovs_tracers::upcall::record::RECORDS;

const UPCALL_MONITOR: &str = env!("CARGO_BIN_EXE_upcall-monitor");

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
    Command::new(UPCALL_MONITOR)
        .arg("--replay")
        .arg(recording)
        .args(args)
        .output()
        .expect("upcall-monitor starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is UTF-8")
}

/// Check that every recording shows what it showed when its expected text was read and found right.
#[test]
fn golden() {
    for recording in recordings() {
        for (form, args) in [
            ("raw", ["-k", "nlraw", "-d", "hex"]),
            ("decoded", ["-k", "odp", "-d", "decode"]),
        ] {
            let output = replay(&recording, &args);
            assert!(output.status.success(), "{recording:?}");
            let expected = recording.with_extension(format!("{form}.txt"));
            let shown = [&output.stdout[..], &output.stderr].concat();
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

/// Check that a recording which was cut off shows the beginning of what the whole one shows, and says so.
#[test]
fn cut_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("cut.rec");
    for recording in recordings() {
        let bytes = fs::read(&recording).expect("a recording");
        let whole = replay(&recording, &["-k", "odp", "-d", "hex"]).stdout;
        // A prime step meets every part of a block.
        for cut in (0..bytes.len()).step_by(4999) {
            fs::write(&file, &bytes[..cut]).expect("it can be written");
            let output = replay(&file, &["-k", "odp", "-d", "hex"]);
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
    let file = folder.path().join("damaged.rec");
    for recording in recordings() {
        let whole = replay(&recording, &[]).stdout;
        let original = fs::read(&recording).expect("a recording");
        for at in (12..original.len()).step_by(4999) {
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
    let output = replay(&recordings()[0], &["-c", "7"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1 + 7);
    assert!(text(&output.stderr).contains("7 upcalls received: 7 shown"));
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
