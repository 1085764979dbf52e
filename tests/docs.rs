//! What README.md and docs/ show, held against what the tools print. `UPDATE=1 cargo test --test docs` (`make docs`)
//! writes what is new.
//!
//! A block of the language `console` has commands, each behind "$ ", and below each what it prints, standard output first;
//! a line "..." stands for any lines. A command is run here, in a folder that has the repository's `fixtures`. One that
//! begins with sudo is a session of the lab, which `fixtures/sessions` has: NAME.txt is what its terminal showed. If there
//! is a recording of it, NAME.rec, what its replay gives is shown instead of what followed the line "attached to".
//!
//! Without jq a page that uses it is listed as ignored: hence a harness of its own.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::is_installed;
use libtest_mimic::{Arguments, Failed, Trial};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 5] = [
    env!("CARGO_BIN_EXE_upcall-monitor"),
    env!("CARGO_BIN_EXE_upcall-cost"),
    env!("CARGO_BIN_EXE_dpif-ops"),
    env!("CARGO_BIN_EXE_bridge-loop"),
    env!("CARGO_BIN_EXE_usdt-probes"),
];

/// A command and what it printed, line by line.
#[derive(Debug, Clone)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// The commands of a console block or a session; a command goes on behind a backslash.
fn shown(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("$ ") {
            let mut command = command.to_owned();
            while let Some(first) = command.strip_suffix('\\') {
                command = first.trim_end().to_owned() + " " + lines.next().unwrap_or("").trim();
            }
            all.push(Shown {
                command,
                output: Vec::new(),
            });
        } else if let Some(last) = all.last_mut() {
            last.output.push(line.to_owned());
        } else {
            panic!("output without a command: {line}");
        }
    }
    for one in &mut all {
        while one.output.last().is_some_and(String::is_empty) {
            one.output.pop();
        }
    }
    all
}

/// The pages, but for the one that `make bench` writes.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).expect("docs");
    let mut pages: Vec<_> = docs
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "md"))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name != "performance.md")
        })
        .chain([Path::new(ROOT).join("README.md")])
        .collect();
    pages.sort();
    pages
}

/// The parts of a page: text, and between them the insides of its console blocks.
fn blocks(page: &str) -> Vec<(bool, String)> {
    let mut parts = vec![(false, String::new())];
    for line in page.split_inclusive('\n') {
        let inside = parts.last().is_some_and(|(inside, _)| *inside);
        if inside && line.trim_end() == "```" {
            parts.push((false, String::new()));
        }
        parts.last_mut().expect("a part").1 += line;
        if !inside && line.trim_end() == "```console" {
            parts.push((true, String::new()));
        }
    }
    parts
}

/// A folder to run commands in, as a reader has it who is in the repository, and the tools that are found there.
struct Shell {
    folder: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink(format!("{ROOT}/fixtures"), folder.path().join("fixtures"))
            .expect("a link");
        Self { folder }
    }

    /// What a command prints, standard output first. The files that it writes are those of docs/ with that name.
    fn run(&self, command: &str) -> Vec<String> {
        let bin = Path::new(TOOLS[0]).parent().expect("a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", command])
            .current_dir(self.folder.path())
            .env("PATH", format!("{bin}:{path}"))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("bash starts");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        text.trim_end_matches('\n')
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The files that commands wrote.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name != "fixtures"))
            .collect()
    }
}

/// The sessions of the lab, with what they are expected to show.
fn sessions(shell: &Shell) -> Vec<(String, Shown)> {
    let mut all = Vec::new();
    let folder = fs::read_dir(Path::new(ROOT).join("fixtures/sessions")).expect("sessions");
    for path in folder.map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_none_or(|ext| ext != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for mut one in shown(&fs::read_to_string(&path).expect("a session")) {
            if path.with_extension("rec").exists() {
                let attached = one
                    .output
                    .iter()
                    .position(|line| line.starts_with("attached to "));
                one.output.truncate(attached.expect("it was attached") + 1);
                one.output.extend(shell.run(&replay(&one.command, &name)));
            }
            all.push((name.clone(), one));
        }
    }
    all
}

/// The command that replays a session: without what only a live trace has.
fn replay(command: &str, name: &str) -> String {
    let mut words = command.strip_prefix("sudo ").expect("a session").split(' ');
    let mut typed = format!(
        "{} --replay fixtures/sessions/{name}.rec",
        words.next().expect("a tool")
    );
    while let Some(word) = words.next() {
        if matches!(word, "--duration" | "--source") {
            words.next();
        } else {
            typed += &format!(" {word}");
        }
    }
    typed
}

/// Whether the lines are those, where "..." stands for any.
fn matches(stated: &[String], lines: &[String]) -> bool {
    match stated.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines.first() == Some(first) && matches(rest, &lines[1..]),
    }
}

/// What the command of a page shows: of several sessions with one command, the one that the page shows.
fn expected(
    one: &Shown,
    sessions: &[(String, Shown)],
    shell: &Shell,
) -> Result<Vec<String>, String> {
    if !one.command.starts_with("sudo ") {
        return Ok(shell.run(&one.command));
    }
    let mut of_command = sessions
        .iter()
        .filter(|(_, session)| session.command == one.command);
    let first = of_command.clone().next();
    let exact = of_command.find(|(_, session)| matches(&one.output, &session.output));
    match exact.or(first) {
        Some((_, session)) => Ok(session.output.clone()),
        None => Err(format!(
            "no session in fixtures/sessions is of the command {}",
            one.command
        )),
    }
}

