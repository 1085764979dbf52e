//! Collects what libbpf says instead of printing it.

use std::sync::Mutex;

use libbpf_rs::{PrintLevel, set_print};

/// What libbpf printed. A rejected program makes it print the verifier's whole log, which is for a bug report only.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

const LOG_MAX: usize = 1 << 20;

/// Keeps libbpf's messages from standard error; [`text`] returns them.
fn capture() {
    fn keep(_level: PrintLevel, message: String) {
        if let Ok(mut log) = LOG.lock() {
            log.extend_from_slice(message.as_bytes());
            let excess = log.len().saturating_sub(LOG_MAX);
            log.drain(..excess);
        }
    }
    set_print(Some((PrintLevel::Info, keep)));
}

/// Runs a trace without libbpf's messages on standard error. If it fails and `verbose` is set they are shown.
pub fn with<T, E>(verbose: bool, trace: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    capture();
    let result = trace();
    if result.is_err() && verbose {
        eprint!("{}", text());
    }
    result
}

/// The last of what libbpf said, at most 1 MiB.
pub fn text() -> String {
    let log = LOG.lock().map(|log| log.clone()).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// Returns the same and forgets it, so that it does not explain a later failure.
pub fn take() -> String {
    let log = text();
    if let Ok(mut kept) = LOG.lock() {
        kept.clear();
    }
    log
}

/// Puts back what [`take`] returned.
pub(super) fn put_back(taken: String) {
    if let Ok(mut log) = LOG.lock() {
        *log = taken.into_bytes();
    }
}

/// The program that failed to load, by what libbpf says of it: `prog 'NAME': failed to load: -22`, or with another
/// reason.
pub(super) fn failed_program(log: &str) -> Option<String> {
    let name = |line: &str| {
        let (_, rest) = line.split_once("prog '")?;
        let (name, what) = rest.split_once('\'')?;
        what.contains("failed").then(|| name.to_string())
    };
    log.lines().rev().find_map(name)
}

/// Whether the verifier does not know the helpers that read memory: a kernel has them, but not if it is locked down for
/// confidentiality. The second form is that of Linux 6.10 and later.
pub(super) fn may_not_read(log: &str) -> bool {
    log.contains("unknown func bpf_probe_read")
        || log.contains("program of this type cannot use helper bpf_probe_read")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a helper which is not there is told from one that is called in a wrong way.
    ///
    /// Messages of Linux 6.1, locked down, and of 6.12.
    #[test]
    fn helpers_that_read() {
        assert!(may_not_read(
            "228: (85) call bpf_probe_read#4\nunknown func bpf_probe_read#4\nprocessed 46 insns\n"
        ));
        assert!(!may_not_read(
            "228: (85) call bpf_probe_read#4\nR2 unbounded memory access, use 'var &= const'\n"
        ));
        assert!(!may_not_read("unknown func bpf_get_attach_cookie#174\n"));
    }

    /// Check that the program which failed is found, and not one that is only spoken of.
    ///
    /// Messages of libbpf 1.7: a function that the kernel does not have, and what the verifier refused.
    #[test]
    fn program_that_failed() {
        let missing = "libbpf: prog 'upcall_failed': failed to find kernel BTF type ID of 'ovs_dp_upcall': -3\n\
                       libbpf: prog 'upcall_failed': failed to prepare load attributes: -3\n\
                       libbpf: failed to load object 'upcall_monitor_bpf'\n";
        assert_eq!(failed_program(missing).as_deref(), Some("upcall_failed"));
        let refused = "libbpf: prog 'recv_upcall': BPF program load failed: -EACCES\n\
                       libbpf: prog 'recv_upcall': -- BEGIN PROG LOAD LOG --\n\
                       -- END PROG LOAD LOG --\n";
        assert_eq!(failed_program(refused).as_deref(), Some("recv_upcall"));
        let other = "libbpf: map 'ring': failed to create: -EINVAL\nlibbpf: prog 'x': relo #0\n";
        assert_eq!(failed_program(other), None);
    }
}
