//! The traced process: which one it is, what code it has mapped, and where a probe of it is.
//!
//! Everything is read through `/proc/PID`, so a process in a container, or one whose files have
//! been replaced by an upgrade since it started, is seen as it is and not as the path says.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::ReadCache;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cli::cause;
use crate::show::escape::Escaped;
use crate::trace::usdt::{self, Probe, Probes};

/// What `comm` of the daemon is.
const OVS_VSWITCHD: &str = "ovs-vswitchd";
/// `PF_KTHREAD` of `include/linux/sched.h`, in the flags of `/proc/PID/stat`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Providers of the C and C++ run-time libraries: that these are there says nothing of how Open
/// vSwitch was built.
const RUNTIME_PROVIDERS: [&str; 5] = ["libc", "libm", "libpthread", "libstdcxx", "rtld"];

/// Why a process cannot be traced. Each is the fact and the way out, on at most two lines.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such process.
    #[error("no process has the id {0}; -p takes that of a running ovs-vswitchd")]
    NoProcess(u32),
    /// The id is that of a thread.
    #[error("{tid} is a thread of process {pid}; use -p {pid}")]
    Thread {
        /// The id given.
        tid: u32,
        /// The process that it is a thread of.
        pid: u32,
    },
    /// A zombie.
    #[error("process {0} has exited, only its parent has not noticed yet; start it again")]
    Exited(u32),
    /// What `--monitor` leaves in the foreground: it restarts the daemon, and receives nothing.
    #[error(
        "process {pid} is the --monitor of ovs-vswitchd; use {}",
        child.map_or("the process that it watches".to_string(), |child| format!("-p {child}"))
    )]
    Monitor {
        /// The id given.
        pid: u32,
        /// The process that it watches, if its title says.
        child: Option<u32>,
    },
    /// A kernel thread, or a process that exited just now.
    #[error("process {0} runs no program: it is a kernel thread, or has just exited")]
    NoObjects(u32),
    /// Nothing to trace by default.
    #[error("no ovs-vswitchd is running here; start it, or name its process with -p")]
    NotFound,
    /// Too much to trace by default.
    #[error("several ovs-vswitchd are running, choose one with -p:\n{}", list(.0))]
    Several(Vec<Candidate>),
    /// A file of `/proc/PID` needs more privileges.
    #[error("not permitted to read {0:?}\nrun as root, or with CAP_SYS_PTRACE")]
    Permission(PathBuf),
    /// A file cannot be read for another reason.
    #[error("failed to read {path:?}: {}", cause(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file at the mapped path is another one than the process has mapped, and
    /// `/proc/PID/map_files` is closed to us.
    #[error(
        "{path:?} has been replaced or deleted since process {pid} started\n\
         run as root, or with CAP_CHECKPOINT_RESTORE, to read what the process still has mapped"
    )]
    Replaced {
        /// The process.
        pid: u32,
        /// The path as mapped.
        path: PathBuf,
    },
    /// The notes of a file cannot be read, or one of them cannot be used.
    #[error("{path:?}: {source}")]
    Usdt {
        /// The file.
        path: PathBuf,
        /// Why.
        source: usdt::Error,
    },
    /// No probe of its own in any mapped file.
    #[error(
        "process {pid} ({path:?}) was built without probes, as Debian's and Ubuntu's packages are\n\
         rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check tells more"
    )]
    NoProbes {
        /// The process.
        pid: u32,
        /// Its executable.
        path: PathBuf,
    },
    /// There are probes, but not this one.
    #[error(
        "process {pid} has no probe {probe}{}\nit has {}; usdt-probes -p {pid} --check tells more",
        since(probe), Escaped::text(&present.join(", "))
    )]
    NoProbe {
        /// The process.
        pid: u32,
        /// The probe looked for, `provider:name`.
        probe: String,
        /// The probes that there are, `provider:name`, without those of the run-time libraries.
        present: Vec<String>,
    },
}

impl Error {
    fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Permission(path.into()),
            _ => Error::Read {
                path: path.into(),
                source,
            },
        }
    }
}

