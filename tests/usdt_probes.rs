//! usdt-probes on files of every kind, compared with readelf and bcc's tplist, and on live processes.
//!
//! What this machine lacks is listed as ignored: the live tests need root, the comparisons the other program and the
//! file. OVS_TRACERS_OVS may name more files to compare, separated by colons: ovs-vswitchd and its libraries, say.

mod common;
#[path = "common/elf.rs"]
mod elf;
#[path = "common/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use common::{
    BRIDGE_LOOP, DPIF_OPS, Monitor, StandIn, UPCALL_COST, UPCALL_MONITOR, is_installed, run,
    standins,
};
use elf::Elf;
use libtest_mimic::{Arguments, Failed, Trial};
use ovs_tracers::trace::{self, process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use schema::Schema;
use serde_json::Value;

const USDT_PROBES: &str = env!("CARGO_BIN_EXE_usdt-probes");

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // The live ones see each other's uprobes, and count on no other process called ovs-vswitchd.
    args.test_threads.get_or_insert(1);
    let root = rustix::process::geteuid().is_root();
    if root && !Path::new(UPROBE_EVENTS).exists() {
        mount_tracefs();
    }
    let mut trials = Vec::new();
    let mut add = |name: String, lacks: Vec<&str>, test: Box<dyn FnOnce() + Send>| {
        let test = Trial::test(name, move || -> Result<(), Failed> {
            test();
            Ok(())
        });
        trials.push(if lacks.is_empty() {
            test
        } else {
            let kind = format!("skipped, needs {}", lacks.join(" and "));
            test.with_kind(kind).with_ignored_flag(true)
        });
    };
    macro_rules! trial {
        ($name:ident $(, $needs:literal if $have:expr)*) => {
            let lacks: &[Option<&str>] = &[$((!$have).then_some($needs)),*];
            add(stringify!($name).into(), lacks.iter().copied().flatten().collect(), Box::new($name));
        };
    }
    trial!(golden_table);
    trial!(golden_sites);
    trial!(golden_json);
    trial!(every_class_and_byte_order);
    trial!(damaged);
    trial!(stripped, "strip (binutils)" if is_installed("strip"));
    trial!(nothing_to_list);
    trial!(patterns);
    trial!(hostile_names);
    let binutils = is_installed("objcopy") && is_installed("readelf");
    trial!(debug_file, "objcopy and readelf (binutils)" if binutils);
    trial!(not_linked, "cc and readelf (binutils)" if is_installed("cc") && binutils);
    trial!(closed_pipe);
    trial!(manual_and_help);
    let tracefs = Path::new(UPROBE_EVENTS).exists();
    trial!(armed_and_attached, "root" if root, "tracefs" if tracefs);
    trial!(armed_by_call, "root" if root, "x86-64" if cfg!(target_arch = "x86_64"));
    trial!(armed_by_a_debugger, "root" if root, "x86-64" if cfg!(target_arch = "x86_64"), "tracefs" if tracefs);
    trial!(semaphore_counts, "root" if root);
    trial!(event_of_tracefs, "root" if root, "tracefs" if tracefs);
    trial!(attached_by_bpftrace, "root" if root, "bpftrace" if is_installed("bpftrace"));
    trial!(library_of_a_process, "root" if root);
    trial!(deleted_binary, "root" if root);
    trial!(code_moved_away, "root" if root);
    trial!(library_twice, "root" if root);
    trial!(exit_meanwhile, "root" if root);
    trial!(without_privilege, "root" if root);
    trial!(check, "root" if root);
    let alone = matches!(process::find_ovs_vswitchd(), Err(trace::Error::NotFound));
    trial!(finds_the_daemon, "root" if root, "that no ovs-vswitchd runs" if alone);

    let readelf = is_installed("readelf");
    let tplist = ["tplist-bpfcc", "tplist"]
        .into_iter()
        .find(|program| is_installed(program));
    for (name, path) in files() {
        let file = match path {
            Some(_) => None,
            None => Some("the file"),
        };
        let path = path.unwrap_or_default();
        let (copy, program) = (path.clone(), tplist.unwrap_or_default());
        let lacks = file
            .into_iter()
            .chain((!readelf).then_some("readelf (binutils)"));
        add(
            format!("readelf_{name}"),
            lacks.collect(),
            Box::new(move || against_readelf(&path)),
        );
        let missing = if tplist.is_some() {
            None
        } else {
            Some("tplist (bpfcc-tools)")
        };
        // It asks the kernel for a symbol resolver.
        let user = (!root).then_some("root");
        add(
            format!("tplist_{name}"),
            file.into_iter().chain(missing).chain(user).collect(),
            Box::new(move || against_tplist(program, &copy)),
        );
    }
    libtest_mimic::run(&args, trials).exit_code()
}

struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs usdt-probes.
fn probes(args: &[&str]) -> Output {
    output(Command::new(USDT_PROBES).args(args))
}

fn output(command: &mut Command) -> Output {
    let output = command.output().expect("usdt-probes starts");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The objects of a stream, without its start record.
#[track_caller]
fn records(stream: &str, kind: &str) -> Vec<Value> {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of("usdt-probes"));
    let mut records = SCHEMA.stream(stream);
    let start = records.remove(0);
    assert_eq!(start["tool"], "usdt-probes");
    assert!(records.iter().all(|record| record["record"] == kind));
    records
}

/// Runs it with --format json.
#[track_caller]
fn json(args: &[&str]) -> Vec<Value> {
    let mut command = Command::new(USDT_PROBES);
    let output = output(command.args(["--format", "json"]).args(args));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    records(&output.stdout, "probe")
}

fn sites(probe: &Value) -> &Vec<Value> {
    probe["sites"].as_array().expect("an array of sites")
}

/// The number that an address stands for.
#[track_caller]
fn number(value: &Value) -> u64 {
    let text = value.as_str().expect("an address is text");
    u64::from_str_radix(text.strip_prefix("0x").expect("0x"), 16).expect("hexadecimal")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> String {
    let path = repository().join("fixtures/elf").join(name);
    path.to_str().expect("UTF-8").into()
}

// ---- comparisons ----

/// Files to compare, with a name for the test; without a path where this machine has none.
fn files() -> Vec<(String, Option<PathBuf>)> {
    let mut files = vec![(
        "aarch64".to_string(),
        Some(fixture("probes-aarch64.so").into()),
    )];
    // Building them is for the test: here they are only named.
    for name in [
        "standin",
        "standin-O0",
        "libstandin.so",
        "standin-semaphore",
        "standin-badargs",
        "standin-nop5",
        "standin-loop",
    ] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("standin")
            .join(name);
        files.push((name.into(), Some(path)));
    }
    for library in [
        "libc.so.6",
        "libstdc++.so.6",
        "libm.so.6",
        "ld-linux-x86-64.so.2",
    ] {
        let folders = [
            "/lib64",
            "/usr/lib64",
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
        ];
        let folders = folders
            .into_iter()
            .chain(["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]);
        let mut paths = folders.map(|folder| Path::new(folder).join(library));
        let path = paths.find(|path| path.exists());
        files.push((library.into(), path.filter(|path| path.is_file())));
    }
    let python = Path::new("/usr/bin/python3");
    files.push(("python3".into(), python.exists().then(|| python.into())));
    let ovs = ovs();
    if ovs.is_empty() {
        files.push(("ovs-vswitchd".into(), None));
    }
    for path in ovs {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push((name.into_owned(), Some(path)));
    }
    files
}

/// What OVS_TRACERS_OVS names, or else what `make lab` has built.
fn ovs() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("OVS_TRACERS_OVS") {
        return std::env::split_paths(&list).collect();
    }
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for tree in entries(&repository().join("target/lab")) {
        found.extend(
            ["vswitchd/ovs-vswitchd", "vswitchd/.libs/ovs-vswitchd"]
                .map(|path| tree.join(path))
                .into_iter()
                // A shared build has a script in place of the program.
                .filter(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))),
        );
        for folder in ["lib/.libs", "ofproto/.libs"] {
            let is_library = |path: &PathBuf| path.extension().is_some_and(|end| end == "so");
            found.extend(entries(&tree.join(folder)).into_iter().filter(is_library));
        }
    }
    found
}

