//! Attaching BPF programs.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::libbpf_sys::{
    PERF_COUNT_SW_TASK_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_SOFTWARE, perf_event_attr,
};
use libbpf_rs::{Link, MapType, ProgramMut, UprobeMultiOpts, UprobeOpts};

use super::Error;
use super::kernel::{kernel_release, kernel_version};
use super::libbpf_log;
use super::object::Object;
use super::privilege::{has_sys_admin, locked_memory};
use super::usdt::Site;

/// What a failed load means.
pub fn explain_load(error: libbpf_rs::Error, ring_bytes: usize) -> Error {
    let log = libbpf_log::text();
    let failed = || libbpf_log::failed_program(&log);
    // In a sandbox that forbids the question the answer is no, so a newer kernel is not asked.
    if kernel_version() < (5, 8) && !MapType::RingBuf.is_supported().unwrap_or(true) {
        Error::NoRingBuffer(kernel_release())
    } else if libbpf_log::may_not_read(&log) {
        Error::Confidential { program: failed() }
    } else if log.contains("BEGIN PROG LOAD LOG") {
        Error::Rejected { program: failed() }
    } else if let (true, Some(error)) = (
        error.kind() == libbpf_rs::ErrorKind::PermissionDenied,
        locked_memory(),
    ) {
        // libbpf has raised the limit if it may.
        error
    } else if log.contains("map 'ring': failed to create")
        && ["-ENOMEM", "-EINVAL", "-E2BIG"]
            .iter()
            .any(|errno| log.contains(errno))
    {
        Error::RingSize(ring_bytes)
    } else {
        Error::Load {
            program: failed(),
            error,
        }
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
    links.map_err(|error| {
        let no_events = (!multi).then(check_uprobe_events);
        no_events.and_then(Result::err).unwrap_or(Error::Attach {
            path: object.path.display().to_string(),
            program: program.name().to_string_lossy().into_owned(),
            error,
        })
    })
}

/// Fails if this process may make no perf event at all, not even of its own thread. Uprobes where there is no
/// uprobe-multi, kprobes, and tracepoints of tracefs are perf events.
///
/// # Errors
/// [`Error::Paranoid`], [`Error::Forbidden`].
pub fn check_perf_events() -> Result<(), Error> {
    let own_thread = 0;
    match thread_clock(own_thread, Duration::from_secs(1)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
            let level = level.ok().and_then(|level| level.trim().parse().ok());
            Err(match level {
                Some(level @ 3..) if !has_sys_admin() => Error::Paranoid(level),
                _ => Error::Forbidden("perf_event_open(2)"),
            })
        }
        _ => Ok(()),
    }
}

/// The same, and fails if this process may make no uprobe that is a perf event.
///
/// # Errors
/// [`Error::UprobePrivilege`], and those of [`check_perf_events`].
pub fn check_uprobe_events() -> Result<(), Error> {
    check_perf_events()?;
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type");
    let Some(kind) = kind.ok().and_then(|kind| kind.trim().parse().ok()) else {
        return Ok(());
    };
    // Of no file: who may make one is told that it has none.
    let attr = perf_event_attr {
        type_: kind,
        size: size_of::<perf_event_attr>() as u32,
        ..Default::default()
    };
    match perf_event_open(&attr, 0) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::UprobePrivilege(kernel_release()))
        }
        _ => Ok(()),
    }
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
    perf_event_open(&attr, tid)
}

/// A perf event of a thread, on any CPU; of this one if `tid` is 0.
fn perf_event_open(attr: &perf_event_attr, tid: u32) -> io::Result<OwnedFd> {
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: the kernel reads as many bytes of `attr` as its field `size` says, and returns a new descriptor or -1.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_perf_event_open,
            &raw const *attr,
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
