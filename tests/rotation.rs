//! A capture in a series of files: nothing is lost between them, and each is whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UPCALL_MONITOR: &str = env!("CARGO_BIN_EXE_upcall-monitor");

fn replay(pcap: &Path, args: &[&str]) -> Output {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings/lab-6.12.rec");
    Command::new(UPCALL_MONITOR)
        .arg("--replay")
        .arg(recording)
        .arg("--pcap")
        .arg(pcap)
        .args(args)
        .output()
        .expect("upcall-monitor starts")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// What tshark says of each packet: its time in nanoseconds, and the fields that make it itself.
fn packets(file: &Path) -> Vec<(u64, String)> {
    let output = Command::new("tshark")
        .args([
            "-n",
            "-T",
            "fields",
            "-e",
            "frame.time_epoch",
            "-e",
            "frame.len",
        ])
        .args(["-e", "frame.interface_name", "-e", "frame.comment", "-r"])
        .arg(file)
        .output()
        .expect("tshark is installed");
    assert!(output.status.success(), "{file:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr)
            .matches("damaged")
            .count(),
        0
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let packet = |line: &str| {
        let (time, rest) = line.split_once('\t').expect("fields");
        let digits = time.replace('.', "");
        (digits.parse().expect("a time"), rest.to_string())
    };
    text.lines().map(packet).collect()
}

/// The packets of each file of a series, after it was checked that capinfos counts as many.
fn series(folder: &Path) -> Vec<Vec<(u64, String)>> {
    let mut all = Vec::new();
    for (number, file) in files(folder).iter().enumerate() {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("UTF-8");
        let stamp = name
            .strip_prefix(&format!("out_{:05}_", number + 1))
            .and_then(|rest| rest.strip_suffix(".pcapng"));
        let stamp = stamp.unwrap_or_else(|| panic!("{name}"));
        assert!(
            stamp.len() == 14 && stamp.bytes().all(|byte| byte.is_ascii_digit()),
            "{name}"
        );
        let mode = fs::metadata(file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        let packets = packets(file);
        let output = Command::new("capinfos")
            .args(["-c", "-M", "-T", "-r"])
            .arg(file)
            .output()
            .expect("capinfos is installed");
        assert!(output.status.success(), "{name}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            text.split_whitespace().last(),
            Some(packets.len().to_string().as_str())
        );
        all.push(packets);
    }
    all
}

fn whole() -> Vec<(u64, String)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("whole.pcapng");
    assert!(replay(&file, &[]).status.success());
    packets(&file)
}

/// Check that files of a size have each packet once and in order, that each but the last has reached the size, by its last
/// packet, and that its statistics are its own.
#[test]
fn by_size() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = replay(
        &folder.path().join("out.pcapng"),
        &["--rotate", "filesize:4"],
    );
    assert!(output.status.success());
    let series = series(folder.path());
    assert!(series.len() > 3, "{} files", series.len());
    assert_eq!(series.concat(), whole());
    let files = files(folder.path());
    for (file, packets) in files.iter().zip(&series) {
        assert!(!packets.is_empty(), "{file:?}");
        let bytes = fs::read(file).expect("a file");
        let (mut at, mut last_packet, mut received) = (0, 0, 0);
        while at < bytes.len() {
            let word =
                |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
            match word(at) {
                // Enhanced packet, interface statistics: type, length, interface, two words of time, options.
                6 => last_packet = at,
                5 => {
                    let mut option = at + 20;
                    // isb_ifrecv
                    while word(option) & 0xffff != 4 {
                        option += 4 + (word(option) >> 16).next_multiple_of(4) as usize;
                    }
                    received += word(option + 4);
                }
                _ => {}
            }
            at += word(at + 4) as usize;
        }
        assert_eq!(at, bytes.len(), "{file:?}");
        assert_eq!(received as usize, packets.len(), "{file:?}");
        if file != files.last().expect("files") {
            assert!(last_packet < 4000, "{file:?}");
            assert!(bytes.len() >= 4000, "{file:?}");
        }
    }
}

/// Check that files of a duration end before the first packet that is so much later than their first.
#[test]
fn by_duration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = replay(
        &folder.path().join("out.pcapng"),
        &["--rotate", "duration:2.5"],
    );
    assert!(output.status.success());
    let series = series(folder.path());
    assert!(series.len() > 3, "{} files", series.len());
    assert_eq!(series.concat(), whole());
    let duration = 2_500_000_000;
    for (file, next) in series.iter().zip(&series[1..]) {
        let first = file[0].0;
        assert!(
            file.iter()
                .all(|(time, _)| time.saturating_sub(first) < duration)
        );
        assert!(next[0].0 - first >= duration);
    }
}

/// Check that of a ring the last files remain, with the last packets, and that what others put beside them stays.
#[test]
fn ring() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = tempfile::tempdir().expect("a temporary folder");
    let beside = folder.path().join("out_00001_20200101000000.pcapng");
    fs::write(&beside, "another's").expect("it can be written");
    let args = ["--rotate", "filesize:4", "--rotate", "files:2"];
    assert!(
        replay(&folder.path().join("out.pcapng"), &args)
            .status
            .success()
    );
    assert!(
        replay(&other.path().join("out.pcapng"), &args[..2])
            .status
            .success()
    );
    let all = series(other.path());
    let remain = files(folder.path());
    assert_eq!(remain.len(), 3);
    assert_eq!(fs::read(&beside).expect("it is there"), b"another's");
    let last: Vec<_> = remain[1..].iter().map(|file| packets(file)).collect();
    assert_eq!(last, all[all.len() - 2..]);
}

/// Check that a folder which is not there is an error before anything else happens.
#[test]
fn no_folder() {
    let output = replay(Path::new("no-such-folder/out"), &["--rotate", "filesize:4"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.starts_with("error: failed to create no-such-folder/out_00001_"),
        "{text}"
    );
}
