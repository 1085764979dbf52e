//! What libbpf says, kept from standard error: a rejected program makes it print the verifier's whole log, which is for
//! a bug report only.

use std::sync::Mutex;

use libbpf_rs::{PrintLevel, set_print};

/// What libbpf printed. A rejected program makes it print the verifier's whole log, which is for a bug report only.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

const LOG_MAX: usize = 1 << 20;

/// Keeps libbpf's messages from stderr; [`libbpf_log`] has them.
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

/// Runs a trace with libbpf's messages kept from stderr; if it fails and `verbose` is set they are shown.
pub fn with<T, E>(verbose: bool, trace: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    capture();
    let result = trace();
    if result.is_err() && verbose {
        eprint!("{}", text());
    }
    result
}

/// The end of what libbpf said so far.
pub fn text() -> String {
    let log = LOG.lock().map(|log| log.clone()).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// The same, and forgets it, so that it explains nothing that fails later.
pub fn take() -> String {
    let log = text();
    if let Ok(mut kept) = LOG.lock() {
        kept.clear();
    }
    log
}