/// A process that could be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub pid: u32,
    /// Its command line, arguments separated by blanks.
    pub command: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = self.command.chars().take(60).collect();
        let more = if start.len() < self.command.len() {
            "..."
        } else {
            ""
        };
        write!(f, "{} ({}{more})", self.pid, Escaped::text(&start))
    }
}

fn list(candidates: &[Candidate]) -> String {
    candidates
        .iter()
        .map(Candidate::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Which release of Open vSwitch brought the probe `provider:name`: the first tag that has it.
pub fn release(probe: &str) -> Option<&'static str> {
    match probe.split(':').next() {
        Some("main" | "dpif_recv" | "dpif_netlink_operate__") => Some("2.17"),
        Some("udpif_revalidator" | "revalidate_ukey__") => Some("3.2"),
        Some("revalidate" | "revalidator_sweep__") => Some("3.4"),
        _ => None,
    }
}

/// Which release brought the probe, as the end of a sentence.
fn since(probe: &str) -> String {
    release(probe).map_or(String::new(), |release| {
        format!(", which needs Open vSwitch {release} or later")
    })
}

/// A running process.
#[derive(Debug)]
pub struct Target {
    pid: u32,
    pidfd: OwnedFd,
}

/// Readable once the process has exited.
impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Target {
    /// The process with this id, as seen from our own pid namespace.
    ///
    /// # Errors
    /// [`Error::NoProcess`], [`Error::Thread`], [`Error::Exited`]; [`Error::Read`] where the
    /// kernel has no `pidfd_open` (before 5.3) or a sandbox forbids it.
    pub fn from_pid(pid: u32) -> Result<Self, Error> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Error::NoProcess(pid))?;
        let process = Process::read(pid).ok_or(Error::NoProcess(pid))?;
        if process.tgid != pid {
            return Err(Error::Thread {
                tid: pid,
                pid: process.tgid,
            });
        }
        if process.exited {
            return Err(Error::Exited(pid));
        }
        if process.is_monitor() {
            let child = process.watched();
            return Err(Error::Monitor { pid, child });
        }
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Target { pid, pidfd }),
            Err(rustix::io::Errno::SRCH) => Err(Error::NoProcess(pid)),
            Err(err) => Err(Error::Read {
                path: proc(pid, ""),
                source: err.into(),
            }),
        }
    }

    /// The process with this id, or else the one ovs-vswitchd that runs.
    ///
    /// # Errors
    /// Those of [`Target::from_pid`] and [`find_ovs_vswitchd`].
    pub fn find(pid: Option<u32>) -> Result<Self, Error> {
        Self::from_pid(pid.map_or_else(find_ovs_vswitchd, Ok)?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has exited.
    pub fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The inode number of its network namespace, by which the kernel's own structures tell it too.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Permission`].
    pub fn network_namespace(&self) -> Result<u32, Error> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.pid));
        let metadata = fs::metadata(&path).map_err(|err| Error::read(&path, err))?;
        Ok(u32::try_from(metadata.ino()).unwrap_or_default())
    }

    /// Every file that the process has mapped as code, once each, in the order of addresses: the
    /// executable, then its libraries.
    ///
    /// # Errors
    /// [`Error::Permission`] for another user's process, [`Error::NoProcess`] and
    /// [`Error::NoObjects`] for one that is gone, [`Error::Read`].
    pub fn objects(&self) -> Result<Vec<Object>, Error> {
        let path = proc(self.pid, "maps");
        let maps = fs::read(&path).map_err(|err| match err.kind() {
            ErrorKind::NotFound => Error::NoProcess(self.pid),
            _ => Error::read(path, err),
        })?;
        let objects = Object::list(self.pid, &maps);
        if objects.is_empty() {
            Err(Error::NoObjects(self.pid))
        } else {
            Ok(objects)
        }
    }

    /// The files that have the probe `provider:name`, and the probe: at least one, and more than
    /// one if the process has mapped several copies of a library.
    ///
    /// # Errors
    /// Those of [`Target::objects`]. If no file has the probe: what kept the first file from being
    /// read, or [`Error::Usdt`] if its note is of no use, or [`Error::NoProbes`], or
    /// [`Error::NoProbe`].
    pub fn find_probe(&self, provider: &str, name: &str) -> Result<Vec<(Object, Probe)>, Error> {
        let objects = self.objects()?;
        let executable = objects[0].path.clone();
        let mut found = Vec::new();
        let mut present = Vec::new();
        let mut failure = None;
        for object in objects {
            let Probes { probes, warnings } = match object.probes() {
                Ok(probes) => probes,
                // Code need not come from an ELF file: a JIT compiler's comes from a memfd.
                Err(Error::Usdt { .. }) => continue,
                Err(err) => {
                    failure.get_or_insert(err);
                    continue;
                }
            };
            let unusable = |warning: &usdt::Error| {
                matches!(warning, usdt::Error::Unmapped { provider: p, name: n, .. }
                    if p == provider && n == name)
            };
            if let Some(source) = warnings.into_iter().find(unusable) {
                failure.get_or_insert(Error::Usdt {
                    path: object.path.clone(),
                    source,
                });
            }
            for probe in probes {
                if probe.provider == provider && probe.name == name {
                    found.push((object.clone(), probe));
                } else if !RUNTIME_PROVIDERS.contains(&probe.provider.as_str()) {
                    present.push(format!("{}:{}", probe.provider, probe.name));
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let pid = self.pid;
        Err(match failure {
            // Its files went with it.
            Some(_) if Process::read(pid).is_none_or(|process| process.exited) => {
                Error::NoProcess(pid)
            }
            Some(failure) => failure,
            None if present.is_empty() => Error::NoProbes {
                pid,
                path: executable,
            },
            None => Error::NoProbe {
                pid,
                probe: format!("{provider}:{name}"),
                present,
            },
        })
    }
}

/// A file that a process has mapped as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pid: u32,
    /// The path as the process saw it when it mapped the file, in its own mount namespace.
    pub path: PathBuf,
    /// Whether that path no longer leads to the file: an upgrade, for one.
    pub deleted: bool,
    /// Major and minor number of the device, as in `/proc/PID/maps`; on btrfs and overlayfs not
    /// what `stat` says.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Addresses of the first executable mapping.
    pub range: Range<u64>,
}

impl Object {
    /// The distinct files of `/proc/PID/maps`.
    fn list(pid: u32, maps: &[u8]) -> Vec<Self> {
        let mut objects: Vec<Object> = Vec::new();
        for object in maps
            .split(|&b| b == b'\n')
            .filter_map(|line| Object::parse(pid, line))
        {
            let known = |o: &Object| (o.inode, o.device) == (object.inode, object.device);
            if !objects.iter().any(known) {
                objects.push(object);
            }
        }
        objects
    }

    /// Parses a line of `/proc/PID/maps` (`Documentation/filesystems/proc.rst`); `None` if it is
    /// not a file's code.
    fn parse(pid: u32, line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&b| b == b' ');
        let mut field = || str::from_utf8(fields.next()?).ok();
        let (start, end) = field()?.split_once('-')?;
        let perms = field()?;
        let _offset = field()?;
        let (major, minor) = field()?.split_once(':')?;
        let inode = field()?.parse().ok()?;
        if !perms.contains('x') || inode == 0 {
            return None;
        }
        let path = fields.next()?.trim_ascii_start();
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let hex = |digits| u32::from_str_radix(digits, 16).ok();
        let address = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Object {
            pid,
            path: unescape(path),
            deleted,
            device: (hex(major)?, hex(minor)?),
            inode,
            range: address(start)?..address(end)?,
        })
    }

    /// A path that leads the kernel, and us, to this very file for as long as the process runs:
    /// what a uprobe is attached to.
    ///
    /// # Errors
    /// [`Error::Permission`], [`Error::Replaced`], [`Error::Read`].
    pub fn attach_path(&self) -> Result<PathBuf, Error> {
        // Exact whatever has become of the path, but needs CAP_CHECKPOINT_RESTORE.
        let mapped = format!("map_files/{:x}-{:x}", self.range.start, self.range.end);
        let mapped = proc(self.pid, &mapped);
        let Err(err) = fs::metadata(&mapped) else {
            return Ok(mapped);
        };

        // The mapped file keeps its inode number to itself, so a new file at its path has another
        // one. The device must not be compared: see there.
        let root = proc(self.pid, "root");
        let rooted = root.join(self.path.strip_prefix("/").unwrap_or(&self.path));
        for path in [rooted, proc(self.pid, "exe")] {
            if fs::metadata(&path).is_ok_and(|file| file.ino() == self.inode) {
                return Ok(path);
            }
        }
        Err(match fs::read_link(&root) {
            // We may look at the process's files, so it is the path that is to blame.
            Ok(_) => Error::Replaced {
                pid: self.pid,
                path: self.path.clone(),
            },
            Err(_) => Error::read(mapped, err),
        })
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// Those of [`Object::attach_path`].
    pub fn open(&self) -> Result<File, Error> {
        let path = self.attach_path()?;
        File::open(&path).map_err(|err| Error::read(path, err))
    }

    /// Reads the probes of the file, and little else of it.
    ///
    /// # Errors
    /// Those of [`Object::open`], and [`Error::Usdt`].
    pub fn probes(&self) -> Result<Probes, Error> {
        // Not by mapping it: whoever truncates the file would kill us.
        let cache = ReadCache::new(self.open()?);
        usdt::probes(&cache).map_err(|source| Error::Usdt {
            path: self.path.clone(),
            source,
        })
    }
}

