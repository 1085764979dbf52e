//! The privileges that tracing takes: whether the process has them, and how it gives them up.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;

use libbpf_sys::{BPF_MAP_TYPE_ARRAY, bpf_map_create};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::Error;
use super::kernel::{kernel_release, kernel_version};

/// `PROC_USER_INIT_INO` of `include/linux/proc_ns.h`: the inode number of the user namespace in which privileges count.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Fails if the process lacks what loading a program takes, since the kernel would only say `EPERM`; or if it may not
/// call bpf(2) all the same.
pub fn check_privilege() -> Result<(), Error> {
    check_capabilities()?;
    match make_map() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(locked_memory().unwrap_or(Error::Forbidden("bpf(2)")))
        }
        // Whatever else is the matter is said when the programs are loaded.
        _ => Ok(()),
    }
}

/// Whether the process has CAP_SYS_ADMIN.
pub fn has_sys_admin() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// What a refusal means to which memory may lead: on kernels before 5.11, which count it as locked
/// (3ac1f01b43b6, "bpf: Eliminate rlimit-based memory accounting for bpf progs"), the limit, if there is one.
pub(super) fn locked_memory() -> Option<Error> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let counts = kernel_version() < (5, 11);
    limit
        .filter(|_| counts)
        .map(|limit| Error::LockedMemory(limit, kernel_release()))
}

/// Makes the smallest BPF map there is, and drops it.
fn make_map() -> io::Result<OwnedFd> {
    let (key_size, value_size, entries) = (4, 4, 1);
    // SAFETY: neither a name nor options is a null pointer to libbpf, and what it returns is a new descriptor or a
    // negative error number.
    unsafe {
        match bpf_map_create(
            BPF_MAP_TYPE_ARRAY,
            ptr::null(),
            key_size,
            value_size,
            entries,
            ptr::null(),
        ) {
            fd @ 0.. => Ok(OwnedFd::from_raw_fd(fd)),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

fn check_capabilities() -> Result<(), Error> {
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

/// Gives up, for good, all privileges of this thread but `keep`: what is attached stays attached. It is called when the
/// ring is mapped, which took CAP_BPF before Linux 5.19.
///
/// # Errors
/// The system may refuse, in a sandbox for example.
pub fn drop_privilege(keep: CapabilitySet) -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let permitted = rustix::thread::capabilities(None)?.permitted;
    let mut keep = keep;
    // CAP_SYS_ADMIN stood for these before they existed, and still does.
    let parts = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::CHECKPOINT_RESTORE;
    if !permitted.contains(keep & parts) {
        keep |= CapabilitySet::SYS_ADMIN;
    }
    for capability in CapabilitySet::all().difference(keep).iter() {
        // This takes CAP_SETPCAP. Without it they remain in the bounding set, where only a program that this
        // process would start could take them.
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
}
