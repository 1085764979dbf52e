//! Why a process cannot be traced.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{process, usdt};
use crate::ovs::release::{Release, since};
use crate::show::escape::Escaped;
use crate::show::message::{cause, without_number};

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
    /// It ran when it was named, and exited before it was traced.
    #[error("process {0} has exited before it could be traced; start it again")]
    Gone(u32),
    /// The process that `--monitor` keeps to restart the daemon. It receives no upcalls.
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
    /// A kernel thread.
    #[error("process {0} runs no program: it is a kernel thread")]
    NoObjects(u32),
    /// There is no process to trace by default.
    #[error("no ovs-vswitchd is running here; start it, or name its process with -p")]
    NotFound,
    /// There are several processes that could be traced by default.
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
    /// `/proc/PID/map_files` cannot be read.
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
         rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check says more"
    )]
    NoProbes {
        /// The process.
        pid: u32,
        /// Its executable.
        path: PathBuf,
    },
    /// Sites of a probe are in code that the process has not mapped from its file, so that no uprobe can be there.
    #[error("{}\n{}", moved_fact(*pid, path, probe, *moved, *of), match moved == of {
        true => "it runs a copy, on huge pages for example, where no uprobe can be; --source kernel needs none",
        false => "it runs a copy, where no uprobe can be; --source kernel shows all, --source usdt what passes the other \
                  sites",
    })]
    Moved {
        /// The process.
        pid: u32,
        /// The file.
        path: PathBuf,
        /// `provider:name`.
        probe: String,
        /// How many sites are not mapped.
        moved: usize,
        /// How many sites the probe has.
        of: usize,
    },
    /// There are no probes, and the kernel's own functions cannot be used either.
    #[error("{probes}, and the kernel's own functions cannot be used instead: {kernel}\n{way_out}")]
    NoSource {
        /// Why there are no probes.
        probes: String,
        /// What each way to use the kernel lacks.
        kernel: String,
        /// What helps to have probes.
        way_out: String,
    },
    /// There are probes, but not this one.
    #[error(
        "process {pid} has no probe {probe}{}\nit has {}; usdt-probes -p {pid} --check says more",
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
    #[error(
        "no privilege to trace: {missing} missing\n{}; usdt-probes --check says more",
        match root {
            false => "run it as root, or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE",
            true => "this root has lost them: start its container with --privileged, or run it on the host",
        }
    )]
    Privilege { missing: String, root: bool },
    #[error(
        "no privilege to trace from within a user namespace, a rootless container's for example\n\
         run it outside of it, with -p and the id that the process has there"
    )]
    UserNamespace,
    /// A system call is refused to a process that has the capabilities for it.
    #[error(
        "{0} is not permitted here, although no capability is missing\n\
         a seccomp filter or a security module forbids it, a container's for example; allow it there, or run on the host"
    )]
    Forbidden(&'static str),
    /// Kernels of Debian and Ubuntu have levels of `kernel.perf_event_paranoid` at which CAP_PERFMON is not enough.
    #[error(
        "perf_event_open(2) takes CAP_SYS_ADMIN where kernel.perf_event_paranoid is {0}\n\
         run it as root, or give it that, too"
    )]
    Paranoid(i32),
    /// Since ba677dbe77af ("perf: Revert to requiring CAP_SYS_ADMIN for uprobes", Linux 6.16), which older ones have from
    /// their stable releases.
    #[error(
        "on this kernel ({0}) uprobes take CAP_SYS_ADMIN\n\
         run it as root, or give it that, too; from Linux 6.10 on CAP_BPF and CAP_PERFMON are enough"
    )]
    UprobePrivilege(String),
    #[error(
        "this kernel ({0}) has no BPF ring buffers\n\
         Linux 5.8 or later is needed; usdt-probes --check says more"
    )]
    NoRingBuffer(String),
    /// Which site fired, or of which process it is, would have to be told by a cookie.
    #[error(
        "this kernel ({release}) has no BPF cookies, and nothing else tells {} apart\n\
         --source kernel needs none; for the probes Linux 5.15 or later is needed",
        match several {
            true => "the sites of several processes".to_string(),
            false => format!("the sites of {probe}, whose arguments differ,"),
        }
    )]
    NoCookie {
        /// Of the running kernel.
        release: String,
        /// `provider:name`.
        probe: String,
        /// Whether several processes are to be traced.
        several: bool,
    },
    /// Before Linux 5.11 the memory of maps and programs counts as locked.
    #[error(
        "this process may lock {0} bytes of memory only, which is too little for BPF on this kernel ({1})\n\
         run it as root, or with CAP_SYS_RESOURCE, or raise the limit (ulimit -l unlimited)"
    )]
    LockedMemory(u64, String),
    #[error(
        "the kernel refused a ring buffer of {0} bytes\n\
         try a smaller --buffer-page-count"
    )]
    RingSize(usize),
    /// The kernel's verifier rejected a program.
    #[error(
        "the kernel's verifier rejected the BPF program\n\
         please report it with the output of --verbose"
    )]
    Rejected {
        /// Which one, as far as libbpf says.
        program: Option<String>,
    },
    /// The kernel is locked down, but where securityfs is not mounted it does not say so.
    #[error(
        "this kernel does not let programs read memory, as when it is locked down for confidentiality\n\
         boot it with lockdown=integrity, or without"
    )]
    Confidential {
        /// The program that reads memory, as far as libbpf says.
        program: Option<String>,
    },
    /// The BPF object cannot be opened or loaded.
    #[error(
        "the kernel refused to load the BPF program: {}\n\
         --verbose shows libbpf's messages",
        innermost(error)
    )]
    Load {
        /// The program that was refused, as far as libbpf says.
        program: Option<String>,
        /// Why.
        error: libbpf_rs::Error,
    },
    /// More ways failed than a tool should have.
    #[error("no way to trace remains; please report this with the output of --verbose")]
    NoWay,
    /// The BPF object has no `.bss` or `.rodata`.
    #[error("the BPF program has no variables to share; please report this")]
    NoVariables,
    /// A program that is declared is not in the BPF object.
    #[error("the BPF object has no program {0}; please report this")]
    NoProgram(String),
    /// There is no way to see what the tool shows.
    #[error("{what} cannot be seen: {why}\nusdt-probes --check says more")]
    Unseen {
        /// The events.
        what: &'static str,
        /// What each of the ways lacks.
        why: String,
    },
    /// An argument of a probe is given in a way that cannot be fetched.
    #[error(transparent)]
    Argument(usdt::Error),
    /// A probe has another number or kind of arguments.
    #[error(
        "{probe} has other arguments than Open vSwitch {release} and later give it: {args:?}\n\
         is this process ovs-vswitchd?"
    )]
    Arguments {
        /// `provider:name`.
        probe: String,
        /// The release that brought the probe.
        release: Release,
        /// The argument string of the site.
        args: String,
    },
    /// The sites of a probe differ more than the programs have room for.
    #[error(
        "the sites of {probe} have {count} different argument strings, and {most} can be distinguished\n\
         please report it with the output of readelf -n"
    )]
    TooManySpecs {
        /// `provider:name`.
        probe: String,
        /// Different argument strings.
        count: usize,
        /// How many of them can be distinguished.
        most: usize,
    },
    #[error(
        "failed to attach to {path}: {}\n\
         --verbose shows libbpf's messages",
        innermost(error)
    )]
    Attach {
        /// The file, or the function of the kernel.
        path: String,
        /// The program.
        program: String,
        /// Why.
        error: libbpf_rs::Error,
    },
    #[error("failed to read the ring buffer: {}", cause(.0))]
    Ring(io::Error),
}