/// A site: probe, address, semaphore's address or 0, and what is known of its arguments.
type Line = (String, u64, u64, String);

/// What usdt-probes says, or no sites if it finds none.
fn ours(path: &Path, describe: impl Fn(&Value) -> String) -> BTreeSet<Line> {
    let path_text = path.to_str().expect("UTF-8");
    let output = probes(&["--format", "json", "-l", path_text]);
    if output.code == Some(1) {
        assert_eq!(
            output.stderr,
            format!("error: no USDT probes in {path_text}\n")
        );
        return BTreeSet::new();
    }
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let data = segments(path);
    let mut lines = BTreeSet::new();
    for probe in records(&output.stdout, "probe") {
        let name = |field: &str| probe[field].as_str().expect("a name").to_string();
        for site in sites(&probe) {
            let semaphore = match &site["semaphore"] {
                Value::Null => 0,
                semaphore => {
                    let offset = number(&semaphore["offset"]);
                    let (start, address, _) = data
                        .iter()
                        .find(|(start, _, len)| (*start..start + len).contains(&offset))
                        .expect("a segment");
                    offset - start + address
                }
            };
            let line = (
                format!("{}:{}", name("provider"), name("name")),
                number(&site["address"]),
                semaphore,
                describe(site),
            );
            assert!(lines.insert(line), "listed twice: {site}");
        }
    }
    lines
}

/// File offset, address and length of the data segments, by readelf.
fn segments(path: &Path) -> Vec<(u64, u64, u64)> {
    let text = run("readelf", &["-lW".as_ref(), path.as_os_str()]);
    let hex =
        |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("a number");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&"LOAD") && words.contains(&"RW"))
        .map(|words| (hex(words[1]), hex(words[2]), hex(words[4])))
        .collect()
}

/// The probes of a file as `readelf -n` lists them.
#[track_caller]
fn of_readelf(path: &Path) -> Vec<Line> {
    let text = run("readelf", &["-nW".as_ref(), path.as_os_str()]);
    let mut theirs = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some((_, provider)) = line.split_once("Provider: ") else {
            continue;
        };
        let mut field = |title: &str| {
            let line = lines.next().expect("a line more").strip_prefix(title);
            line.expect("the next field").trim().to_string()
        };
        let name = field("Name:");
        let addresses = field("Location:");
        let args = field("Arguments:");
        let [location, _base, semaphore] = addresses
            .split(", ")
            .map(|word| word.rsplit_once("0x").expect("a number").1)
            .map(|digits| u64::from_str_radix(digits, 16).expect("hexadecimal"))
            .collect::<Vec<_>>()[..]
        else {
            panic!("{addresses}");
        };
        theirs.push((format!("{provider}:{name}"), location, semaphore, args));
    }
    theirs
}

/// The arguments of a site as the compiler wrote them.
fn written(site: &Value) -> String {
    let args = site["arguments"].as_array().expect("arguments");
    let args: Vec<_> = args
        .iter()
        .map(|arg| arg["text"].as_str().expect("text"))
        .collect();
    args.join(" ")
}

/// Check that the sites of a file are those of `readelf -n`, with their semaphores and arguments to the letter.
fn against_readelf(path: &Path) {
    standins();
    let theirs: BTreeSet<_> = of_readelf(path).into_iter().collect();
    assert_eq!(ours(path, written), theirs);
    // Both could be blind: these have probes wherever they are.
    let fixtures = repository().join("fixtures");
    if path.starts_with(env!("CARGO_TARGET_TMPDIR")) || path.starts_with(fixtures) {
        assert_ne!(theirs.len(), 0);
    }
}

/// Check that the sites of a file are those of bcc's tplist, with semaphores, sizes and signs of arguments.
fn against_tplist(program: &str, path: &Path) {
    standins();
    let text = run(program, &["-vv".as_ref(), "-l".as_ref(), path.as_os_str()]);
    let native = fs::read(path).expect("a file")[18..20] == [62, 0];
    let mut theirs: Vec<Line> = Vec::new();
    let (mut probe, mut semaphore) = (String::new(), 0);
    let hex = |word: &str| {
        let digits = word.trim_start_matches("0x").trim_end_matches(']');
        u64::from_str_radix(digits, 16).expect("hexadecimal")
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, "[sema", value] => (probe, semaphore) = (name.into(), hex(value)),
            ["location", _, _, address] => {
                theirs.push((probe.clone(), hex(address), semaphore, String::new()));
            }
            ["argument", _, size, sign, "bytes", ..] => {
                let args = &mut theirs.last_mut().expect("a location before").3;
                *args += &format!("{size} {sign} ");
            }
            _ => panic!("{line}"),
        }
    }
    let sizes = |site: &Value| {
        // It reads the arguments of its own machine only.
        let args = site["arguments"].as_array().filter(|_| native);
        let one = |arg: &Value| {
            let sign = if arg["signed"] == true {
                "signed"
            } else {
                "unsigned"
            };
            format!("{} {sign} ", arg["size"])
        };
        args.into_iter().flatten().map(one).collect()
    };
    assert_eq!(ours(path, sizes), theirs.into_iter().collect());
}

// ---- files ----

/// Check the table of a committed file, to the letter.
fn golden_table() {
    let output = probes(&["-l", &fixture("probes-aarch64.so")]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.code, Some(0));
    let path = fixture("probes-aarch64.so");
    let expected = format!(
        "\
PROBE            SITES  ARGS  OBJECT
forms:constants      1     7  {path}
forms:element        1     2  {path}
forms:floating       1     1  {path}
forms:memory         1     6  {path}
forms:registers      1     8  {path}
forms:stack          1     3  {path}
forms:symbol         1     1  {path}
"
    );
    assert_eq!(output.stdout, expected);
}

