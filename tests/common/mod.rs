//! The stand-in for ovs-vswitchd and the tools under test, as processes.
#![allow(dead_code)] // each test file uses its own part

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libtest_mimic::Trial;

/// Longer than anything takes on a machine that works at all.
const PATIENCE: Duration = Duration::from_secs(120);

pub const UPCALL_MONITOR: &str = env!("CARGO_BIN_EXE_upcall-monitor");
pub const UPCALL_COST: &str = env!("CARGO_BIN_EXE_upcall-cost");
pub const BRIDGE_LOOP: &str = env!("CARGO_BIN_EXE_bridge-loop");
pub const DPIF_OPS: &str = env!("CARGO_BIN_EXE_dpif-ops");

/// The directory of the stand-ins, built once.
pub fn standins() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/standin");
        let status = Command::new("make")
            .args(["-s", "-C"])
            .arg(source)
            .arg(format!("OUT={}", out.display()))
            .stdout(Stdio::null())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "failed to build the stand-ins: install make, gcc and systemtap-sdt-dev"
        );
        out
    })
}

/// A process whose output is read line by line, killed when the test is over.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Process {
    fn new(mut child: Child, output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        child
            .stdin
            .get_or_insert_with(|| panic!("standard input is a pipe"));
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    fn await_line(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("waited for {text:?}, and there was only:\n{}", self.seen);
            };
            self.seen += &line;
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until the process has ended, and returns all the lines.
    #[track_caller]
    fn finish(&mut self) -> (ExitStatus, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen += &line;
            self.seen.push('\n');
        }
        let status = self.child.wait().expect("a child can be waited for");
        (status, std::mem::take(&mut self.seen))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running stand-in that waits for [`StandIn::go`].
pub struct StandIn {
    process: Process,
    pub pid: u32,
}

impl StandIn {
    /// `name` is that of a binary of `fixtures/standin`.
    #[track_caller]
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(standins().join(name));
        command.args(args);
        Self::spawn(command)
    }

    /// Starts whatever runs a stand-in in the end.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .arg("--wait")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let mut process = Process::new(child, stdout);
        process.await_line("ready");
        let pid = process.child.id();
        Self { process, pid }
    }

    /// Lets it fire.
    pub fn go(&mut self) {
        let stdin = self.process.child.stdin.as_mut().expect("it is a pipe");
        writeln!(stdin).expect("the stand-in reads");
    }

    /// Waits until it has fired all it was to, and returns how many that were.
    #[track_caller]
    pub fn fired(&mut self) -> u64 {
        let line = self.process.await_line("fired ");
        line["fired ".len()..].parse().expect("a number")
    }

    /// Fires all it has, and waits for it to exit.
    #[track_caller]
    pub fn run(mut self) -> u64 {
        self.go();
        let fired = self.fired();
        let (status, _) = self.process.finish();
        assert!(status.success(), "the stand-in failed: {status}");
        fired
    }

    /// The same, and returns all that it printed.
    #[track_caller]
    pub fn run_text(mut self) -> String {
        self.go();
        let (status, text) = self.process.finish();
        assert!(status.success(), "the stand-in failed: {status}");
        text
    }
}

/// A running tool: upcall-monitor, unless another is named.
pub struct Monitor {
    process: Process,
    stdout: Option<JoinHandle<Vec<u8>>>,
}

