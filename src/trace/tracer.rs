//! Attaching BPF programs to the USDT probes of a process, and draining their ring buffer.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libbpf_rs::libbpf_sys::{
    PERF_COUNT_SW_TASK_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_SOFTWARE, perf_event_attr,
};
use libbpf_rs::{
    ErrorKind, Link, MapCore, MapType, ObjectBuilder, PrintLevel, ProgramMut, ProgramType,
    RingBufferBuilder, UprobeMultiOpts, UprobeOpts, set_print,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::cli::{cause, note};
use crate::ovs::ports;
use crate::trace::target::{self, Object, Target};
use crate::trace::usdt::Site;

/// How often the ring is drained. The traced thread wakes nobody: see `bpf/ring.bpf.h`.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// Records between two looks at the signals, the clock and the target.
const BATCH: usize = 4096;

/// Why nothing can be traced. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no privilege to trace: {missing} missing\n{}; usdt-probes --check tells more",
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
    #[error(
        "this kernel ({0}) has no BPF ring buffers\n\
         Linux 5.8 or later is needed; usdt-probes --check tells more"
    )]
    NoRingBuffer(String),
    #[error(
        "the probe's sites differ in their arguments, and this kernel ({0}) has no BPF cookies to tell them apart\n\
         Linux 5.15 or later is needed"
    )]
    NoCookie(String),
    #[error(
        "the kernel refused a ring buffer of {0} bytes\n\
         try a smaller --buffer-page-count"
    )]
    RingSize(usize),
    #[error(
        "the kernel's verifier rejected the BPF program\n\
         please report it with the output of --verbose"
    )]
    Rejected,
    #[error("the kernel refused to load the BPF program: {0}\n--verbose shows libbpf's messages")]
    Load(libbpf_rs::Error),
    #[error(
        "failed to attach to {path}: {error}\n\
         --verbose shows libbpf's messages"
    )]
    Attach {
        path: String,
        error: libbpf_rs::Error,
    },
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error("failed to read the ring buffer: {}", cause(.0))]
    Ring(io::Error),
}

/// What libbpf printed. A rejected program makes it print the verifier's whole log, which is for a bug report only.
static LIBBPF_LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const LIBBPF_LOG_MAX: usize = 1 << 20;

/// Keeps libbpf's messages from stderr; [`libbpf_log`] has them.
fn capture_libbpf_log() {
    fn keep(_level: PrintLevel, message: String) {
        if let Ok(mut log) = LIBBPF_LOG.lock() {
            log.extend_from_slice(message.as_bytes());
            let excess = log.len().saturating_sub(LIBBPF_LOG_MAX);
            log.drain(..excess);
        }
    }
    set_print(Some((PrintLevel::Info, keep)));
}

/// Runs a trace with libbpf's messages kept from stderr; if it fails and `verbose` is set they are shown.
pub fn with_libbpf_log<T, E>(verbose: bool, trace: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    capture_libbpf_log();
    let result = trace();
    if result.is_err() && verbose {
        eprint!("{}", libbpf_log());
    }
    result
}