/// Check all that is shown of sites, to the letter, of three probes of a committed file.
fn golden_sites() {
    let path = fixture("probes-aarch64.so");
    let shown = |pattern| probes(&["-v", "-l", &path, pattern]).stdout;
    let expected = format!(
        "\
forms:constants in {path} (aarch64)
  site 1 of 1: address 0x4d0, file offset 0x4d0
    code       1f 20 03 d5, nop
    arg 1      4 bytes signed, always 0             -4@0
    arg 2      4 bytes signed, always 5             -4@5
    arg 3      4 bytes signed, always -1            -4@-1
    arg 4      4 bytes, always 4294967295           4@-1
    arg 5      8 bytes signed, always -5            -8@-5
    arg 6      8 bytes, always 9223372036854775808  8@-9223372036854775808
    arg 7      1 byte, always 255                   1@-1
"
    );
    assert_eq!(shown("forms:constants"), expected);
    let expected = format!(
        "\
forms:element in {path} (aarch64)
  site 1 of 1: address 0x554, file offset 0x554
    code       1f 20 03 d5, nop
    arg 1      8 bytes signed in x1       -8@x1
    arg 2      8 bytes signed at 24 + x0  -8@[x0, 24]

forms:floating in {path} (aarch64)
  site 1 of 1: address 0x574, file offset 0x574
    code       1f 20 03 d5, nop
    arg 1      cannot be fetched: it is a floating-point value  8f@[x0]
"
    );
    assert_eq!(shown("*:?l*"), "");
    assert_eq!(shown("forms:*l**n*"), expected);
}

/// Check the fields of JSON, to the letter.
fn golden_json() {
    let path = fixture("probes-aarch64.so");
    let output = probes(&["--format", "json", "-l", &path, "*:element"]);
    // Who may not ask the kernel does not know.
    let attached = if output.stderr.is_empty() {
        "[]"
    } else {
        "null"
    };
    let (version, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let expected = format!(
        r#"{{"record":"start","schema":1,"tool":"usdt-probes","tool_version":"{version}","machine":"{machine}"}}
{{"record":"probe","provider":"forms","name":"element","object":"{path}","machine":"aarch64","pid":null,"sites":[{{"address":"0x554","offset":"0x554","mapped":null,"semaphore":null,"bytes":"1f 20 03 d5","instruction":"nop","armed":null,"copies":[],"arguments":[{{"text":"-8@x1","words":"8 bytes signed in x1","size":8,"signed":true}},{{"text":"-8@[x0, 24]","words":"8 bytes signed at 24 + x0","size":8,"signed":true}}],"cannot_attach":null,"attached":{attached}}}]}}
"#
    );
    assert_eq!(output.stdout, expected);
}

/// Writes an ELF file and returns its path.
fn write(folder: &tempfile::TempDir, elf: &Elf) -> String {
    let path = folder.path().join("file");
    let mut bytes = elf.build();
    // Code of 0x40 bytes from 0x200.
    bytes[0x204] = 0x90;
    bytes[0x208..0x20d].copy_from_slice(&[0x0f, 0x1f, 0x44, 0, 0]);
    bytes[0x210..0x214].copy_from_slice(&[0x1f, 0x20, 0x03, 0xd5]);
    fs::write(&path, bytes).unwrap();
    path.to_str().expect("UTF-8").into()
}

/// Check that a file of any class, byte order and machine is listed, prelinked or not, with the nop of its machine.
fn every_class_and_byte_order() {
    let folder = tempfile::tempdir().unwrap();
    for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
        for (machine, name, instructions) in [
            (62, "x86-64", ["nop1", "nop5", ""]),
            (3, "e_machine 3", ["nop1", "nop5", ""]),
            (183, "aarch64", ["", "", "nop"]),
            (21, "e_machine 21", ["", "", ""]),
        ] {
            // As linked, and moved by prelink.
            for moved in [0, 0x8000] {
                let mut elf = Elf {
                    wide,
                    big,
                    machine,
                    ..Elf::default()
                };
                for site in [0x10204, 0x10208, 0x10210] {
                    let addresses = [site - moved, 0x10230 - moved, 0x20240 - moved];
                    elf.probe(addresses, b"main\0run_start\0-4@x0 8@%rax\0");
                }
                let found = json(&["-l", &write(&folder, &elf)]);
                assert_eq!(found.len(), 1);
                assert_eq!(found[0]["machine"], name);
                let places: Vec<_> = sites(&found[0])
                    .iter()
                    .map(|site| (number(&site["address"]), number(&site["offset"])))
                    .collect();
                let expected = [(0x10204, 0x204), (0x10208, 0x208), (0x10210, 0x210)];
                assert_eq!(places, expected, "{wide} {big} {machine} {moved:#x}");
                for (site, instruction) in sites(&found[0]).iter().zip(instructions) {
                    assert_eq!(
                        site["instruction"].as_str().unwrap_or(""),
                        instruction,
                        "{site}"
                    );
                    assert_eq!(number(&site["semaphore"]["offset"]), 0x240);
                    let understood = site["arguments"].as_array().unwrap().iter();
                    let understood = understood.filter(|arg| !arg["size"].is_null()).count();
                    assert_eq!(understood, usize::from(machine == 62 || machine == 183));
                }
            }
        }
    }
}

/// Check that damaged notes are warnings which hide no other, and are an error when nothing else is there.
fn damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut elf = Elf::default();
    elf.probe([0x10204, 0x10230, 0], b"a\0b\0\0")
        .note(b"stapsdt\0", 3, b"short")
        .note(b"GNU\0", 3, b"\x14\0\0\0")
        .probe([0, 0x10230, 0], b"a\0dropped\0\0")
        .probe([0x10208, 0x10230, 0], b"a\0b\0\0");
    let path = write(&folder, &elf);
    let output = probes(&["-l", &path]);
    assert_eq!(output.code, Some(0));
    assert_eq!(
        output.stderr,
        format!(
            "warning: {path}: note 1 of .note.stapsdt is damaged: it has no addresses\n\
             warning: {path}: the site of probe a:dropped at 0x0 is in no segment of the file\n"
        )
    );
    let expected = format!("PROBE  SITES  ARGS  OBJECT\na:b        2     0  {path}\n");
    assert_eq!(output.stdout, expected);

    let mut elf = Elf::default();
    elf.note(b"stapsdt\0", 3, b"short");
    let path = write(&folder, &elf);
    let output = probes(&["-l", &path]);
    assert_eq!(output.code, Some(1));
    assert_eq!(
        output.stderr,
        format!(
            "warning: {path}: note 0 of .note.stapsdt is damaged: it has no addresses\n\
             error: no USDT probes in {path}\n"
        )
    );
}

/// Check that strip takes no probe away.
fn stripped() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stripped) = (standins().join("standin"), folder.path().join("stripped"));
    fs::copy(&whole, &stripped).unwrap();
    run("strip", &["--strip-all".as_ref(), stripped.as_os_str()]);
    let listed = |path: &Path| {
        let found = json(&["-l", path.to_str().unwrap()]);
        found
            .iter()
            .map(|probe| probe["sites"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&whole), listed(&stripped));
    assert_eq!(listed(&stripped)[0].as_array().unwrap().len(), 2);
}

