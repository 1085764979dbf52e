//! The BPF programs that are attached.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::Program;
use libbpf_sys::{bpf_obj_get_info_by_fd, bpf_prog_info};

/// Programs of which the kernel is asked how often it skipped them.
#[derive(Debug, Default)]
pub struct Programs(Vec<(OwnedFd, Cell<u64>)>);

impl Programs {
    /// Adds a program. A descriptor too many for this process is no reason not to trace.
    pub fn add(&mut self, program: &Program<'_>) {
        let program = program.as_fd().try_clone_to_owned();
        self.0
            .extend(program.map(|program| (program, Cell::new(0))));
    }

    /// How often the kernel did not run one of them because the CPU was in it already: `recursion_misses` of `struct
    /// bpf_prog_info` (`linux/bpf.h`, Linux 5.12). On a preemptible kernel another thread may be in a program; each
    /// time the event that would have run it is lost.
    pub fn skipped(&self) -> u64 {
        let misses = self.0.iter().map(|(program, misses)| {
            let mut info = bpf_prog_info::default();
            let mut size = size_of::<bpf_prog_info>() as u32;
            // SAFETY: the kernel writes at most `size` bytes to `info`, which has so many.
            let result = unsafe {
                bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut size)
            };
            // If the kernel does not answer, they are at least as many as before.
            if result == 0 {
                misses.set(info.recursion_misses);
            }
            misses.get()
        });
        misses.sum()
    }
}
