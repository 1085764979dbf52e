//! libpcap's compiler of filters, and what runs them.
//!
//! Its functions are declared here, not taken from the crate `pcap`: its filters know no other length of a packet than
//! that of what was captured, so that `greater 1000` would be wrong of packets that were cut, and it has no way to link
//! libpcap statically. `build.rs` says how that is done.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::ptr::NonNull;

use libc::sock_filter;

/// `struct pcap` of `pcap/pcap.h`.
#[repr(C)]
struct Pcap {
    _opaque: [u8; 0],
}

/// `struct bpf_program` of `pcap/bpf.h`. The `struct bpf_insn` of that file is the kernel's `struct sock_filter`.
#[repr(C)]
struct Program {
    len: c_uint,
    instructions: *mut sock_filter,
}

unsafe extern "C" {
    fn pcap_open_dead(linktype: c_int, snaplen: c_int) -> *mut Pcap;
    fn pcap_compile(
        pcap: *mut Pcap,
        program: *mut Program,
        text: *const c_char,
        optimize: c_int,
        netmask: u32,
    ) -> c_int;
    fn pcap_geterr(pcap: *mut Pcap) -> *const c_char;
    fn pcap_freecode(program: *mut Program);
    fn pcap_close(pcap: *mut Pcap);
    fn bpf_filter(
        program: *const sock_filter,
        packet: *const u8,
        wirelen: c_uint,
        buflen: c_uint,
    ) -> c_uint;
}

const DLT_EN10MB: c_int = 1;
const MAXIMUM_SNAPLEN: c_int = 262144;
const PCAP_NETMASK_UNKNOWN: u32 = 0xffff_ffff;

/// Compiles an expression for Ethernet frames: all instructions of a program, or what libpcap says of it.
pub fn compile(expression: &str) -> Result<Vec<sock_filter>, String> {
    let text = CString::new(expression).map_err(|_| "it has a NUL byte".to_string())?;
    // SAFETY: it has no preconditions.
    let pcap = unsafe { pcap_open_dead(DLT_EN10MB, MAXIMUM_SNAPLEN) };
    let Some(pcap) = NonNull::new(pcap) else {
        return Err("out of memory".to_string());
    };
    let mut program = Program {
        len: 0,
        instructions: std::ptr::null_mut(),
    };
    // SAFETY: `pcap` is open, `program` writable and `text` ends in a NUL. If it succeeds, `program` has as many
    // instructions as it says until it is freed; if not, the message belongs to `pcap` and ends in a NUL.
    unsafe {
        let pcap = pcap.as_ptr();
        let result = match pcap_compile(pcap, &mut program, text.as_ptr(), 1, PCAP_NETMASK_UNKNOWN)
        {
            0 => {
                let instructions =
                    std::slice::from_raw_parts(program.instructions, program.len as usize);
                let instructions = instructions.to_vec();
                pcap_freecode(&mut program);
                Ok(instructions)
            }
            _ => {
                let message = CStr::from_ptr(pcap_geterr(pcap));
                Err(message.to_string_lossy().into_owned())
            }
        };
        pcap_close(pcap);
        result
    }
}

/// What a program says of a packet of `len` bytes, of which `bytes` is the beginning.
///
/// # Safety
///
/// `program` must be what [`compile`] returned, whole: a jump may go as far as its end.
pub unsafe fn run(program: &[sock_filter], bytes: &[u8], len: u32) -> bool {
    let buflen = c_uint::try_from(bytes.len()).unwrap_or(c_uint::MAX);
    // SAFETY: the program is whole, as the caller says, and `bytes` has at least `buflen` bytes.
    unsafe { bpf_filter(program.as_ptr(), bytes.as_ptr(), len, buflen) != 0 }
}

/// Has names looked up by what is in libc itself, if that is linked statically. What `/etc/nsswitch.conf` names besides
/// are shared libraries of the system's libc, which need not be the one in this program: loading them may end it.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub fn keep_within_libc(hosts: &CStr) {
    unsafe extern "C" {
        /// `nss.h` of glibc.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    let files = c"files";
    for (database, services) in [
        (c"hosts", hosts),
        (c"networks", files),
        (c"services", files),
        (c"protocols", files),
        (c"ethers", files),
    ] {
        // SAFETY: both are texts that end in a NUL; it copies what it keeps. That it fails for a database that it does
        // not know changes nothing.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

/// A libc that is linked dynamically has its own modules.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn keep_within_libc(_hosts: &CStr) {}