/// Check that each way to have nothing to list is an error of its own, and what exit status it has.
fn nothing_to_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::write(path("text"), "#!/bin/sh\n").unwrap();
    fs::write(path("empty"), "").unwrap();
    run("mkfifo", &[path("fifo")]);
    let none = write(&folder, &Elf::default());
    let library = fixture("probes-aarch64.so");
    for (args, code, message) in [
        (vec!["-l", &none], 1, format!("no USDT probes in {none}")),
        (
            vec!["-l", &path("text")],
            1,
            format!("{}: failed to read the ELF file: ", path("text")),
        ),
        (
            vec!["-l", &path("empty")],
            1,
            format!("{}: failed to read the ELF file: ", path("empty")),
        ),
        (
            vec!["-l", &path("none")],
            1,
            format!("failed to read {}: No such file", path("none")),
        ),
        (vec!["-l", "/"], 1, "/ is no regular file".into()),
        (
            vec!["-l", &path("fifo")],
            1,
            format!("{} is no regular file", path("fifo")),
        ),
        (
            vec!["-l", &library, "dpif_recv:*"],
            1,
            format!(
                "nothing in {library} matches; it has 7 probes\n  without a pattern all are listed"
            ),
        ),
        (
            vec!["-l", &library, "recv_upcall"],
            2,
            "write '*:name'".into(),
        ),
        (
            vec!["-l", &library, "-p", "1"],
            2,
            "cannot be used with".into(),
        ),
        (
            vec!["-l", &library, "--check"],
            2,
            "cannot be used with".into(),
        ),
        (vec!["-p", "0"], 2, "0 is not in".into()),
        (
            vec!["-p", "4194305"],
            1,
            "no process has the id 4194305".into(),
        ),
        (
            vec!["-p", "4194305", "--check"],
            1,
            "no process has the id 4194305".into(),
        ),
    ] {
        let output = probes(&args);
        assert_eq!(output.code, Some(code), "{args:?}");
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(
            output.stderr.starts_with("error: "),
            "{args:?}: {}",
            output.stderr
        );
        assert!(
            output.stderr.contains(&message),
            "{args:?}: {}",
            output.stderr
        );
    }
}

/// What nothing can be attached to, listed: names, addresses and arguments, in the file's order. All sites have the same
/// obstacle.
#[track_caller]
fn unattachable(path: &str, obstacle: &str, why: &str) -> Vec<(String, u64, String)> {
    let found = json(&["-l", path]);
    let listed = found.iter().flat_map(|probe| {
        let name = format!("{}:{}", probe["provider"], probe["name"]).replace('"', "");
        let site = move |site: &Value| {
            assert_eq!(site["cannot_attach"], obstacle, "{site}");
            (name.clone(), number(&site["address"]), written(site))
        };
        sites(probe).iter().map(site)
    });
    let listed = listed.collect();
    let warning = probes(&["-l", path]).stderr;
    assert_eq!(
        warning,
        format!("warning: nothing can be attached to {path}: {why}\n")
    );
    listed
}

/// Check that a debug file is listed as the program that it was made of, but without what it does not have, and that it
/// is said that nothing can be attached to it.
fn debug_file() {
    let folder = tempfile::tempdir().unwrap();
    let (program, file) = (
        standins().join("standin-semaphore"),
        folder.path().join("x.debug"),
    );
    let only = "--only-keep-debug".as_ref();
    run("objcopy", &[only, program.as_os_str(), file.as_os_str()]);
    let path = file.to_str().unwrap();
    let why = "it is a debug file; the code is in the program or library that it was made of";
    let listed = unattachable(path, "debug_file", why);
    let theirs = of_readelf(&file).into_iter();
    let theirs: Vec<_> = theirs
        .map(|(name, address, _, args)| (name, address, args))
        .collect();
    assert_eq!(listed, theirs);
    assert_eq!(listed.len(), 2);
    let of_program = json(&["-l", program.to_str().unwrap()]);
    let addresses = |sites: &[Value]| {
        sites
            .iter()
            .map(|site| site["address"].clone())
            .collect::<Vec<_>>()
    };
    let of_file = json(&["-l", path]);
    assert_eq!(
        addresses(sites(&of_file[0])),
        addresses(sites(&of_program[0]))
    );
    for site in sites(&of_file[0]) {
        for field in ["offset", "bytes", "instruction", "armed"] {
            assert!(site[field].is_null(), "{site}");
        }
        assert_eq!(
            site["semaphore"],
            serde_json::json!({"offset": null, "value": null})
        );
    }
    let text = probes(&["-v", "-l", path]).stdout;
    let first = &sites(&of_program[0])[0]["address"];
    let site = format!(
        "  site 1 of 2: address {}\n    semaphore  it has one\n",
        first.as_str().unwrap()
    );
    assert!(text.contains(&site), "{text}");
    // A probe of a function that the linker dropped is not one of a debug file either.
    let dropped = probes(&["-l", path]).stderr;
    assert!(!dropped.contains("is in no segment"), "{dropped}");
}

/// Check that what is not linked is listed as `readelf -n` lists it: a `.o` file, and those of an archive, also of a
/// thin one, whose members are beside it; with their code, which is where it is in the file.
fn not_linked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let source = repository().join("fixtures/standin/fire.c");
    let source = source.to_str().unwrap();
    for (object, flags) in [
        ("a.o", ["-O2", "-DSEMAPHORE"]),
        ("b.o", ["-O0", "-DONE_SITE"]),
    ] {
        let sections = "-ffunction-sections";
        run(
            "cc",
            &[
                flags[0],
                flags[1],
                sections,
                "-c",
                "-o",
                &path(object),
                source,
            ],
        );
    }
    fs::write(path("c.o"), "no ELF").unwrap();
    let why = "it is not linked; attach to the program or library that it becomes a part of";
    let theirs = |name: &str| -> Vec<(String, u64, String)> {
        let found = of_readelf(Path::new(&path(name))).into_iter();
        found
            .map(|(name, address, _, args)| (name, address, args))
            .collect()
    };
    let (a, b) = (theirs("a.o"), theirs("b.o"));
    assert_eq!((a.len(), b.len()), (2, 1));
    // Each in a section of its own.
    assert_ne!(a[0].1, 0);
    assert_eq!(unattachable(&path("a.o"), "relocatable", why), a);
    for (archive, operation) in [("x.a", "rc"), ("thin.a", "rcT")] {
        let mut ar = Command::new("ar");
        ar.args([operation, archive, "a.o", "b.o"])
            .current_dir(&folder);
        assert!(ar.status().unwrap().success());
        let listed = unattachable(&path(archive), "relocatable", why);
        assert_eq!(listed, [&a[..], &b[..]].concat(), "{archive}");
        let found = json(&["-l", &path(archive)]);
        let objects: Vec<_> = found
            .iter()
            .map(|probe| probe["object"].as_str().unwrap())
            .collect();
        assert_eq!(
            objects,
            ["a.o", "b.o"].map(|name| format!("{}({name})", path(archive)))
        );
        let native = if cfg!(target_arch = "x86_64") {
            "nop1"
        } else {
            "nop"
        };
        for probe in &found {
            all(probe, "instruction", &native.into());
        }
        assert_eq!(
            sites(&found[0])[0]["semaphore"],
            serde_json::json!({"offset": null, "value": null})
        );
        assert!(sites(&found[1])[0]["semaphore"].is_null());
    }
    run("ar", &["rc", &path("x.a"), &path("c.o")]);
    let output = probes(&["-l", &path("x.a")]);
    assert_eq!(output.code, Some(0));
    let warning = format!(
        "warning: {}(c.o): failed to read the ELF file: ",
        path("x.a")
    );
    assert!(output.stderr.starts_with(&warning), "{}", output.stderr);
    fs::remove_file(path("a.o")).unwrap();
    let output = probes(&["-l", &path("thin.a")]);
    let warning = format!("warning: {}(a.o): No such file", path("thin.a"));
    assert!(output.stderr.starts_with(&warning), "{}", output.stderr);
    fs::write(path("cut.a"), &fs::read(path("x.a")).unwrap()[..100]).unwrap();
    assert_eq!(probes(&["-l", &path("cut.a")]).code, Some(1));
}

