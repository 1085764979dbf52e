//! What the running kernel has.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libbpf_rs::{ObjectBuilder, ProgramType};
use rustix::fs::{MemfdFlags, memfd_create};

use super::Error;
use super::attach::check_perf_events;
use super::privilege::has_sys_admin;
use crate::ovs::ports;

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
    knows_cookie().unwrap_or(true)
}

/// The same; `None` if the kernel does not say, because that takes privileges for example.
pub fn knows_cookie() -> Option<bool> {
    ProgramType::Kprobe
        .is_helper_supported(libbpf_sys::BPF_FUNC_get_attach_cookie)
        .ok()
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

/// Whether this kernel has type information (CONFIG_DEBUG_INFO_BTF), which programs on its own functions need.
pub fn has_kernel_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Device and inode number of this process's pid namespace, unless it is the first one, in which the kernel counts.
pub fn pid_namespace() -> Option<(u64, u64)> {
    // `PROC_PID_INIT_INO` of include/linux/proc_ns.h (`PIDNS_INIT_INO` of linux/nsfs.h in newer kernels).
    const FIRST: u64 = 0xefff_fffc;
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?;
    (namespace.ino() != FIRST).then(|| (namespace.dev(), namespace.ino()))
}

/// Type information without any type, for a kernel that has no type information (CONFIG_DEBUG_INFO_BTF).
///
/// libbpf asks for the kernel's types as soon as any program of an object is relocated by them, even if that program is
/// not loaded.
pub struct EmptyBtf {
    /// libbpf opens it by its number, when it loads the object.
    _file: OwnedFd,
}

impl EmptyBtf {
    /// Has libbpf load an object with it if the kernel has no type information. What is returned must live until the
    /// object is loaded.
    pub fn provide(builder: &mut ObjectBuilder) -> Result<Option<Self>, Error> {
        if has_kernel_btf() {
            return Ok(None);
        }
        Self::instead(builder).map(Some)
    }

    /// Has libbpf load an object with it even if the kernel has type information, which takes longer to read than all
    /// else, because no program that is loaded needs it.
    pub fn instead(builder: &mut ObjectBuilder) -> Result<Self, Error> {
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
        let failed = |error| Error::Load {
            program: None,
            error,
        };
        let file = create().map_err(|error| failed(io::Error::from(error).into()))?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        builder.btf_custom_path(path).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// What libbpf calls instead of its `btf__load_vmlinux_btf()`, by an option that `build.rs` has for the linker.
///
/// As soon as any program of an object calls a function of the kernel's (kfunc), even one that is not loaded, libbpf
/// asks for the types of the running kernel, and fails if there are none. There is no other way to let it have empty
/// ones, in which it does not find the functions, as on a kernel that is too old for them.
#[unsafe(no_mangle)]
extern "C" fn __wrap_btf__load_vmlinux_btf() -> *mut libbpf_sys::btf {
    unsafe extern "C" {
        /// Another name of libbpf's own function.
        fn libbpf_find_kernel_btf() -> *mut libbpf_sys::btf;
    }
    if has_kernel_btf() {
        // SAFETY: it is that function (src/btf.c of libbpf), which takes nothing.
        unsafe { libbpf_find_kernel_btf() }
    } else {
        // SAFETY: it takes nothing. Whoever has called this frees what it returns, as that of the other one.
        unsafe { libbpf_sys::btf__new_empty() }
    }
}

/// What libbpf calls instead of its `bpf_btf_get_next_id()`, by an option of the same kind.
///
/// The types of modules build upon those of the kernel. Where these cannot be seen, as in a container that hides
/// /sys/kernel/btf, libbpf would still read the modules', and fail.
///
/// # Safety
///
/// `next` points to a number.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_bpf_btf_get_next_id(start: u32, next: *mut u32) -> libc::c_int {
    if !has_kernel_btf() {
        // SAFETY: it is this thread's own.
        unsafe { *libc::__errno_location() = libc::ENOENT };
        return -libc::ENOENT;
    }
    // `start_id` and `next_id` of `union bpf_attr` (linux/bpf.h).
    let mut ids = [start, 0];
    // SAFETY: the kernel reads and writes no more of it than its size.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libbpf_sys::BPF_BTF_GET_NEXT_ID,
            &raw mut ids,
            size_of_val(&ids),
        )
    };
    if status == 0 {
        // SAFETY: the caller says so.
        unsafe { *next = ids[1] };
        return 0;
    }
    // SAFETY: it is this thread's own.
    -unsafe { *libc::__errno_location() }
}

