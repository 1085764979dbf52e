//! The arguments of a probe as `bpf/usdt_arg.bpf.h` fetches them.

use crate::trace::usdt::{Arg, Operand};

/// `enum usdt_operand_kind` of `bpf/usdt_arg.bpf.h`; the bindings check these values when the crate is compiled.
pub const CONSTANT: u8 = 0;
pub const REGISTER: u8 = 1;
pub const MEMORY: u8 = 2;
/// `enum usdt_limit` of the same file.
pub const NO_REGISTER: u8 = 0xff;
pub const WINDOW: u16 = 1024;
/// Different argument strings that the sites of a probe may have.
pub const MAX_SPECS: usize = 8;
/// Where in the cookie of a site the index of its daemon begins; below is that of its argument string.
pub const COOKIE_TARGET_SHIFT: u32 = 8;

/// How the kernel fetches one argument: the fields of `struct usdt_arg` (`bpf/usdt_arg.bpf.h`). Each BPF program has
/// bindings, and so a Rust type, of its own for that struct; [`crate::bpf`] converts this one into any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// The constant, or what is added to the address; 0 for a register.
    pub value: i64,
    /// [`CONSTANT`], [`REGISTER`] or [`MEMORY`].
    pub operand: u8,
    /// 1, 2, 4 or 8 bytes.
    pub size: u8,
    pub is_signed: bool,
    /// Index of the 8-byte word in the `struct pt_regs` (x86-64) or `struct user_pt_regs` (arm64) of the kernel.
    pub reg: u8,
    /// The same for the index of an address; [`NO_REGISTER`] if the address has no index.
    pub index_reg: u8,
    /// The index is shifted left by this.
    pub index_shift: u8,
    /// In memory: the first of the arguments that are read together with this one, which may be itself.
    pub window: u8,
    /// In memory: where the argument is in what is read, in bytes.
    pub at: u16,
    /// In the first argument of a window: how many bytes are read.
    pub span: u16,
}

impl From<&Arg> for Spec {
    /// The argument alone, without a window.
    fn from(arg: &Arg) -> Self {
        let mut spec = Self {
            size: arg.size,
            is_signed: arg.signed,
            index_reg: NO_REGISTER,
            ..Self::default()
        };
        match arg.operand {
            Operand::Constant(value) => {
                spec.operand = CONSTANT;
                spec.value = value;
            }
            Operand::Register(register) => {
                spec.operand = REGISTER;
                spec.reg = register.index;
            }
            Operand::Memory {
                base,
                index,
                scale,
                offset,
            } => {
                spec.operand = MEMORY;
                spec.reg = base.index;
                spec.value = offset;
                if let Some(index) = index {
                    spec.index_reg = index.index;
                    spec.index_shift = scale.trailing_zeros() as u8;
                }
            }
        }
        spec
    }
}

/// How the kernel fetches `args`, of which a probe has twelve at most. Arguments in memory that lie close together are
/// in one window of at most [`WINDOW`] bytes, so that one read fetches them all.
pub fn specs(args: &[&Arg]) -> Vec<Spec> {
    let mut specs: Vec<Spec> = args.iter().map(|arg| Spec::from(*arg)).collect();
    let count = specs.len();
    let base = |spec: &Spec| (spec.operand, spec.reg, spec.index_reg, spec.index_shift);
    // The last bytes of an argument may be where an i64 does not reach.
    let place = |spec: &Spec| {
        let begin = i128::from(spec.value);
        (begin, begin + i128::from(spec.size))
    };
    let mut placed = vec![false; count];
    for first in 0..count {
        if placed[first] || specs[first].operand != MEMORY {
            continue;
        }
        let (mut begin, mut end) = place(&specs[first]);
        let mut with = vec![false; count];
        with[first] = true;
        for other in first + 1..count {
            let (a, b) = (&specs[first], &specs[other]);
            if !placed[other] && base(a) == base(b) {
                let (from, to) = place(b);
                let (from, to) = (begin.min(from), end.max(to));
                if to - from <= WINDOW.into() {
                    (begin, end, with[other]) = (from, to, true);
                }
            }
        }
        for (i, spec) in specs.iter_mut().enumerate().filter(|(i, _)| with[*i]) {
            placed[i] = true;
            spec.window = first as u8;
            spec.at = (i128::from(spec.value) - begin) as u16;
            spec.span = (end - begin) as u16;
        }
    }
    specs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::usdt::{Machine, parse_args};

    /// Where each argument is read: the first of its window, its place in there, the bytes of the window.
    fn windows(args: &str) -> Vec<Option<(u8, u16, u16)>> {
        let parsed = parse_args(args, Machine::X86_64).unwrap();
        let specs = specs(&parsed.iter().collect::<Vec<_>>());
        let in_memory = |spec: &Spec| spec.operand == MEMORY;
        let window = |spec: &Spec| (spec.window, spec.at, specs[usize::from(spec.window)].span);
        specs
            .iter()
            .map(|spec| in_memory(spec).then(|| window(spec)))
            .collect()
    }

    /// Check that arguments which lie close together are read at once, each where it is in what was read, and others
    /// alone: those of Open vSwitch's own binary, of another base or index, beyond 1024 bytes, below the base, at odd
    /// places.
    #[test]
    fn in_windows() {
        let upcall = windows("8@%rdx 4@%ecx 8@%rax 4@12(%rbx) 8@576(%rbx) 8@584(%rbx)");
        assert_eq!(
            upcall,
            [
                None,
                None,
                None,
                Some((3, 0, 580)),
                Some((3, 564, 580)),
                Some((3, 572, 580))
            ]
        );
        assert_eq!(
            windows("8@-24(%rbp) 4@-28(%rbp) 8@-24(%rsp)"),
            [Some((0, 4, 12)), Some((0, 0, 12)), Some((2, 0, 8))]
        );
        assert_eq!(
            windows("8@0(%rdi) 8@1024(%rdi) 8@56(%rdi)"),
            [Some((0, 0, 64)), Some((1, 0, 8)), Some((0, 56, 64))]
        );
        assert_eq!(
            windows("8@(%rax,%rbx,8) 8@8(%rax) 8@8(%rax,%rbx,8)"),
            [Some((0, 0, 16)), Some((1, 0, 8)), Some((0, 8, 16))]
        );
        assert_eq!(
            windows("8@3(%rax) 8@16(%rax)"),
            [Some((0, 0, 21)), Some((0, 13, 21))]
        );
    }

    /// Check that all bytes of an argument are read whose last ones are where no offset reaches. Found by fuzzing.
    #[test]
    fn at_the_end_of_addresses() {
        assert_eq!(windows("8@9223372036854775804(%rax)"), [Some((0, 0, 8))]);
        assert_eq!(
            windows(
                "8@9223372036854775804(%rax) 4@9223372036854775800(%rax) 1@-9223372036854775808(%rax)"
            ),
            [Some((0, 4, 12)), Some((0, 0, 12)), Some((2, 0, 1))]
        );
    }
}