/// Check which probes a pattern keeps.
fn patterns() {
    let names = |pattern: &str| {
        let found = json(&["-l", &fixture("probes-aarch64.so"), pattern]);
        let names = found
            .iter()
            .map(|probe| probe["name"].as_str().unwrap().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("forms:*").len(), 7);
    assert_eq!(names("*:s*"), ["stack", "symbol"]);
    assert_eq!(names("f*s:*o*i*"), ["floating"]);
    assert_eq!(names("forms:memory"), ["memory"]);
}

/// Check that names which a file chose can neither end a line nor steer a terminal, and are whole in JSON.
fn hostile_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut elf = Elf::default();
    elf.probe([0x10204, 0x10230, 0], b"a\x1b[2J\0b\nc\08@%rax\x1b\0");
    let path = write(&folder, &elf);
    for args in [&["-l", &path][..], &["-v", "-l", &path]] {
        let output = probes(args);
        assert!(
            output.stdout.contains(r"a\u{1b}[2J:b\nc"),
            "{}",
            output.stdout
        );
        assert!(!output.stdout.contains('\x1b'), "{:?}", output.stdout);
    }
    let found = json(&["-l", &path]);
    assert_eq!(found[0]["provider"], "a\x1b[2J");
    assert_eq!(found[0]["name"], "b\nc");
}

/// Check that a reader who goes away is no error.
fn closed_pipe() {
    for form in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(USDT_PROBES);
        command.args(["--format", form, "-l", &fixture("probes-aarch64.so")]);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{form}");
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("error"),
            "{form}"
        );
    }
}