/// Undoes what `/proc/PID/maps` does to a path: a line feed in it is written `\012`.
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match rest.strip_prefix(br"\012") {
            Some(after) => (b'\n', after),
            None => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn proc(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

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
/// Looked at are the processes that call themselves so, in containers too, and those that a
/// pidfile of `$OVS_RUNDIR`, `/var/run/openvswitch` or `/run/openvswitch` names. The parent that
/// `--monitor` leaves behind to restart the daemon is none.
///
/// # Errors
/// [`Error::Read`] and [`Error::Permission`] if `/proc` cannot be listed.
pub fn ovs_vswitchds() -> Result<Vec<Candidate>, Error> {
    let unlisted = |err| Error::read("/proc", err);
    let mut candidates = Vec::new();
    let pidfiles = pidfiles();
    for entry in fs::read_dir("/proc").map_err(unlisted)? {
        let name = entry.map_err(unlisted)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Gone since it was listed, else.
        let Some(process) = Process::read(pid) else {
            continue;
        };
        if process.is_ovs_vswitchd(pidfiles.contains(&pid)) {
            candidates.push(Candidate {
                pid,
                command: process.command,
            });
        }
    }
    candidates.sort_by_key(|candidate| candidate.pid);
    Ok(candidates)
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
struct Process {
    tgid: u32,
    comm: String,
    exited: bool,
    kernel: bool,
    /// Arguments separated by blanks.
    command: String,
}

impl Process {
    /// `None` if there is no such process.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read(proc(pid, "stat")).ok()?;
        let status = fs::read(proc(pid, "status")).ok()?;
        let cmdline = fs::read(proc(pid, "cmdline")).ok()?;
        Self::parse(&stat, &status, &cmdline)
    }

    fn parse(stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        // A comm may itself have blanks and parentheses.
        let (_, after) = stat.split_once('(')?;
        let (comm, fields) = after.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        // Between them: ppid, pgrp, session, tty_nr, tpgid.
        let flags: u32 = fields.nth(5)?.parse().ok()?;
        let status = String::from_utf8_lossy(status);
        let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        let command = String::from_utf8_lossy(cmdline);
        Some(Process {
            tgid: tgid.trim_ascii().parse().ok()?,
            comm: comm.into(),
            exited: matches!(state, "Z" | "X"),
            kernel: flags & PF_KTHREAD != 0,
            command: command.trim_end_matches('\0').replace('\0', " "),
        })
    }

    /// Whether this is a daemon. A pidfile may be stale and its number in use again, so what it
    /// names must at least be called something like it (`lt-ovs-vswitchd`, say).
    fn is_ovs_vswitchd(&self, in_pidfile: bool) -> bool {
        let program = self.command.split(' ').next().unwrap_or_default();
        let named = self.comm == OVS_VSWITCHD
            || in_pidfile && (self.comm.contains(OVS_VSWITCHD) || program.contains(OVS_VSWITCHD));
        named && !self.exited && !self.kernel && !self.is_monitor()
    }

    /// Whether this is what `--monitor` leaves in the foreground: `monitor_daemon()` of lib/daemon-unix.c titles itself
    /// "ovs-vswitchd: monitoring pid 12 (healthy)", cut to the length of the original arguments.
    fn is_monitor(&self) -> bool {
        self.command.starts_with("ovs-vswitchd: ")
    }

    /// The process that a monitor watches, if its title has room for that.
    fn watched(&self) -> Option<u32> {
        let (_, title) = self.command.split_once("monitoring pid ")?;
        let (child, _) = title.split_once(' ')?;
        child.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that code of files is listed, once for each file, and nothing else.
    ///
    /// Put together from `/proc/PID/maps` of several processes on Linux 6.18; addresses of the
    /// first line as on arm, with 32 bits.
    #[test]
    fn maps() {
        let maps = br"
00010000-00012000 r-xp 00000000 fd:01 11                                 /usr/sbin/ovs-vswitchd
00012000-00013000 r--p 00002000 fd:01 11                                 /usr/sbin/ovs-vswitchd
00013000-00014000 r-xp 00003000 fd:01 11                                 /usr/sbin/ovs-vswitchd
55d0c2a5a000-55d0c2a7b000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 r--p 00000000 fd:01 12                         /usr/lib/locale/C.utf8
7f0000001000-7f0000002000 r-xp 00001000 00:1f 11                         /a b (deleted) c (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0
7f0000003000-7f0000004000 r-xs 00000000 00:01 1033                       /memfd:a\012b (deleted)
7ffd4a5f2000-7ffd4a5f4000 r-xp 00000000 00:00 0                          [vdso]
7f0000005000-7f000000600
";
        let object = |path: &str, deleted, device, inode, range| {
            let path = path.into();
            Object {
                pid: 7,
                path,
                deleted,
                device,
                inode,
                range,
            }
        };
        assert_eq!(
            Object::list(7, maps),
            [
                object(
                    "/usr/sbin/ovs-vswitchd",
                    false,
                    (0xfd, 1),
                    11,
                    0x10000..0x12000
                ),
                object(
                    "/a b (deleted) c",
                    true,
                    (0, 0x1f),
                    11,
                    0x7f0000001000..0x7f0000002000
                ),
                object(
                    "/memfd:a\nb",
                    true,
                    (0, 1),
                    1033,
                    0x7f0000003000..0x7f0000004000
                ),
            ]
        );
    }

    /// Check that a process is known whatever its name, and which ones are daemons.
    ///
    /// `stat` as on Linux 6.18, cut after its flags; the command line of the monitor is OVS's.
    #[test]
    fn daemons() {
        let process = |comm: &str, state: &str, flags: u32, command: &str| {
            let stat = format!("12 ({comm}) {state} 1 12 12 0 -1 {flags} 0");
            let status = b"Name:\tx\nUmask:\t0022\nTgid:\t12\nPid:\t12\n";
            Process::parse(stat.as_bytes(), status, command.as_bytes()).unwrap()
        };
        let odd = process("a) Z (b", "S", 0, "x\0-y\0\0");
        assert_eq!(
            (odd.comm.as_str(), odd.exited, odd.tgid),
            ("a) Z (b", false, 12)
        );
        assert_eq!(odd.command, "x -y");

        let usual = "ovs-vswitchd\0unix:/run/openvswitch/db.sock\0";
        let monitor = "ovs-vswitchd: monitoring pid 13 (healthy)\0\0\0";
        for (comm, state, flags, command, anyhow, in_pidfile) in [
            ("ovs-vswitchd", "S", 0x40_0140, usual, true, true),
            ("ovs-vswitchd", "S", 0x40_0140, monitor, false, false),
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
            let process = process(comm, state, flags, command);
            assert_eq!(process.is_ovs_vswitchd(false), anyhow, "{process:?}");
            assert_eq!(process.is_ovs_vswitchd(true), in_pidfile, "{process:?}");
        }
        assert!(Process::parse(b"", b"", b"").is_none());
    }
}
