//! What the running kernel has.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::{ObjectBuilder, ProgramType};
use rustix::fs::{MemfdFlags, memfd_create};

use rustix::thread::CapabilitySet;

use super::Error;
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