/// The end of what libbpf said so far.
pub fn libbpf_log() -> String {
    let log = LIBBPF_LOG.lock().map(|log| log.clone()).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// The same, and forgets it, so that it explains nothing that fails later.
pub fn take_libbpf_log() -> String {
    let log = libbpf_log();
    if let Ok(mut kept) = LIBBPF_LOG.lock() {
        kept.clear();
    }
    log
}

/// `PROC_USER_INIT_INO` of `include/linux/proc_ns.h`: the inode number of the user namespace in which privileges count.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Fails if the process lacks what loading a program takes, since the kernel would only say `EPERM`.
pub fn check_privilege() -> Result<(), Error> {
    if fs::metadata("/proc/self/ns/user")
        .is_ok_and(|namespace| namespace.ino() != INITIAL_USER_NAMESPACE)
    {
        return Err(Error::UserNamespace);
    }
    let has = rustix::thread::capabilities(None)
        .map(|sets| sets.effective)
        .unwrap_or(CapabilitySet::empty());
    if has.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    let missing: Vec<_> = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
    ]
    .into_iter()
    .filter(|(capability, _)| !has.contains(*capability))
    .map(|(_, name)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let verb = if missing.len() == 1 { " is" } else { " are" };
    Err(Error::Privilege {
        missing: missing.join(" and ") + verb,
        root: rustix::process::geteuid().is_root(),
    })
}

/// Gives up, for good, all privileges but `keep`: what is attached stays so. For [`Delivery::Ready`].
///
/// Of this thread, which is to be the only one. What the system does not let go of, a sandbox for example, is said and
/// no reason to stop.
pub fn drop_privilege(keep: CapabilitySet) {
    let dropped = || -> rustix::io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        let permitted = rustix::thread::capabilities(None)?.permitted;
        let mut keep = keep;
        // It stood for these before they were there, and still does.
        let parts = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::CHECKPOINT_RESTORE;
        if !permitted.contains(keep & parts) {
            keep |= CapabilitySet::SYS_ADMIN;
        }
        for capability in CapabilitySet::all().difference(keep).iter() {
            // That takes CAP_SETPCAP. Without it they stay where only a program that is started could take them.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
        rustix::thread::clear_ambient_capability_set()?;
        let keep = keep.intersection(permitted);
        let sets = CapabilitySets {
            effective: keep,
            permitted: keep,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets)
    };
    if let Err(error) = dropped() {
        note(format_args!(
            "warning: failed to give up privileges: {}",
            cause(&error.into())
        ));
    }
}

/// What is missing for programs on the datapath's side; `own_types` says that they read structures of the module
/// openvswitch, and not only the kernel's.
pub fn check_datapath(own_types: bool) -> Result<(), String> {
    let exists = |path: &str| Path::new(path).exists();
    if !ports::has_kernel_datapath().unwrap_or(true) {
        return Err("the kernel's module openvswitch is not loaded".to_string());
    }
    if !has_kernel_btf() {
        return Err("this kernel has no type information (CONFIG_DEBUG_INFO_BTF)".to_string());
    }
    // If it is no module, its types are with the kernel's.
    if !own_types || !exists("/sys/module/openvswitch") {
        return Ok(());
    }
    if !exists("/sys/kernel/btf/openvswitch") {
        return Err("the module openvswitch has no type information".to_string());
    }
    // Their ids are for it alone: bpf_obj_get_next_id() of kernel/bpf/syscall.c.
    let may_read = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if !may_read {
        return Err(
            "CAP_SYS_ADMIN is missing, without which a module's types cannot be read".to_string(),
        );
    }
    Ok(())
}

/// The bytes of a ring of at least `pages` pages: a power of two of them, as the kernel demands.
pub fn ring_size(pages: u32) -> usize {
    (pages.max(1) as usize).next_power_of_two() * rustix::param::page_size()
}

/// That size as the kernel takes it.
pub fn max_entries(ring_bytes: usize) -> Result<u32, Error> {
    u32::try_from(ring_bytes).map_err(|_| Error::RingSize(ring_bytes))
}

/// Whether to attach by one uprobe-multi link rather than by one perf event a site.
///
/// Links of this kind came with Linux 6.6, but took the process for a thread until 46ba0e49b642 ("bpf: fix
/// multi-uprobe PID filtering logic", Linux 6.10).
pub fn has_uprobe_multi() -> bool {
    kernel_version() >= (6, 10)
}

/// Whether a program can know the site that fired: `bpf_get_attach_cookie()` on uprobes came with Linux 5.15
/// (82e6b1eee6a8, "bpf: Allow to specify user-provided bpf_cookie for BPF perf links").
pub fn has_cookie() -> bool {
    ProgramType::Kprobe
        .is_helper_supported(libbpf_sys::BPF_FUNC_get_attach_cookie)
        .unwrap_or(true)
}

/// Major and minor number of the running kernel.
pub fn kernel_version() -> (u32, u32) {
    let release = kernel_release();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Whether this kernel tells of its types (CONFIG_DEBUG_INFO_BTF), which programs on its own functions need.
pub fn has_kernel_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// What libbpf takes for the types of a kernel that does not tell of them: none at all.
///
/// It asks for them as soon as any program of an object is relocated by them, even if that is not loaded.
pub struct NoTypes {
    /// libbpf opens it by its number, when it loads the object.
    _file: OwnedFd,
}

impl NoTypes {
    /// Makes it the types that an object is loaded with, as long as the result lives, if the kernel has none.
    pub fn stand_in(builder: &mut ObjectBuilder) -> Result<Option<Self>, Error> {
        if has_kernel_btf() {
            return Ok(None);
        }
        // `struct btf_header` of linux/btf.h, then the one string that there must be, an empty one.
        #[rustfmt::skip]
        let empty = [
            0x9f, 0xeb, 1, 0, 24, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 1, 0, 0, 0,
            0,
        ];
        let create = || -> rustix::io::Result<OwnedFd> {
            let file = memfd_create("btf", MemfdFlags::CLOEXEC)?;
            rustix::io::write(&file, &empty)?;
            Ok(file)
        };
        let file = create().map_err(|error| Error::Load(io::Error::from(error).into()))?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        builder.btf_custom_path(path).map_err(Error::Load)?;
        Ok(Some(Self { _file: file }))
    }
}

/// What a failed load means.
pub fn explain_load(error: libbpf_rs::Error, ring_bytes: usize) -> Error {
    let log = libbpf_log();
    // A sandbox that forbids the question makes the answer no.
    if kernel_version() < (5, 8) && !MapType::RingBuf.is_supported().unwrap_or(true) {
        Error::NoRingBuffer(kernel_release())
    } else if log.contains("BEGIN PROG LOAD LOG") {
        Error::Rejected
    } else if log.contains("map 'ring': failed to create")
        && ["-ENOMEM", "-EINVAL", "-E2BIG"]
            .iter()
            .any(|errno| log.contains(errno))
    {
        Error::RingSize(ring_bytes)
    } else {
        Error::Load(error)
    }
}

/// Attaches `program` to sites of `object` in process `pid`, each with its cookie.
///
/// `multi` says that the program was loaded for uprobe-multi.
pub fn attach(
    program: &ProgramMut<'_>,
    multi: bool,
    pid: u32,
    object: &Object,
    sites: &[(Site, u64)],
) -> Result<Vec<Link>, Error> {
    let path = object.attach_path()?;
    let pid = pid.cast_signed();
    let semaphore = |site: &Site| site.semaphore.unwrap_or(0) as usize;
    let links = if multi {
        let opts = UprobeMultiOpts {
            offsets: sites.iter().map(|(site, _)| site.offset as usize).collect(),
            ref_ctr_offsets: sites.iter().map(|(site, _)| semaphore(site)).collect(),
            cookies: sites.iter().map(|(_, cookie)| *cookie).collect(),
            ..Default::default()
        };
        program
            .attach_uprobe_multi_with_opts(pid, &path, "", opts)
            .map(|link| vec![link])
    } else {
        sites
            .iter()
            .map(|(site, cookie)| {
                let opts = UprobeOpts {
                    ref_ctr_offset: semaphore(site),
                    cookie: *cookie,
                    ..Default::default()
                };
                program.attach_uprobe_with_opts(pid, &path, site.offset as usize, opts)
            })
            .collect()
    };
    links.map_err(|error| Error::Attach {
        path: object.path.display().to_string(),
        error,
    })
}

/// A clock that samples thread `tid` every `period` of the time that it is on a CPU, for a program of type perf_event.
pub fn thread_clock(tid: u32, period: Duration) -> io::Result<OwnedFd> {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: PERF_COUNT_SW_TASK_CLOCK.into(),
        ..Default::default()
    };
    attr.__bindgen_anon_1.sample_period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: the kernel reads as many bytes of `attr` as its field `size` says, and returns a new descriptor or -1.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            tid.cast_signed(),
            any_cpu,
            no_group,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        );
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The variables of `bpf/ring.bpf.h`, which the program shares.
pub struct RingState<'a> {
    pub sleeping: &'a AtomicU64,
    pub lost: &'a [AtomicU64],
}