/// Check that the manual has every option and the sections that the house wants, and that --help has examples.
fn manual_and_help() {
    let help = probes(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(
        help.stdout.contains("Examples:\n  usdt-probes "),
        "{}",
        help.stdout
    );
    let page = probes(&["--generate", "man"]).stdout;
    for option in ["list", "pid", "verbose", "format", "check"] {
        assert!(help.stdout.contains(&format!("--{option}")), "{option}");
        assert!(page.contains(&format!("\\-\\-{option}")), "{option}");
    }
    for section in ["CHECK", "JSON", "PRIVILEGE", "EXIT STATUS", "EXAMPLES"] {
        let sections = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        assert!(
            sections
                .map(|title| title.trim_matches('"'))
                .any(|title| title == section)
        );
    }
    // Every field that there is.
    let found = &json(&["-l", &fixture("probes-aarch64.so")])[0];
    let mut fields: Vec<&String> = found.as_object().unwrap().keys().collect();
    fields.extend(sites(found)[0].as_object().unwrap().keys());
    fields.extend(sites(found)[0]["arguments"][0].as_object().unwrap().keys());
    for field in fields {
        assert!(page.contains(field.as_str()), "{field}");
    }
}

// ---- processes ----

const UPROBE_EVENTS: &str = "/sys/kernel/tracing/uprobe_events";

/// Mounts tracefs where only this process and those that it starts see it: without, the tool does not know who has a
/// site attached. This is the only thread yet, so that all that come are in its mount namespace.
fn mount_tracefs() {
    // SAFETY: a new mount namespace changes no memory and no file descriptor.
    let moved = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    let mount = |args: &[&str]| {
        let output = Command::new("mount").args(args).output();
        output.is_ok_and(|output| output.status.success())
    };
    let mounted = moved.is_ok()
        && mount(&["--make-rprivate", "/"])
        && mount(&["-t", "tracefs", "tracefs", "/sys/kernel/tracing"]);
    if !mounted {
        eprintln!("tracefs is not mounted here, and cannot be");
    }
}

/// The only probe of a stand-in.
#[track_caller]
fn of_process(pid: u32) -> Value {
    let mut found = json(&["-p", &pid.to_string(), "dpif_recv:*"]);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[track_caller]
fn all(probe: &Value, field: &str, expected: &Value) {
    for site in sites(probe) {
        assert_eq!(&site[field], expected, "{field} of {site}");
    }
}

/// Asks until it is so: the kernel arms and disarms in its own time.
#[track_caller]
fn await_json(pid: u32, what: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        let probe = of_process(pid);
        if what(&probe) {
            return probe;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it did not come about: {}", of_process(pid));
}

/// Check that sites are armed and attached while upcall-monitor runs, with its name, in this process only, and only
/// then.
fn armed_and_attached() {
    let (target, other) = (
        StandIn::start("standin", &[]),
        StandIn::start("standin", &[]),
    );
    let file = standins().join("standin");
    let file = file.to_str().unwrap();
    let before = of_process(target.pid);
    assert_eq!(sites(&before).len(), 2);
    assert_eq!(before["pid"], target.pid);
    all(&before, "armed", &false.into());
    all(&before, "attached", &Value::Array(vec![]));
    if cfg!(target_arch = "x86_64") {
        all(&before, "bytes", &"90".into());
    }

    let monitor = Monitor::attach(target.pid, &[]);
    let during = of_process(target.pid);
    all(&during, "armed", &true.into());
    let of_file = json(&["-l", file]).remove(0);
    all(&of_file, "armed", &Value::Null);
    for site in sites(&during).iter().chain(sites(&of_file)) {
        let [attached] = &site["attached"].as_array().unwrap()[..] else {
            panic!("{site}");
        };
        let holders = serde_json::json!([{"pid": monitor.id(), "comm": "upcall-monitor"}]);
        assert_eq!(attached["holders"], holders);
        assert!(
            attached["program"]
                .as_str()
                .unwrap()
                .starts_with("recv_upcall"),
            "{site}"
        );
        assert!(attached["link"].is_u64(), "{site}");
        if attached["by"] == "uprobe_multi" {
            assert_eq!(attached["pid"], target.pid);
        } else {
            assert_eq!(attached["by"], "perf_event");
        }
    }
    if cfg!(target_arch = "x86_64") {
        all(&during, "bytes", &"cc".into());
        all(&during, "instruction", &"int3".into());
    }
    // The other process of the same file has its own memory.
    all(&of_process(other.pid), "armed", &false.into());
    let table = probes(&["-p", &target.pid.to_string()]).stdout;
    assert_eq!(
        table,
        format!(
            "PROBE                  SITES  ARMED  ARGS  OBJECT\n\
             dpif_recv:recv_upcall      2      2     6  {file}\n"
        )
    );
    let text = probes(&["-v", "-p", &target.pid.to_string()]).stdout;
    let line = format!(
        "    attached   upcall-monitor ({}): program recv_upcall",
        monitor.id()
    );
    assert_eq!(text.matches(&line).count(), 2, "{text}");

    monitor.signal("INT");
    monitor.output();
    let after = await_json(target.pid, |probe| sites(probe)[0]["armed"] == false);
    all(&after, "armed", &false.into());
    all(&after, "attached", &Value::Array(vec![]));
    all(&after, "bytes", &sites(&before)[0]["bytes"]);
}

/// Check that a five-byte nop is distinguished from one byte, and the call that Linux 6.18 makes of it once it was hit.
fn armed_by_call() {
    let mut target = StandIn::start("standin-nop5", &["--rate", "1000"]);
    let before = of_process(target.pid);
    all(&before, "bytes", &"0f 1f 44 00 00".into());
    all(&before, "instruction", &"nop5".into());
    let monitor = Monitor::attach(target.pid, &[]);
    let attached = of_process(target.pid);
    all(&attached, "instruction", &"int3".into());
    all(&attached, "armed", &true.into());
    target.go();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split('.')
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 18) {
        let is_call = |site: &Value| site["instruction"] == "call";
        let hit = await_json(target.pid, |probe| sites(probe).iter().all(is_call));
        all(&hit, "armed", &true.into());
        let text = probes(&["-v", "-p", &target.pid.to_string()]).stdout;
        assert_eq!(
            text.matches(", call in place of a 5-byte nop: armed")
                .count(),
            2,
            "{text}"
        );
    }
    monitor.signal("INT");
    monitor.output();
}

/// Check that a breakpoint which is not one of the kernel is seen, and that nobody is named as having attached it.
fn armed_by_a_debugger() {
    let target = StandIn::start("standin", &[]);
    let before = of_process(target.pid);
    let mem = fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/mem", target.pid));
    let address = number(&sites(&before)[1]["mapped"]);
    mem.unwrap().write_all_at(&[0xcc], address).unwrap();
    let after = of_process(target.pid);
    assert_eq!(sites(&after)[0], sites(&before)[0]);
    let site = &sites(&after)[1];
    assert_eq!(site["armed"], true);
    assert_eq!(site["attached"], Value::Array(vec![]));
    let text = probes(&["-v", "-p", &target.pid.to_string()]).stdout;
    let line = "    attached   something that the kernel does not list: perf, or a debugger\n";
    assert_eq!(text.matches(line).count(), 1, "{text}");
    let table = probes(&["-p", &target.pid.to_string()]).stdout;
    assert!(table.contains("recv_upcall      2      1     6"), "{table}");
}

/// Check that the semaphore counts the sites that are armed.
fn semaphore_counts() {
    let target = StandIn::start("standin-semaphore", &[]);
    let value = |probe: &Value, expected: u32| {
        let mut sites = sites(probe).iter();
        sites.all(|site| site["semaphore"]["value"] == expected)
    };
    let before = of_process(target.pid);
    assert!(value(&before, 0), "{before}");
    let monitor = Monitor::attach(target.pid, &[]);
    let during = of_process(target.pid);
    assert!(value(&during, 2), "{during}");
    let text = probes(&["-v", "-p", &target.pid.to_string()]).stdout;
    let offset = &sites(&during)[0]["semaphore"]["offset"];
    let line = format!(
        "    semaphore  at file offset {}, 2 now\n",
        offset.as_str().unwrap()
    );
    assert_eq!(text.matches(&line).count(), 2, "{text}");
    monitor.signal("INT");
    monitor.output();
    await_json(target.pid, |probe| value(probe, 0));
}

/// Check that an event of tracefs is found.
fn event_of_tracefs() {
    use std::io::Write;
    let command = |text: &str| {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(UPROBE_EVENTS)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let file = standins().join("standin-O0");
    let file = file.to_str().unwrap();
    let places = json(&["-l", file]).remove(0);
    let offset = number(&sites(&places)[1]["offset"]);
    command(&format!("p:ovs_tracers_test/site {file}:{offset:#x}\n"));
    let found = json(&["-l", file]).remove(0);
    let text = probes(&["-v", "-l", file]).stdout;
    command("-:ovs_tracers_test/site\n");
    let attached = |site: usize| sites(&found)[site]["attached"].as_array().unwrap();
    assert_eq!(attached(0).len(), 0);
    assert_eq!(attached(1).len(), 1);
    assert_eq!(attached(1)[0]["by"], "tracefs");
    assert_eq!(attached(1)[0]["program"], "ovs_tracers_test/site");
    assert!(
        text.contains("    attached   event ovs_tracers_test/site of tracefs\n"),
        "{text}"
    );
}

/// Check that bpftrace is found to have a site attached.
fn attached_by_bpftrace() {
    let target = StandIn::start("standin", &[]);
    let file = standins().join("standin");
    let script = format!(
        "usdt:{}:dpif_recv:recv_upcall {{ @ = count(); }}",
        file.display()
    );
    let mut bpftrace = Command::new("bpftrace");
    bpftrace.args(["-p", &target.pid.to_string(), "-e", &script]);
    bpftrace.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bpftrace = bpftrace.spawn().unwrap();
    let is_attached = |site: &Value| site["attached"].as_array().is_some_and(|a| !a.is_empty());
    let found = await_json(target.pid, |probe| sites(probe).iter().all(is_attached));
    let holder = serde_json::json!([{"pid": bpftrace.id(), "comm": "bpftrace"}]);
    bpftrace.kill().unwrap();
    bpftrace.wait().unwrap();
    for site in sites(&found) {
        assert_eq!(site["attached"].as_array().unwrap().len(), 1, "{site}");
        assert_eq!(site["attached"][0]["holders"], holder, "{site}");
    }
}

/// Check that the probes of a library are those of a process that has mapped it.
fn library_of_a_process() {
    let target = StandIn::start("standin-shared", &[]);
    let probe = of_process(target.pid);
    let library = standins().join("libstandin.so");
    assert_eq!(probe["object"], library.to_str().unwrap());
    all(&probe, "armed", &false.into());
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid)).unwrap();
    for site in sites(&probe) {
        let mapped = number(&site["mapped"]);
        let line = maps
            .lines()
            .find(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let hex = |text| u64::from_str_radix(text, 16).unwrap();
                (hex(start)..hex(end)).contains(&mapped)
            })
            .expect("a mapping");
        assert!(
            line.contains("r-xp") && line.ends_with("libstandin.so"),
            "{line}"
        );
        assert_eq!(mapped & 0xfff, number(&site["offset"]) & 0xfff);
    }
}