/// Check that each command of a page prints what stands below it, and that its pictures are those which commands draw.
fn commands(path: &Path, update: bool) -> Result<(), Failed> {
    let shell = Shell::new();
    let sessions = sessions(&shell);
    let page = fs::read_to_string(path)?;
    let mut new = String::new();
    let mut wrong = Vec::new();
    for (console, part) in blocks(&page) {
        let mut text = part.clone();
        for one in if console { shown(&part) } else { Vec::new() } {
            let output = expected(&one, &sessions, &shell)?;
            if matches(&one.output, &output) {
                continue;
            }
            if update {
                text = written(&text, &one, &output);
            } else {
                let (output, stated) = (output.join("\n"), one.output.join("\n"));
                wrong.push(format!(
                    "{} shows\n{output}\ninstead of\n{stated}",
                    one.command
                ));
            }
        }
        new += &text;
    }
    if new != page {
        fs::write(path, new)?;
    }
    for file in shell.files() {
        let drawn = fs::read(&file)?;
        let kept = Path::new(ROOT)
            .join("docs")
            .join(file.file_name().expect("a name"));
        if update {
            fs::write(&kept, drawn)?;
        } else if fs::read(&kept).ok().is_none_or(|kept| kept != drawn) {
            wrong.push(format!(
                "{} is not what a command of the page writes",
                kept.display()
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n\n").into())
    }
}

/// Check that each session of the lab is shown.
fn all_sessions() {
    let pages: String = pages()
        .iter()
        .map(|path| fs::read_to_string(path).expect("a page"))
        .collect();
    let seen: BTreeSet<String> = blocks(&pages)
        .into_iter()
        .filter(|(console, _)| *console)
        .flat_map(|(_, part)| shown(&part))
        .map(|one| one.command)
        .collect();
    let sessions = sessions(&Shell::new());
    assert!(sessions.len() > 10, "{} sessions", sessions.len());
    for (name, session) in sessions {
        assert!(
            seen.contains(&session.command),
            "no page shows the session {name}: {}",
            session.command
        );
    }
}

/// The block with what a command prints now.
fn written(block: &str, one: &Shown, output: &[String]) -> String {
    let mut lines = block.lines().peekable();
    let mut new = String::new();
    while let Some(line) = lines.next() {
        new += &format!("{line}\n");
        let Some(command) = line.strip_prefix("$ ") else {
            continue;
        };
        let mut command = command.to_owned();
        while let Some(first) = command.strip_suffix('\\') {
            let next = lines.next().unwrap_or("");
            new += &format!("{next}\n");
            command = first.trim_end().to_owned() + " " + next.trim();
        }
        if command == one.command {
            // An empty line between two commands stays.
            let mut empty = "";
            while let Some(old) = lines.next_if(|line| !line.starts_with("$ ")) {
                empty = if old.is_empty() { "\n" } else { "" };
            }
            for line in output {
                new += &format!("{line}\n");
            }
            new += if lines.peek().is_some() { empty } else { "" };
        }
    }
    new
}

/// The code spans of a page, outside of blocks.
fn spans(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut spans = Vec::new();
    for line in page.lines() {
        inside ^= line.starts_with("```");
        if !inside {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

/// Check that the tools have the options that the text names with them.
fn options() {
    let mut count = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page");
        for span in spans(&page) {
            let span = span.strip_prefix("sudo ").unwrap_or(&span);
            let mut words = span.split(' ');
            let name = words.next().unwrap_or("");
            let Some(tool) = TOOLS
                .iter()
                .find(|tool| tool.ends_with(&format!("/{name}")))
            else {
                continue;
            };
            let output = Command::new(tool)
                .arg("--help")
                .output()
                .expect("the tool starts");
            let help = String::from_utf8(output.stdout).expect("UTF-8");
            for option in words
                .take_while(|word| *word != "|")
                .filter(|word| word.starts_with('-'))
            {
                let has = help.lines().any(|line| {
                    let mut names = line
                        .trim_start()
                        .split([' ', ','])
                        .filter(|name| !name.is_empty());
                    names.any(|name| name == option) && line.trim_start().starts_with('-')
                });
                assert!(
                    has || matches!(option, "-" | "--generate"),
                    "{}: {name} has no {option}: {span}",
                    path.display()
                );
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} options");
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Check that links between pages lead somewhere.
fn links() {
    let mut count = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page");
        let page = page.replace('\n', " ") + " ";
        for target in page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            assert!(file.exists(), "{}: there is no {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&file).expect("a page");
                let has = text
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(has, "{}: no heading of {target}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 10, "{count} links");
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let update = std::env::var_os("UPDATE").is_some();
    let trial = |name: &str, check: fn()| {
        Trial::test(name, move || {
            check();
            Ok(())
        })
    };
    let mut trials = vec![
        trial("all_sessions", all_sessions),
        trial("options", options),
        trial("links", links),
    ];
    for path in pages() {
        let name = path
            .strip_prefix(ROOT)
            .expect("a page of the repository")
            .display()
            .to_string();
        let needs_jq = fs::read_to_string(&path).is_ok_and(|page| page.contains("jq -"));
        let trial = Trial::test(name, move || commands(&path, update));
        trials.push(match needs_jq && !is_installed("jq") {
            true => trial.with_kind("skipped, needs jq").with_ignored_flag(true),
            false => trial,
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