impl<'a> RingState<'a> {
    pub fn new(sleeping: &'a mut u64, lost: &'a mut [u64]) -> Self {
        Self {
            sleeping: &shared(std::slice::from_mut(sleeping))[0],
            lost: shared(lost),
        }
    }
}

/// Variables of a BPF program's `.bss`, which the kernel changes while we look.
pub fn shared(variables: &mut [u64]) -> &[AtomicU64] {
    // SAFETY: the layout is the same, and whoever writes them, here and in the kernel, does so atomically. The slice
    // was borrowed for as long as the result lives, so that nobody here sees them as plain numbers meanwhile.
    unsafe { std::slice::from_raw_parts(variables.as_mut_ptr().cast(), variables.len()) }
}

/// What a ring hands out.
pub enum Delivery<'a> {
    /// The ring is mapped: before Linux 5.19 that took CAP_BPF, which nothing here does any more.
    Ready,
    /// Records may follow. What is known of the world by now is known to them.
    Wake,
    Record(&'a [u8]),
    /// Nothing waits any more, or a batch is done. Counts of all that was lost so far, by reason.
    Pause {
        lost: &'a [u64],
    },
}

/// Why draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever took the records has enough.
    Enough,
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    TimeOut,
    /// All targets have.
    TargetExited,
}

/// What ends a trace, besides the exit of its targets.
pub struct Until {
    signals: UnixStream,
    deadline: Option<Instant>,
}

impl Until {
    /// Takes the handling of SIGINT, SIGTERM and SIGHUP: the first ends the drain, a second one the process. A
    /// SIGHUP that is ignored, as under nohup, stays so.
    pub fn new(duration: Option<Duration>) -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use std::sync::Arc;
        use std::sync::atomic::AtomicBool;