/// Check that a program which was replaced since is listed as it runs, and who has it attached.
fn deleted_binary() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("vswitchd");
    fs::copy(standins().join("standin"), &binary).unwrap();
    let target = StandIn::spawn(Command::new(&binary));
    fs::remove_file(&binary).unwrap();
    fs::write(&binary, "a newer one").unwrap();
    let monitor = Monitor::attach(target.pid, &[]);
    let probe = of_process(target.pid);
    assert_eq!(probe["object"], binary.to_str().unwrap());
    all(&probe, "armed", &true.into());
    for site in sites(&probe) {
        assert_eq!(
            site["attached"][0]["holders"][0]["pid"],
            monitor.id(),
            "{site}"
        );
    }
    monitor.signal("INT");
    monitor.output();
}

/// Check that code which a program has moved away from its file, all of it or that of one site, is listed as what
/// nothing can be attached to, also of a program that was replaced since, and that --check says so.
fn code_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("vswitchd");
    fs::copy(standins().join("standin-pages"), &binary).unwrap();
    let file = binary.to_str().unwrap();
    for (what, count) in [("file", 2), ("code", 2), ("second", 1)] {
        let mut command = Command::new(&binary);
        command.args(["--move-code", what]);
        let target = StandIn::spawn(command);
        if what == "second" {
            fs::remove_file(&binary).unwrap();
            fs::write(&binary, "a newer one").unwrap();
        }
        let probe = of_process(target.pid);
        assert_eq!(probe["object"], file);
        assert_eq!(sites(&probe).len(), 2);
        for site in sites(&probe) {
            // It fires one site for upcalls of one type only.
            let is_second = site["arguments"][1]["words"] == "4 bytes, always 1";
            if what != "second" || is_second {
                assert_eq!(site["cannot_attach"], "not_mapped", "{what}: {site}");
                assert!(
                    site["mapped"].is_null() && site["armed"].is_null(),
                    "{site}"
                );
            } else {
                assert!(site["cannot_attach"].is_null(), "{what}: {site}");
                assert_eq!(site["armed"], false);
            }
        }
        let pid = target.pid.to_string();
        let table = probes(&["-p", &pid]);
        let armed = if what == "second" { '0' } else { '-' };
        let line = format!("dpif_recv:recv_upcall      2      {armed}     6  {file}\n");
        assert!(table.stdout.ends_with(&line), "{}", table.stdout);
        assert_eq!(
            table.stderr,
            format!(
                "warning: nothing can be attached to {count} of the 2 sites in {file}: process {pid} runs a copy of \
                 their code, which is not mapped from the file\n"
            )
        );
        let text = probes(&["-v", "-p", &pid]).stdout;
        let unmapped = ", not mapped: nothing can be attached to it\n";
        assert_eq!(text.matches(unmapped).count(), count, "{text}");
        let lack = match what {
            "file" | "code" => format!("code not mapped from {file}, so no uprobe can be there"),
            _ => {
                format!("code of 1 of the 2 sites of dpif_recv:recv_upcall not mapped from {file}")
            }
        };
        let answers = checked(target.pid);
        let of_monitor = answers.iter().find(|(tool, _)| tool == "upcall-monitor");
        assert!(of_monitor.unwrap().1.contains(&lack), "{answers:?}");
    }
}

/// Check that both places of a library that a process has loaded twice are shown, and that both are armed and fire when
/// it is attached to once.
fn library_twice() {
    let target = StandIn::start("standin-copies", &["--count", "100"]);
    let pid = target.pid;
    let monitor = Monitor::attach(pid, &[]);
    let probe = of_process(pid);
    assert_eq!(sites(&probe).len(), 2);
    let mut places = BTreeSet::new();
    for site in sites(&probe) {
        assert_eq!(site["armed"], true, "{site}");
        assert_eq!(site["attached"].as_array().unwrap().len(), 1, "{site}");
        let [copy] = &site["copies"].as_array().unwrap()[..] else {
            panic!("{site}");
        };
        for (field, of_copy) in [
            ("armed", "armed"),
            ("bytes", "bytes"),
            ("instruction", "instruction"),
        ] {
            assert_eq!(site[field], copy[of_copy], "{site}");
        }
        places.extend([number(&site["mapped"]), number(&copy["mapped"])]);
    }
    assert_eq!(places.len(), 4);
    let text = probes(&["-v", "-p", &pid.to_string(), "dpif_recv:*"]).stdout;
    for site in sites(&probe) {
        let (mapped, copy) = (
            site["mapped"].as_str().unwrap(),
            site["copies"][0]["mapped"].as_str().unwrap(),
        );
        let lines = [
            format!(", in memory at {mapped}\n"),
            format!("\n    and in memory at {copy}\n"),
        ];
        assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    }
    let table = probes(&["-p", &pid.to_string(), "dpif_recv:*"]).stdout;
    assert!(
        table.contains("recv_upcall      2      2     6  "),
        "{table}"
    );
    assert_eq!(target.run(), 100);
    let output = monitor.output();
    assert_eq!((output.rows().len(), output.figure("lost")), (100, 0));
}

/// Check that a process which exits at any time while a tool looks for its probes and attaches to them is said to have
/// exited, and nothing else of it.
///
/// It is killed later and later, until the tool has come to the end of what is checked.
fn exit_meanwhile() {
    let tools = [
        (USDT_PROBES, &["-v"][..]),
        (USDT_PROBES, &["--check"]),
        (UPCALL_MONITOR, &["--source", "usdt"]),
        (UPCALL_MONITOR, &["--netlink", "2:27"]),
        (UPCALL_COST, &["--source", "usdt"]),
        (
            BRIDGE_LOOP,
            &["--source", "kernel", "--threshold", "1ms", "--stack"],
        ),
        (DPIF_OPS, &["--source", "usdt"]),
    ];
    for (tool, args) in tools {
        for later in 0.. {
            let target = match tool {
                DPIF_OPS | UPCALL_COST => StandIn::start("standin-ops", &[]),
                _ => StandIn::start("standin-shared", &[]),
            };
            let pid = target.pid;
            let mut command = Command::new(tool);
            command.args(["-p", &pid.to_string()]).args(args);
            let running = Monitor::spawn(command);
            std::thread::sleep(std::time::Duration::from_millis(7 * later));
            drop(target);
            let output = running.output();
            let text = &output.stderr;
            let gone = [
                format!(
                    "error: process {pid} has exited before it could be traced; start it again"
                ),
                format!(
                    "error: process {pid} has exited, only its parent has not noticed yet; start it again"
                ),
                format!(
                    "error: no process has the id {pid}; -p takes that of a running ovs-vswitchd"
                ),
            ];
            // --check fails if any tracer cannot run.
            let shown = tool == USDT_PROBES && !output.stdout.is_empty();
            let done = text.contains("attached to ") || shown;
            let mut lines = text
                .lines()
                .filter(|line| !done && !line.starts_with("warning: ") && !line.starts_with("  "));
            let said = lines.next();
            assert!(
                done || said.is_some_and(|line| gone.iter().any(|gone| gone == line)),
                "{tool} {args:?}: {text}"
            );
            assert_eq!(lines.next(), None, "{tool} {args:?}: {text}");
            // All that it says of a process that has exited, whenever that was.
            for word in [
                "No such",
                "/proc",
                "not permitted",
                "failed to",
                "without probes",
            ] {
                assert!(!text.contains(word), "{tool} {args:?}: {text}");
            }
            if done {
                break;
            }
        }
    }
}