impl Error {
    /// The first line: the fact without the way out.
    pub fn fact(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().to_string()
    }

    /// The second line, if there is one, or what else helps to have probes where the kernel cannot be used.
    pub(super) fn way_out(&self) -> String {
        match self {
            Error::Moved { moved, of, .. } if moved == of => {
                return "start it so that it does not move its code to huge pages; usdt-probes --check says more".into();
            }
            Error::Moved { .. } => {
                return "--source usdt shows what passes the other sites".into();
            }
            _ => {}
        }
        let text = self.to_string();
        text.lines()
            .nth(1)
            .unwrap_or("usdt-probes --check says more")
            .to_string()
    }

    /// That a process has exited, if one of `pids` has: whatever else is the matter with it has no other cause.
    #[must_use]
    pub(super) fn or_gone(self, pids: &[u32]) -> Self {
        match pids.iter().find(|pid| process::has_exited(**pid)) {
            Some(pid) => Error::Gone(*pid),
            None => self,
        }
    }

    pub(super) fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Permission(path.into()),
            _ => Error::Read {
                path: path.into(),
                source,
            },
        }
    }
}

/// What the system says, without the steps that libbpf-rs adds.
fn innermost(error: &libbpf_rs::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    without_number(innermost.to_string())
}

fn moved_fact(pid: u32, path: &Path, probe: &str, moved: usize, of: usize) -> String {
    match of {
        of if of == moved => {
            format!("process {pid} has the probe {probe}, but its code is not mapped from {path:?}")
        }
        of => format!(
            "process {pid} has {moved} of the {of} sites of {probe} in code that is not mapped from {path:?}"
        ),
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

impl Candidate {
    /// Whether it was started with an option for which it forks before it is a daemon: as the parent it may exit soon.
    pub fn forks(&self) -> bool {
        let mut words = self.command.split(' ');
        words.any(|word| word.starts_with("--detach") || word.starts_with("--monitor"))
    }
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