        let (signals, handler) = UnixStream::pair()?;
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && ignored_signals() >> (SIGHUP - 1) & 1 == 1 {
                continue;
            }
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&seen))?;
            signal_hook::flag::register(signal, Arc::clone(&seen))?;
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Self {
            signals,
            // A time beyond what the clock can say is never reached.
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        })
    }

    /// Sleeps for `interval`, unless something ends the trace.
    pub fn sleep(&self, interval: Duration) -> io::Result<Option<End>> {
        self.wait(None, &mut Vec::new(), interval)
    }

    /// Sleeps until the ring wakes us, the next drain is due, or something ends the drain: that the last of `targets`
    /// exits, for example. Those that have exited are taken out.
    fn wait(
        &self,
        ring: Option<BorrowedFd<'_>>,
        targets: &mut Vec<&Target>,
        interval: Duration,
    ) -> io::Result<Option<End>> {
        let mut timeout = interval;
        if let Some(deadline) = self.deadline {
            timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
        }
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(
            targets
                .iter()
                .map(|target| PollFd::new(*target, PollFlags::IN)),
        );
        fds.extend(ring.map(|ring| PollFd::from_borrowed_fd(ring, PollFlags::IN)));
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut fds, timeout.as_ref()) {
            // A signal that is not ours, such as SIGCONT.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let signal = !fds[0].revents().is_empty();
        let exited: Vec<bool> = fds[1..][..targets.len()]
            .iter()
            .map(|fd| !fd.revents().is_empty())
            .collect();
        let had_targets = !targets.is_empty();
        let mut exited = exited.into_iter();
        targets.retain(|_| exited.next() != Some(true));
        Ok(if signal {
            Some(End::Signal)
        } else if had_targets && targets.is_empty() {
            Some(End::TargetExited)
        } else if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            Some(End::TimeOut)
        } else {
            None
        })
    }
}

/// A bit for each signal that this process ignores, that of signal 1 the lowest.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Hands the records of `ring` to `deliver` until something ends it; then detaches `links` and hands out what is left.
///
/// If it was `deliver` that ended it, what is left is only counted: the second result is how many records that were.
pub fn drain(
    ring: &dyn MapCore,
    state: &RingState<'_>,
    until: &Until,
    targets: &[&Target],
    links: Vec<Link>,
    deliver: &mut dyn FnMut(Delivery<'_>) -> ControlFlow<()>,
) -> Result<(End, u64), Error> {
    const STOP: i32 = -1;
    let deliver = RefCell::new(deliver);
    // Set when `deliver` has enough; then records are counted and not delivered.
    let enough = Cell::new(false);
    let left = Cell::new(0);
    let mut builder = RingBufferBuilder::new();
    let buffer = builder
        .add(ring, |record: &[u8]| {
            if enough.get() {
                left.set(left.get() + 1);
                return 0;
            }
            match deliver.borrow_mut()(Delivery::Record(record)) {
                ControlFlow::Continue(()) => 0,
                ControlFlow::Break(()) => {
                    enough.set(true);
                    STOP
                }
            }
        })
        .map(|_| ())
        .and_then(|()| builder.build())
        .map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => Error::RingSize(ring.max_entries() as usize),
            _ => Error::Ring(io::Error::other(error)),
        })?;
    // SAFETY: the descriptor belongs to `buffer`, which outlives this borrow of it.
    let ring_fd = unsafe { BorrowedFd::borrow_raw(buffer.epoll_fd()) };

    let mut targets = targets.to_vec();
    let mut lost = vec![0; state.lost.len()];
    // Returns how many records there were.
    let mut consume = || -> Result<usize, Error> {
        let wake = deliver.borrow_mut()(Delivery::Wake);
        enough.set(enough.get() || wake.is_break());
        let consumed = buffer.consume_raw_n(BATCH);
        if consumed < 0 && consumed != STOP {
            return Err(Error::Ring(io::Error::from_raw_os_error(-consumed)));
        }
        for (count, shared) in lost.iter_mut().zip(state.lost) {
            *count = shared.load(Relaxed);
        }
        let pause = deliver.borrow_mut()(Delivery::Pause { lost: &lost });
        enough.set(enough.get() || pause.is_break());
        // One at least, if it stopped in between.
        Ok(usize::try_from(consumed).unwrap_or(1))
    };

    let ready = deliver.borrow_mut()(Delivery::Ready);
    enough.set(ready.is_break());
    let end = loop {
        let consumed = consume()?;
        if enough.get() {
            break End::Enough;
        }
        let mut interval = Duration::ZERO;
        if consumed < BATCH {
            // Whatever came since is in the ring for the next drain, or fills it and wakes us.
            state.sleeping.store(1, Relaxed);
            interval = DRAIN_INTERVAL;
        }
        let end = until
            .wait(Some(ring_fd), &mut targets, interval)
            .map_err(Error::Ring)?;
        state.sleeping.store(0, Relaxed);
        if let Some(end) = end {
            break end;
        }
    };
    drop(links);
    while consume()? > 0 {}
    Ok((end, left.get()))
}