/// Check what a user without privilege sees, and which warnings come.
fn without_privilege() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = |from: &str, to: &str| {
        let path = folder.path().join(to);
        fs::copy(from, &path).unwrap();
        path
    };
    let binary = copy(USDT_PROBES, "usdt-probes");
    let file = copy(&fixture("probes-aarch64.so"), "probes.so");
    let target = StandIn::start("standin", &[]);
    let pid = target.pid.to_string();
    let as_nobody = |args: &[&str]| output(Command::new(&binary).args(args).uid(65534).gid(65534));

    let listed = as_nobody(&["--format", "json", "-l", file.to_str().unwrap(), "*:stack"]);
    assert_eq!(listed.code, Some(0));
    assert!(
        listed.stdout.contains(r#""attached":null"#),
        "{}",
        listed.stdout
    );
    let warning =
        "warning: others may have a site attached: nothing is known of BPF links (CAP_SYS_ADMIN)";
    assert!(listed.stderr.starts_with(warning), "{}", listed.stderr);

    let listed = as_nobody(&["-p", &pid]);
    assert_eq!(listed.code, Some(1));
    assert_eq!(
        listed.stderr,
        format!(
            "error: not permitted to read \"/proc/{pid}/maps\"\n  run as root, or with CAP_SYS_PTRACE\n"
        )
    );
    let checked = as_nobody(&["--check", "-p", &pid]);
    assert_eq!(checked.code, Some(1));
    for name in ["CAP_SYS_PTRACE", "CAP_BPF and CAP_PERFMON are missing"] {
        assert!(checked.stdout.contains(name), "{}", checked.stdout);
    }
}

/// What each tool lacks to take its events from probes, as --check says it.
#[track_caller]
fn checked(pid: u32) -> Vec<(String, Vec<String>)> {
    let output = probes(&["--check", "--format", "json", "-p", &pid.to_string()]);
    let mut all = true;
    let answers = records(&output.stdout, "check").into_iter().map(|answer| {
        let lacks = |of: &Value| -> Vec<String> {
            let lacks = of["lacks"].as_array().expect("an array").iter();
            lacks
                .map(|text| text.as_str().unwrap().to_string())
                .collect()
        };
        let sources = answer["sources"].as_array().expect("an array");
        assert_eq!(sources[0]["source"], "usdt");
        for source in sources {
            assert_eq!(source["can_run"], lacks(source).is_empty());
        }
        let able = sources.iter().find(|source| source["can_run"] == true);
        for name in ["can_run", "lacks", "without"] {
            assert_eq!(answer[name], able.unwrap_or(&sources[0])[name], "{answer}");
        }
        all &= able.is_some();
        let tool = answer["tool"].as_str().unwrap().to_string();
        (tool, lacks(&sources[0]))
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(
        output.code,
        Some(if all { 0 } else { 1 }),
        "{}",
        output.stderr
    );
    answers
}

/// Check that the answer for each tool says what this process and this kernel lack for it, and nothing else.
fn check() {
    let module = "no openvswitch module in the kernel, so no datapath (modprobe openvswitch)";
    let module = (!Path::new("/sys/module/openvswitch").exists()).then_some(module.to_string());
    let lacks = |answers: &[(String, Vec<String>)], tool: &str| {
        let answer = answers.iter().find(|(name, _)| name == tool);
        answer.expect("the tool is known").1.clone()
    };
    let target = StandIn::start("standin", &[]);
    let answers = checked(target.pid);
    assert_eq!(
        lacks(&answers, "upcall-monitor"),
        Vec::from_iter(module.clone())
    );
    let old = "no main:poll_block, no main:run_start (needs Open vSwitch 2.17 or later)";
    assert_eq!(lacks(&answers, "bridge-loop"), [old]);
    let text = probes(&["--check", "-p", &target.pid.to_string()]).stdout;
    let lines: Vec<&str> = text.lines().collect();
    let file = standins().join("standin");
    let expected = format!(
        "process {}: {}, with the probes of Open vSwitch 2.17 or later",
        target.pid,
        file.display()
    );
    assert_eq!(lines[0], expected);
    assert!(
        lines[1].starts_with("kernel ") && lines[1].contains("BPF ring buffers"),
        "{text}"
    );
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        let line = format!("bridge-loop     can run from the kernel; not from probes: {old}");
        assert!(lines.contains(&&*line), "{text}");
    }

    // The probes of the main loop alone.
    let target = StandIn::start("standin-loop", &[]);
    let answers = checked(target.pid);
    let none: [&str; 0] = [];
    assert_eq!(lacks(&answers, "bridge-loop"), none);
    let old = "no dpif_recv:recv_upcall (needs Open vSwitch 2.17 or later)".to_string();
    let expected: Vec<_> = [old].into_iter().chain(module.clone()).collect();
    assert_eq!(lacks(&answers, "upcall-monitor"), expected);

    let mut without = Command::new("sleep").arg("1000").spawn().unwrap();
    let answers = checked(without.id());
    without.kill().unwrap();
    without.wait().unwrap();
    let none = "built without probes (./configure --enable-usdt-probes)".to_string();
    let expected: Vec<_> = [none.clone()].into_iter().chain(module).collect();
    assert_eq!(lacks(&answers, "upcall-monitor"), expected);
    assert_eq!(lacks(&answers, "bridge-loop"), [none]);
}

/// Check that without -l and -p it is the ovs-vswitchd that runs.
fn finds_the_daemon() {
    let output = probes(&[]);
    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr
            .starts_with("error: no ovs-vswitchd is running"),
        "{}",
        output.stderr
    );
    let target = StandIn::start("standin", &["--comm", "ovs-vswitchd"]);
    let found = json(&[]);
    assert_eq!(found[0]["pid"], target.pid);
    let checked = probes(&["--check"]);
    assert!(
        checked
            .stdout
            .starts_with(&format!("process {}: ", target.pid)),
        "{}",
        checked.stdout
    );
}
