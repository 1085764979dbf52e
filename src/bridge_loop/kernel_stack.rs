//! The functions of the kernel that a thread was in.

use std::fs;

/// The functions of the running kernel, from `/proc/kallsyms`.
pub struct KernelSymbols {
    text: String,
    /// Address, and where in `text` the name is; sorted.
    symbols: Vec<(u64, usize, usize)>,
    /// The functions that wait for others, which are not what a thread is blocked in: those that the kernel's own
    /// `/proc/PID/wchan` passes over (`in_sched_functions()` of kernel/sched/core.c).
    scheduler: std::ops::Range<u64>,
}

impl KernelSymbols {
    /// Reads those of this kernel. There are none if they are hidden from this process: kernel.kptr_restrict.
    pub fn read() -> Self {
        Self::new(fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    /// Of a text in the form of `/proc/kallsyms`.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let mut symbols = Vec::new();
        let (mut start, mut end) = (0, 0);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(addr), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(addr @ 1..) = u64::from_str_radix(addr, 16) else {
                continue;
            };
            match name {
                "__sched_text_start" => start = addr,
                "__sched_text_end" => end = addr,
                _ if matches!(kind, "t" | "T" | "w" | "W") => {
                    let at = name.as_ptr().addr() - text.as_ptr().addr();
                    symbols.push((addr, at, at + name.len()));
                }
                _ => {}
            }
        }
        symbols.sort_unstable();
        Self {
            text,
            symbols,
            scheduler: start..end,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The function that an address is in, and how far from its beginning.
    fn find(&self, addr: u64) -> Option<(&str, u64)> {
        let behind = self.symbols.partition_point(|(start, ..)| *start <= addr);
        let (start, at, end) = self.symbols.get(behind.checked_sub(1)?)?;
        Some((self.text.get(*at..*end)?, addr - start))
    }

    /// The part of a stack, innermost first, that begins at the function which waits.
    fn waiting_part<'a>(&self, stack: &'a [u64]) -> &'a [u64] {
        // Until the scheduler, it is the programs that looked.
        let scheduler = |addr: &u64| self.scheduler.contains(addr);
        let end = stack.iter().rposition(scheduler);
        &stack[end.map_or(0, |last| last + 1)..]
    }

    /// The function that waits. The kernel's code that a compiler made several of is known by its first name.
    pub fn waiting(&self, stack: &[u64]) -> Option<String> {
        let addr = self.waiting_part(stack).first()?;
        let (name, _) = self.find(*addr)?;
        Some(name.split('.').next().unwrap_or(name).to_string())
    }

    /// A text for each address from the function that waits outwards.
    pub fn frames(&self, stack: &[u64]) -> Vec<String> {
        let frame = |addr: &u64| match self.find(*addr) {
            Some((name, offset)) => format!("{name}+{offset:#x} (kernel)"),
            None => format!("{addr:#x} (kernel)"),
        };
        self.waiting_part(stack).iter().map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that what waits is the first function outside of the scheduler's, by its name without what the compiler
    /// added, and that addresses which are hidden name nothing.
    #[test]
    fn waiting() {
        let symbols = KernelSymbols::new(
            "ffffffff81000000 T _stext\n\
             ffffffff81000100 t pipe_read.isra.0\n\
             ffffffff81000200 T vfs_read\n\
             ffffffff81000280 d not_a_function\n\
             ffffffff82000000 T __sched_text_start\n\
             ffffffff82000010 t __schedule\n\
             ffffffff82000090 T schedule\n\
             ffffffff82000100 T __sched_text_end\n\
             ffffffffc0000000 t trace_program [bpf]\n",
        );
        let stack = [
            0xffff_ffff_c000_0010,
            0xffff_ffff_8200_0020,
            0xffff_ffff_8200_0094,
            0xffff_ffff_8100_0123,
            0xffff_ffff_8100_0290,
        ];
        assert_eq!(symbols.waiting(&stack).as_deref(), Some("pipe_read"));
        assert_eq!(
            symbols.frames(&stack),
            ["pipe_read.isra.0+0x23 (kernel)", "vfs_read+0x90 (kernel)"]
        );
        assert_eq!(symbols.waiting(&[]), None);
        assert_eq!(symbols.waiting(&[1]), None);
        let hidden = KernelSymbols::new("0000000000000000 T _stext\n");
        assert!(hidden.is_empty());
        assert_eq!(hidden.waiting(&stack), None);
    }
}
