//! Processes: what `/proc` says of one, and which of them are ovs-vswitchd.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{Candidate, Error};

/// The daemon's `comm`.
const OVS_VSWITCHD: &str = "ovs-vswitchd";

/// Of `include/linux/sched.h`, in the flags of `/proc/PID/stat`.
const PF_EXITING: u32 = 0x0000_0004;
const PF_KTHREAD: u32 = 0x0020_0000;

/// Finds the one ovs-vswitchd that runs here.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Several`]; those of [`ovs_vswitchds`].
pub fn find_ovs_vswitchd() -> Result<u32, Error> {
    only(ovs_vswitchds()?)
}

/// The only one of these.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Several`].
pub fn only(candidates: Vec<Candidate>) -> Result<u32, Error> {
    match candidates.as_slice() {
        [] => Err(Error::NotFound),
        [one] => Ok(one.pid),
        _ => Err(Error::Several(candidates)),
    }
}

/// Every ovs-vswitchd that runs here, in the order of their ids.
///
/// It looks at the processes that have this name, in containers too, and at those that a pidfile of
/// `$OVS_RUNDIR`, `/var/run/openvswitch` or `/run/openvswitch` names. The parent processes are
/// none of them: that which `--monitor` keeps to restart the daemon, and that which waits with
/// `--detach` until the daemon is ready.
///
/// # Errors
/// [`Error::Read`] and [`Error::Permission`] if `/proc` cannot be listed, or if a process cannot be read and none of the
/// others is one: then that one may be.
pub fn ovs_vswitchds() -> Result<Vec<Candidate>, Error> {
    let unlisted = |err| Error::read("/proc", err);
    let mut named = Vec::new();
    let mut unread = None;
    let pidfiles = pidfiles();
    for entry in fs::read_dir("/proc").map_err(unlisted)? {
        let name = entry.map_err(unlisted)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let process = match Process::look_at(pid) {
            Ok(Some(process)) => process,
            // It has exited since it was listed.
            Ok(None) => continue,
            Err(error) => {
                unread.get_or_insert(error);
                continue;
            }
        };
        if process.is_named_so(pidfiles.contains(&pid)) {
            named.push((pid, process));
        }
    }
    named.sort_by_key(|(pid, _)| *pid);
    let daemons = daemons(named);
    match unread {
        Some(error) if daemons.is_empty() => Err(error),
        _ => Ok(daemons),
    }
}

/// Those that are daemons among processes that have its name.
///
/// A process that has one of them as its child is none: `daemonize_start()` of lib/daemon-unix.c forks, for `--detach`
/// and then for `--monitor`, before it forbids the daemon ever to do so.
fn daemons(named: Vec<(u32, Process)>) -> Vec<Candidate> {
    let parents: Vec<u32> = named.iter().map(|(_, process)| process.parent).collect();
    let daemons = named
        .into_iter()
        .filter(|(pid, process)| !process.is_monitor() && !parents.contains(pid));
    let candidate = |(pid, process): (u32, Process)| Candidate {
        pid,
        command: process.command,
    };
    daemons.map(candidate).collect()
}

/// Whether a process has exited, or is about to, so that little of it can be read any more.
pub(super) fn has_exited(pid: u32) -> bool {
    let process = Process::look_at(pid);
    process.is_ok_and(|process| process.is_none_or(|process| process.exited))
}

/// The processes that the pidfiles name.
fn pidfiles() -> Vec<u32> {
    let rundir = std::env::var_os("OVS_RUNDIR").map(PathBuf::from);
    let usual = ["/var/run/openvswitch", "/run/openvswitch"].map(PathBuf::from);
    rundir
        .into_iter()
        .chain(usual)
        .filter_map(|dir| fs::read_to_string(dir.join("ovs-vswitchd.pid")).ok())
        .filter_map(|pid| pid.trim_ascii().parse().ok())
        .collect()
}

/// What `/proc/PID` says of a process to anyone.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) tgid: u32,
    parent: u32,
    comm: String,
    /// Or is about to: it has no memory and no files any more, or loses them now.
    pub(super) exited: bool,
    kernel: bool,
    /// Arguments separated by blanks.
    command: String,
}

impl Process {
    /// `None` if there is no such process.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Permission`] if that cannot be told, as where `/proc` is mounted with hidepid=1.
    pub(super) fn look_at(pid: u32) -> Result<Option<Self>, Error> {
        let read = |file| match fs::read(proc(pid, file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::read(proc(pid, file), error)),
        };
        let (Some(stat), Some(status), Some(cmdline)) =
            (read("stat")?, read("status")?, read("cmdline")?)
        else {
            return Ok(None);
        };
        Ok(Self::parse(&stat, &status, &cmdline))
    }

