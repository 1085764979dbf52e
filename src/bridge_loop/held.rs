//! What held a run up.

use super::kernel_stack::KernelSymbols;
use super::syscall;
use crate::bpf::bridge_loop::types::held;

/// What held a run up, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// On a CPU.
    pub cpu: u64,
    /// How much of that in user space and in the kernel, by the ticks of the clock; `None` if there was none.
    pub user_system: Option<(u64, u64)>,
    /// Waiting for a CPU.
    pub runnable: u64,
    /// Waiting for anything else.
    pub blocked: u64,
    /// The longest of the times in which it was blocked, if it was.
    pub longest: Option<Block>,
}

/// A time that a thread spent blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub duration: u64,
    /// The kernel's function that waited.
    pub function: Option<String>,
    /// The system call that it was in; `None` if it was in none: a page fault, for example.
    pub syscall: Option<String>,
    /// Frames in the kernel, the innermost first.
    pub frames: Vec<String>,
}

impl Held {
    /// Of a run that took `duration`.
    pub fn new(held: &held, duration: u64, symbols: &KernelSymbols) -> Self {
        let off_cpu = held.off_cpu.min(duration);
        // The kernel measures waits for a CPU by another clock, so that the difference may be less than a part of it.
        let runnable = match held.longest {
            0 => off_cpu,
            longest => held.runnable.min(off_cpu.saturating_sub(longest)),
        };
        let cpu = duration - off_cpu;
        let ticks = u128::from(held.user) + u128::from(held.system);
        let user = (u128::from(cpu) * u128::from(held.user)).checked_div(ticks);
        let user = user.and_then(|user| u64::try_from(user).ok());
        Self {
            cpu,
            user_system: user.map(|user| (user, cpu - user)),
            runnable,
            blocked: off_cpu - runnable,
            longest: (held.longest > 0).then(|| {
                let size = usize::try_from(held.kernel_size).unwrap_or(0);
                let stack = held.kernel.get(..size / 8).unwrap_or_default();
                Block {
                    duration: held.longest,
                    function: symbols.waiting(stack),
                    syscall: syscall::name(held.syscall),
                    frames: symbols.frames(stack),
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the parts are never more than the whole, that the CPU time is shared out by ticks, and that none is
    /// guessed without a tick.
    #[test]
    fn parts() {
        let none = KernelSymbols::new("");
        let mut raw = held {
            off_cpu: 700,
            runnable: 200,
            user: 1,
            system: 3,
            longest: 500,
            ..held::default()
        };
        let held = Held::new(&raw, 1000, &none);
        assert_eq!(
            (held.cpu, held.runnable, held.blocked),
            (300, 200, 500),
            "{held:?}"
        );
        assert_eq!(held.user_system, Some((75, 225)));
        assert_eq!(held.longest.map(|block| block.duration), Some(500));
        raw.longest = 0;
        let held = Held::new(&raw, 1000, &none);
        assert_eq!((held.runnable, held.blocked), (700, 0));
        assert_eq!(held.longest, None);
        raw.user = 0;
        raw.system = 0;
        assert_eq!(Held::new(&raw, 1000, &none).user_system, None);
        raw.user = u64::MAX;
        raw.system = u64::MAX;
        raw.off_cpu = u64::MAX;
        raw.runnable = u64::MAX;
        raw.longest = 1;
        raw.kernel_size = i32::MAX;
        let held = Held::new(&raw, 1000, &none);
        assert_eq!((held.cpu, held.runnable, held.blocked), (0, 999, 1));
        assert_eq!(held.user_system, Some((0, 0)));
    }
}