/// What a way to see events needs of the kernel, besides uprobes and ring buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The kernel's datapath: its module openvswitch, or the same built into the kernel.
    Datapath,
    /// Type information of the kernel.
    KernelBtf,
    /// A tracepoint's program may read all of a `struct sk_buff`, also what is in pages: `bpf_dynptr_from_skb()`.
    SkbDynptr,
    /// Type information of the module openvswitch, and the privilege to read it.
    DatapathBtf,
    /// The tracepoint `openvswitch:ovs_dp_upcall`, which came with Linux 5.14 (c4ab7b56be0f, "openvswitch: add trace
    /// points").
    DatapathTracepoint,
    /// Programs may read memory: `bpf_probe_read_kernel()`. Where that is not allowed, libbpf takes the kernel for one
    /// before 5.5 and puts `bpf_probe_read()` in the place of `bpf_probe_read_user()`, too, which is not allowed either.
    Memory,
    /// Probes at functions of the kernel.
    Kprobes,
    /// The numbers of the kernel's tracepoints.
    Tracefs,
    /// A program can read the registers that a task has in user space: `bpf_task_pt_regs()`.
    UserRegisters,
}

impl Need {
    pub const ALL: [Self; 9] = [
        Self::Datapath,
        Self::KernelBtf,
        Self::SkbDynptr,
        Self::DatapathBtf,
        Self::DatapathTracepoint,
        Self::Memory,
        Self::Kprobes,
        Self::Tracefs,
        Self::UserRegisters,
    ];

    /// Why it is missing, if it is.
    pub fn missing(self) -> Option<String> {
        let text = match self {
            Self::Datapath if !ports::has_kernel_datapath().unwrap_or(true) => {
                "the kernel's module openvswitch is not loaded"
            }
            Self::KernelBtf | Self::Kprobes if !Path::new("/sys/kernel").exists() => {
                "sysfs is not mounted, which says whether this kernel has it (mount -t sysfs sysfs /sys)"
            }
            Self::KernelBtf if !has_kernel_btf() => {
                "this kernel has no type information (CONFIG_DEBUG_INFO_BTF)"
            }
            Self::SkbDynptr if kernel_version() < (6, 12) => {
                "tracepoints cannot read the pages of a packet (Linux 6.12)"
            }
            Self::DatapathTracepoint if kernel_version() < (5, 14) => {
                "the module openvswitch has no tracepoint of upcalls (Linux 5.14)"
            }
            Self::Memory if is_confidential() => {
                "this kernel is locked down for confidentiality, so programs may not read memory"
            }
            Self::Kprobes if !Path::new("/sys/bus/event_source/devices/kprobe").exists() => {
                "this kernel has no kprobes (CONFIG_KPROBES)"
            }
            Self::Kprobes | Self::Tracefs if let Err(error) = check_perf_events() => {
                return Some(error.fact());
            }
            Self::Tracefs => return lacks_tracefs().map(str::to_string),
            Self::UserRegisters if kernel_version() < (5, 15) => {
                "programs cannot read the registers of user space (Linux 5.15)"
            }
            // If it is no module, its types are with the kernel's.
            Self::DatapathBtf if Path::new("/sys/module/openvswitch").exists() => {
                if !Path::new("/sys/kernel/btf/openvswitch").exists() {
                    "the module openvswitch has no type information"
                // To look for them by their ids takes it: `bpf_obj_get_next_id()` of kernel/bpf/syscall.c.
                } else if !has_sys_admin() {
                    "CAP_SYS_ADMIN is missing, without which a module's types cannot be read"
                } else {
                    return None;
                }
            }
            _ => return None,
        };
        Some(text.to_string())
    }
}

/// Why the numbers of tracepoints cannot be read, if they cannot. libbpf looks in these two folders.
fn lacks_tracefs() -> Option<&'static str> {
    let folders = [
        "/sys/kernel/tracing/events",
        "/sys/kernel/debug/tracing/events",
    ];
    let found = folders.map(std::fs::metadata);
    if found.iter().any(Result::is_ok) {
        return None;
    }
    let denied = |found: &io::Result<_>| {
        found
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    Some(match found.iter().any(denied) {
        true => "only root may read /sys/kernel/tracing",
        false => "tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)",
    })
}

/// Whether the kernel is locked down for confidentiality (kernel_lockdown(7)). Where securityfs is not mounted, the
/// kernel does not say.
fn is_confidential() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|state| state.contains("[confidentiality]"))
}
