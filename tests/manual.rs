//! The manual pages, by the programs that read them.
//!
//! What a reader is missing for is listed as ignored: this is why they have a harness of their own.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use common::{is_installed, run};
use libtest_mimic::{Arguments, Failed, Trial};

const TOOLS: [(&str, &str); 5] = [
    ("upcall-monitor", env!("CARGO_BIN_EXE_upcall-monitor")),
    ("upcall-cost", env!("CARGO_BIN_EXE_upcall-cost")),
    ("bridge-loop", env!("CARGO_BIN_EXE_bridge-loop")),
    ("dpif-ops", env!("CARGO_BIN_EXE_dpif-ops")),
    ("usdt-probes", env!("CARGO_BIN_EXE_usdt-probes")),
];

/// What a program writes to standard output and to standard error about a page.
fn read(command: &[&str], page: &Path) -> Result<(String, String), Failed> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(page)
        .env("MANWIDTH", "80")
        .output()?;
    let [stdout, stderr] = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).trim_end().to_string());
    Ok((stdout, stderr))
}

/// Check that a program has nothing to say about a page. `remarks` takes them from its two outputs.
fn is_clean(
    command: &[&str],
    page: &Path,
    remarks: impl Fn((String, String)) -> String,
) -> Result<(), Failed> {
    match remarks(read(command, page)?).as_str() {
        "" => Ok(()),
        remarks => Err(format!("{}: {remarks}", command.join(" ")).into()),
    }
}

/// Check that apropos and whatis find a page by its name, with a description.
fn has_name(tool: &str, page: &Path) -> Result<(), Failed> {
    let (found, _) = read(&["lexgrog"], page)?;
    let description = found.split_once(&format!("\"{tool} - "));
    match description {
        Some((_, text)) if text.len() > 20 => Ok(()),
        _ => Err(format!("lexgrog found {found:?}").into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut trials = Vec::new();
    for (tool, binary) in TOOLS {
        let page = folder.path().join(format!("{tool}.8"));
        fs::write(&page, run(binary, &["--generate", "man"])).expect("it can be written");
        let mut add = |program: &str, check: fn(&str, &Path) -> Result<(), Failed>| {
            let page = page.clone();
            let trial = Trial::test(format!("{tool}::{program}"), move || check(tool, &page));
            trials.push(match is_installed(program) {
                true => trial,
                false => trial
                    .with_kind(format!("skipped, needs {program}"))
                    .with_ignored_flag(true),
            });
        };
        add("man", |_, page| {
            is_clean(
                &["man", "--warnings", "-Tutf8", "-l"],
                page,
                |(_, stderr)| stderr,
            )
        });
        add("groff", |_, page| {
            is_clean(
                &["groff", "-man", "-Tutf8", "-ww", "-z"],
                page,
                |(_, stderr)| stderr,
            )
        });
        add("mandoc", |_, page| {
            is_clean(&["mandoc", "-T", "lint"], page, |(stdout, stderr)| {
                stdout + &stderr
            })
        });
        add("lexgrog", has_name);
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
