//! The bytes at a site: what the compiler left there, and what the kernel made of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ovs_tracers::trace::usdt::Machine;
use serde::Serialize;

/// The longest instruction that is looked for.
const LEN: usize = 5;

/// An instruction that a site may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    Nop1,
    Nop5,
    Int3,
    Call,
    Nop,
    Brk,
}

impl Instruction {
    /// The instruction that `bytes` begin with, and its length.
    fn decode(machine: Machine, bytes: &[u8]) -> Option<(Self, usize)> {
        /// `EM_386`
        const I386: Machine = Machine::Other(3);
        Some(match (machine, bytes) {
            (Machine::X86_64 | I386, [0x90, ..]) => (Self::Nop1, 1),
            // What x86_nops of arch/x86 has for five bytes, and is_nop5_insn() of uprobes looks for.
            (Machine::X86_64 | I386, [0x0f, 0x1f, 0x44, 0, 0, ..]) => (Self::Nop5, 5),
            (Machine::X86_64 | I386, [0xcc, ..]) => (Self::Int3, 1),
            // A call of the uprobe trampoline: ba2bfc97b462 ("uprobes/x86: Add support to optimize uprobes",
            // Linux 6.18).
            (Machine::X86_64, [0xe8, _, _, _, _, ..]) => (Self::Call, 5),
            // Instructions are little-endian whatever the data are.
            (Machine::Aarch64, [0x1f, 0x20, 0x03, 0xd5, ..]) => (Self::Nop, 4),
            // BRK64_OPCODE_UPROBES of arch/arm64/include/asm/debug-monitors.h
            (Machine::Aarch64, [0xa0, 0x00, 0x20, 0xd4, ..]) => (Self::Brk, 4),
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nop1 => "1-byte nop",
            Self::Nop5 => "5-byte nop",
            Self::Int3 => "int3",
            Self::Call => "call",
            Self::Nop => "nop",
            Self::Brk => "brk",
        }
    }
}

/// What is at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// One instruction, or a few bytes if the instruction is not known here.
    pub bytes: Vec<u8>,
    pub instruction: Option<Instruction>,
    /// Whether the process has something else here than the file; `None` for a file.
    pub armed: Option<bool>,
    /// What the file has, where the process has something else.
    pub unarmed: Option<Instruction>,
}

impl Code {
    fn new(machine: Machine, bytes: &[u8]) -> Self {
        let decoded = Instruction::decode(machine, bytes);
        let len = decoded.map_or(bytes.len(), |(_, len)| len);
        Self {
            bytes: bytes[..len].to_vec(),
            instruction: decoded.map(|(instruction, _)| instruction),
            armed: None,
            unarmed: None,
        }
    }

    pub fn of_file(file: &File, offset: u64, machine: Machine) -> io::Result<Self> {
        Ok(Self::new(machine, read(file, offset)?.as_slice()))
    }

    /// The code as the process would run it, and whether it is still that of the file.
    pub fn of_process(
        memory: &Memory,
        address: u64,
        file: &File,
        offset: u64,
        machine: Machine,
    ) -> io::Result<Self> {
        let linked = Self::of_file(file, offset, machine)?;
        let mut code = Self::new(machine, &read(&memory.0, address)?);
        // A breakpoint is no longer than the nop that it replaces, and often shorter.
        let armed = code != linked;
        code.armed = Some(armed);
        code.unarmed = linked.instruction.filter(|_| armed);
        Ok(code)
    }
}

/// What is at `offset`: as much as an instruction may have, or up to the end.
fn read(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = [0; LEN];
    let mut len = 0;
    while len < LEN {
        match file.read_at(&mut bytes[len..], offset.saturating_add(len as u64)) {
            Ok(0) => break,
            Ok(read) => len += read,
            // The page behind may be another mapping, or none.
            Err(_) if len > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes[..len].to_vec())
}

/// The memory of a process.
pub struct Memory(File);

impl Memory {
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/mem"))?))
    }

    /// The 16-bit counter of a semaphore.
    pub fn semaphore(&self, address: u64) -> Option<u16> {
        let mut bytes = [0; 2];
        self.0.read_exact_at(&mut bytes, address).ok()?;
        Some(u16::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that each instruction is known by its bytes, on its own machine only.
    ///
    /// The nops are those of objdump on fixtures/standin (gcc 12.2) and fixtures/elf; int3 and call were read from the
    /// memory of fixtures/standin with a uprobe on Linux 6.18; brk is written down from the kernel's constant.
    #[test]
    fn instructions() {
        use Instruction::*;
        let i386 = Machine::Other(3);
        for (machine, bytes, expected, len) in [
            (
                Machine::X86_64,
                &[0x90, 0x48, 0x83, 0xc4, 8][..],
                Some(Nop1),
                1,
            ),
            (Machine::X86_64, &[0x90], Some(Nop1), 1),
            (Machine::X86_64, &[0x0f, 0x1f, 0x44, 0, 0], Some(Nop5), 5),
            (Machine::X86_64, &[0x0f, 0x1f, 0x44, 0, 8], None, 5),
            (Machine::X86_64, &[0xcc, 0x1f, 0x44, 0, 0], Some(Int3), 1),
            (Machine::X86_64, &[0xe8, 1, 2, 3, 4], Some(Call), 5),
            (i386, &[0x90, 0, 0, 0, 0], Some(Nop1), 1),
            (i386, &[0xe8, 1, 2, 3, 4], None, 5),
            (Machine::Aarch64, &[0x1f, 0x20, 0x03, 0xd5, 0], Some(Nop), 4),
            (Machine::Aarch64, &[0xa0, 0x00, 0x20, 0xd4, 0], Some(Brk), 4),
            (Machine::Aarch64, &[0x90, 0, 0, 0, 0], None, 5),
            (Machine::Other(21), &[0x60, 0, 0, 0, 0], None, 5),
        ] {
            let code = Code::new(machine, bytes);
            assert_eq!(code.instruction, expected, "{machine:?} {bytes:x?}");
            assert_eq!(code.bytes, bytes[..len], "{machine:?} {bytes:x?}");
        }
    }
}