    pub(super) fn parse(stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        // A comm may itself have blanks and parentheses.
        let (_, after) = stat.split_once('(')?;
        let (comm, fields) = after.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // Between them: pgrp, session, tty_nr, tpgid.
        let flags: u32 = fields.nth(4)?.parse().ok()?;
        let status = String::from_utf8_lossy(status);
        let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        let command = String::from_utf8_lossy(cmdline);
        Some(Process {
            tgid: tgid.trim_ascii().parse().ok()?,
            parent,
            comm: comm.into(),
            exited: matches!(state, "Z" | "X") || flags & PF_EXITING != 0,
            kernel: flags & PF_KTHREAD != 0,
            command: command.trim_end_matches('\0').replace('\0', " "),
        })
    }

    /// Whether this has the name of a daemon, as it has itself and its parents. A pidfile may be stale and its number
    /// in use again, so what it names must at least be called something like it (`lt-ovs-vswitchd`, say).
    pub(super) fn is_named_so(&self, in_pidfile: bool) -> bool {
        let program = self.command.split(' ').next().unwrap_or_default();
        let named = self.comm == OVS_VSWITCHD
            || in_pidfile && (self.comm.contains(OVS_VSWITCHD) || program.contains(OVS_VSWITCHD));
        named && !self.exited && !self.kernel
    }

    /// Whether this is the process that `--monitor` keeps: `monitor_daemon()` of lib/daemon-unix.c titles itself
    /// "ovs-vswitchd: monitoring pid 12 (healthy)", cut to the length of the original arguments.
    pub(super) fn is_monitor(&self) -> bool {
        self.command.starts_with("ovs-vswitchd: ")
    }

    /// The process that a monitor watches, if its title has room for that.
    pub(super) fn watched(&self) -> Option<u32> {
        let (_, title) = self.command.split_once("monitoring pid ")?;
        let (child, _) = title.split_once(' ')?;
        child.parse().ok()
    }
}

/// Whether a file of `/proc/PID` cannot be read because the process has exited.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The program that a process runs.
#[derive(Debug)]
pub(super) struct Program {
    /// As the process saw it, in its own mount namespace.
    pub(super) path: PathBuf,
    /// Whether that path no longer leads to it.
    pub(super) deleted: bool,
    pub(super) inode: u64,
}

impl Program {
    /// By `/proc/PID/exe`, which needs no part of the file to be mapped. `None` of a kernel thread, or if the process
    /// has exited or is another user's.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let exe = proc(pid, "exe");
        let path = fs::read_link(&exe).ok()?;
        let bytes = path.as_os_str().as_bytes();
        let (path, deleted) = match bytes.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (bytes, false),
        };
        Some(Self {
            path: PathBuf::from(OsStr::from_bytes(path)),
            deleted,
            inode: fs::metadata(&exe).ok()?.ino(),
        })
    }
}

/// The id that a process has in its own pid namespace, if that is not the one of this `/proc`.
///
/// # Errors
/// [`Error::Gone`], [`Error::Read`], [`Error::Permission`].
pub(super) fn inner_id(pid: u32) -> Result<Option<u32>, Error> {
    let path = proc(pid, "status");
    let status = fs::read(&path).map_err(|error| match is_gone(&error) {
        true => Error::Gone(pid),
        false => Error::read(path, error),
    })?;
    // The name of a process is of any bytes.
    Ok(inner_of(&String::from_utf8_lossy(&status)))
}

/// From `NSpid:` of `/proc/PID/status`, which has its id here and in each namespace down to its own.
pub(super) fn inner_of(status: &str) -> Option<u32> {
    let mut lines = status.lines();
    let ids = lines.find_map(|line| line.strip_prefix("NSpid:"))?;
    let (_, inner) = ids.trim().split_once(char::is_whitespace)?;
    inner.split_whitespace().last()?.parse().ok()
}