/// What a tool that has ended left behind.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Monitor {
    /// Starts it and waits until it has attached.
    #[track_caller]
    pub fn attach(pid: u32, args: &[&str]) -> Self {
        Self::attach_tool(UPCALL_MONITOR, pid, args)
    }

    #[track_caller]
    pub fn attach_tool(tool: &str, pid: u32, args: &[&str]) -> Self {
        let mut command = Command::new(tool);
        command.args(["-p", &pid.to_string()]).args(args);
        let mut monitor = Self::spawn(command);
        monitor.process.await_line("attached");
        monitor
    }

    /// The same, but nobody reads its standard output until the result gets a `true`; if it gets a `false` or is
    /// dropped, nobody ever does.
    #[track_caller]
    pub fn attach_unread(pid: u32, args: &[&str]) -> (Self, Sender<bool>) {
        let mut command = Command::new(UPCALL_MONITOR);
        command.args(["-p", &pid.to_string()]).args(args);
        let (read, when) = channel();
        let mut monitor = Self::spawn_read(command, move || when.recv().unwrap_or(false));
        monitor.process.await_line("attached");
        (monitor, read)
    }

    #[track_caller]
    pub fn spawn(command: Command) -> Self {
        Self::spawn_read(command, || true)
    }

    /// Reads standard output once `read` returns, if it is to be read.
    #[track_caller]
    fn spawn_read(mut command: Command, read: impl FnOnce() -> bool + Send + 'static) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let mut out = child.stdout.take().expect("standard output is a pipe");
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            if read() {
                let _ = out.read_to_end(&mut bytes);
            }
            bytes
        });
        Self {
            process: Process::new(child, stderr),
            stdout: Some(stdout),
        }
    }

    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Waits for a line on standard error.
    #[track_caller]
    pub fn await_line(&mut self, text: &str) -> String {
        self.process.await_line(text)
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Waits for the end of a tool that was killed.
    pub fn await_end(&mut self) {
        self.process
            .child
            .wait()
            .expect("a child can be waited for");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let (status, stderr) = self.process.finish();
        let stdout = self.stdout.take().expect("nobody else takes it");
        let stdout = stdout.join().expect("the reader does not panic");
        Output {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr,
        }
    }
}

impl Output {
    /// The rows of the table, without its header and what is shown below a row.
    pub fn rows(&self) -> Vec<&str> {
        self.stdout
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with(' '))
            .collect()
    }

    /// The figures before `what` in the summary: `12 lost` is 12.
    #[track_caller]
    pub fn figure(&self, what: &str) -> u64 {
        let words: Vec<&str> = self.stderr.split([' ', '\n', ',', ':', '(']).collect();
        let what: Vec<&str> = what.split(' ').collect();
        let before = |position: usize| words.get(position.checked_sub(1)?)?.parse().ok();
        (0..words.len())
            .rev()
            .filter(|&position| words[position..].starts_with(&what))
            .find_map(before)
            .unwrap_or_else(|| panic!("no figure of {what:?} in:\n{}", self.stderr))
    }
}

/// Runs a command that must succeed and returns what it printed.
#[track_caller]
pub fn run(program: &str, args: &[impl AsRef<OsStr>]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .expect("the program is there");
    assert!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A test of a harness that lists it as ignored, with the reason, where one of `needs` is not met.
pub fn trial(name: &str, test: fn(), needs: &[(&str, bool)]) -> Trial {
    let trial = Trial::test(name, move || {
        test();
        Ok(())
    });
    let lacks: Vec<&str> = needs
        .iter()
        .filter(|(_, met)| !met)
        .map(|(need, _)| *need)
        .collect();
    if lacks.is_empty() {
        trial
    } else {
        trial
            .with_kind(format!("skipped, needs {}", lacks.join(" and ")))
            .with_ignored_flag(true)
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a program can be run here, with success.
pub fn succeeds(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

pub fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder
        .path()
        .join(name)
        .to_str()
        .expect("UTF-8")
        .to_string()
}

/// A folder that any user may look into, with a copy of a file.
pub fn open_folder(name: &str, file: impl AsRef<Path>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = path(&folder, name);
    fs::copy(file, &copy).unwrap();
    (folder, copy)
}

/// What a shell script writes that starts $monitor and $standin in a pid namespace of its own, where no other
/// ovs-vswitchd of this machine is.
pub fn in_pid_namespace(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
        ])
        .arg(script)
        .env("monitor", UPCALL_MONITOR)
        .env("standin", standins().join("standin"))
        .current_dir(&folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