/// A file of `/proc/PID`.
pub(super) fn proc(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process whose parent is `parent`. `stat` as on Linux 6.18, cut after its flags.
    fn process(comm: &str, state: &str, parent: u32, flags: u32, command: &str) -> Process {
        let stat = format!("12 ({comm}) {state} {parent} 12 12 0 -1 {flags} 0");
        let status = b"Name:\tx\nUmask:\t0022\nTgid:\t12\nPid:\t12\n";
        Process::parse(stat.as_bytes(), status, command.as_bytes()).unwrap()
    }

    const USUAL: &str = "ovs-vswitchd\0unix:/run/openvswitch/db.sock\0";
    const MONITOR: &str = "ovs-vswitchd: monitoring pid 13 (healthy)\0\0\0";

    /// Check that a process is known whatever its name, and which ones are daemons.
    ///
    /// The command line of the monitor is OVS's.
    #[test]
    fn names() {
        let odd = process("a) Z (b", "S", 7, 0, "x\0-y\0\0");
        assert_eq!(
            (odd.comm.as_str(), odd.exited, odd.tgid, odd.parent),
            ("a) Z (b", false, 12, 7)
        );
        assert_eq!(odd.command, "x -y");
        // It has given up its memory, but is not a zombie yet.
        assert!(process("x", "R", 1, 0x40_0144, "").exited);

        for (comm, state, flags, command, anyhow, in_pidfile) in [
            ("ovs-vswitchd", "S", 0x40_0140, USUAL, true, true),
            ("ovs-vswitchd", "S", 0x40_0140, MONITOR, false, false),
            ("ovs-vswitchd", "Z", 0x40_014c, "", false, false),
            ("ovs-vswitchd", "S", 0x20_8040, "", false, false),
            (
                "lt-ovs-vswitchd",
                "R",
                0,
                "/src/.libs/lt-ovs-vswitchd\0",
                false,
                true,
            ),
            (
                "memcheck-amd64-",
                "R",
                0,
                "/src/ovs-vswitchd\0--pidfile\0",
                false,
                true,
            ),
            ("grep", "R", 0, "grep\0ovs-vswitchd\0", false, false),
        ] {
            for (named_in_pidfile, expected) in [(false, anyhow), (true, in_pidfile)] {
                let process = process(comm, state, 1, flags, command);
                let text = format!("{process:?}");
                let named = process
                    .is_named_so(named_in_pidfile)
                    .then_some((12, process));
                let found = daemons(named.into_iter().collect());
                assert_eq!(found.len(), usize::from(expected), "{text}");
            }
        }
        assert!(Process::parse(b"", b"", b"").is_none());
    }

    /// Check that a process which waits for its child is no daemon, with `--detach`, `--monitor` and both, at each step
    /// of the start of one of two daemons, and that another daemon is one meanwhile.
    #[test]
    fn parents() {
        let found = |processes: &[(u32, u32, &str)]| -> Vec<u32> {
            let named = processes.iter().map(|(pid, parent, command)| {
                let process = process("ovs-vswitchd", "S", *parent, 0, command);
                (*pid, process)
            });
            let other = (90, process("ovs-vswitchd", "S", 1, 0, USUAL));
            let found = daemons(named.chain([other]).collect());
            found.into_iter().map(|daemon| daemon.pid).collect()
        };
        let (parent, monitor) = ((12, 7, USUAL), (13, 12, USUAL));
        assert_eq!(found(&[parent]), [12, 90]);
        assert_eq!(found(&[parent, (13, 12, USUAL)]), [13, 90]);
        assert_eq!(found(&[(13, 1, USUAL)]), [13, 90]);
        assert_eq!(found(&[parent, monitor, (14, 13, USUAL)]), [14, 90]);
        let monitor = (13, 12, MONITOR);
        assert_eq!(found(&[parent, monitor, (14, 13, USUAL)]), [14, 90]);
        assert_eq!(found(&[(13, 1, MONITOR), (14, 13, USUAL)]), [14, 90]);
        for (options, forks) in [
            ("--pidfile --detach", true),
            ("--monitor=yes", true),
            ("--pidfile", false),
        ] {
            let command = format!("ovs-vswitchd {options}");
            assert_eq!(Candidate { pid: 1, command }.forks(), forks, "{options}");
        }
    }

    /// Check that a process has another id only in a pid namespace of its own. The lines are those of Linux 6.18.
    #[test]
    fn inner_ids() {
        for (line, inner) in [
            ("NSpid:\t5030", None),
            ("NSpid:\t5030\t1", Some(1)),
            ("NSpid:\t5030\t7\t2", Some(2)),
            ("NSpid:", None),
            ("Pid:\t5030", None),
        ] {
            let status = format!("Name:\tx\n{line}\nNSpgid:\t5030\t9\n");
            assert_eq!(inner_of(&status), inner, "{line}");
        }
    }
}
