//! The callers of a function, from a copy of the stack: by what the compiler wrote down of each function's frame
//! (`.eh_frame`, [LSB 5.0](https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/ehframechpt.html)
//! and DWARF 5, section 6.4).

use std::time::{Duration, Instant};

use gimli::{
    CfaRule, EhFrame, Encoding, EndianSlice, EvaluationResult, Format, LittleEndian, Register,
    RegisterRule, UnwindContext, UnwindExpression, Value,
};

use super::code::Code;
use crate::bpf::bridge_loop::types::{bridge_loop_limit, stack_copy};
use crate::bpf::record::read;

/// As many frames as the kernel looks for.
const MAX_FRAMES: usize = bridge_loop_limit::MAX_FRAMES.0 as usize;

/// What DWARF calls the registers (`Figure 3.36` of the System V ABI of x86-64; `aadwarf64` of Arm).
#[cfg(target_arch = "x86_64")]
mod machine {
    /// By DWARF's number, the word of `struct pt_regs`: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, rip.
    pub const WORDS: [usize; 17] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
    pub const FRAME: usize = 6;
    pub const STACK: usize = 7;
    pub const CODE: usize = 16;
    /// What a function restores before it returns.
    pub const PRESERVED: [usize; 6] = [3, 6, 12, 13, 14, 15];
    /// The bits of an address.
    pub const ADDRESS: u64 = u64::MAX;
}

#[cfg(target_arch = "aarch64")]
mod machine {
    /// By DWARF's number, the word of `struct user_pt_regs`: x0 to x30, sp, pc.
    pub const WORDS: [usize; 33] = {
        let mut words = [0; 33];
        let mut i = 0;
        while i < words.len() {
            words[i] = i;
            i += 1;
        }
        words
    };
    pub const FRAME: usize = 29;
    pub const STACK: usize = 31;
    pub const CODE: usize = 32;
    pub const PRESERVED: [usize; 12] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
    /// A return address may be signed in the bits above.
    pub const ADDRESS: u64 = (1 << 48) - 1;
}

use machine::{ADDRESS, CODE, FRAME, PRESERVED, STACK, WORDS};

/// What is known of the registers, by DWARF's numbers.
type Registers = [Option<u64>; WORDS.len()];

pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// How often it is looked for libraries that were loaded since, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A copy of a part of a thread's stack.
pub struct StackCopy {
    regs: Registers,
    /// Of the first byte of `data`.
    start: u64,
    data: Vec<u8>,
}

impl StackCopy {
    /// Reads a `struct stack_copy` (bpf/bridge_loop.h), and the id of its thread; nothing if the record is another.
    pub fn from_bytes(record: &[u8]) -> Option<(u32, Self)> {
        let (header, data) = read::<stack_copy>(record)?;
        if u32::from(header.head.kind) != bridge_loop_limit::KIND_STACK_COPY.0 {
            return None;
        }
        let regs = WORDS.map(|word| header.regs.get(word).copied());
        let copy = Self {
            start: regs[STACK]?,
            regs,
            data: data.get(..header.size as usize)?.to_vec(),
        };
        Some((header.head.tid, copy))
    }

    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.data.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// Why no more callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There are no more: this is where the thread began.
    Outermost,
    /// They are further up in the stack than was copied.
    Copy,
    /// Nothing is known of the frame of the last function.
    NoInformation,
    /// There are more frames than are looked for.
    TooMany,
    /// There was no copy: these frames are the kernel's, by frame pointers.
    FramePointers,
}

/// A stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Addresses, the innermost first.
    pub frames: Vec<u64>,
    /// How many of them are certain. Those after them are by frame pointers, or follow one that is.
    pub certain: usize,
    pub end: End,
}

impl Chain {
    /// What the kernel found by frame pointers, of which only the first is certain.
    pub fn by_frame_pointers(frames: Vec<u64>) -> Self {
        Self {
            certain: frames.len().min(1),
            frames,
            end: End::FramePointers,
        }
    }
}

/// Finds the callers in the stacks of a process.
pub struct Unwinder {
    pid: u32,
    code: Vec<Code>,
    looked: Instant,
    context: UnwindContext<usize>,
}

impl Unwinder {
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            code: Code::of_process(pid),
            looked: Instant::now(),
            context: UnwindContext::new(),
        }
    }

    /// For the fuzz targets: finds the callers by a file of which all segments of code are mapped where it was linked.
    #[cfg(fuzzing)]
    #[doc(hidden)]
    pub fn of_file(file: &[u8]) -> Self {
        Self {
            pid: u32::MAX,
            code: Code::of_file(file),
            looked: Instant::now() + Duration::from_secs(3600),
            context: UnwindContext::new(),
        }
    }

    /// The frames of a stack.
    pub fn unwind(&mut self, copy: &StackCopy) -> Chain {
        let mut regs = copy.regs;
        let (mut frames, mut certain) = (Vec::new(), 0);
        let mut guessed = false;
        // Whether the code address is that of an instruction to be run, and not that behind a call, where another
        // function may begin.
        let mut exact = true;
        let end = loop {
            let Some(address) = regs[CODE] else {
                break End::NoInformation;
            };
            if frames.len() == MAX_FRAMES {
                break End::TooMany;
            }
            frames.push(address);
            if !guessed {
                certain = frames.len();
            }
            let at = address.wrapping_sub(u64::from(!exact));
            match self.caller(copy, &regs, at) {
                Ok(Some((caller, is_signal))) => (regs, exact) = (caller, is_signal),
                Ok(None) => break End::Outermost,
                Err(End::NoInformation) => match self.by_frame_pointer(copy, &regs) {
                    Some(caller) => (regs, exact, guessed) = (caller, false, true),
                    None => break End::NoInformation,
                },
                Err(end) => break end,
            }
        };
        Chain {
            frames,
            certain,
            end,
        }
    }

    fn code(&mut self, address: u64) -> Option<usize> {
        let position = |all: &[Code]| all.iter().position(|code| code.range.contains(&address));
        let found = position(&self.code);
        if found.is_none() && self.looked.elapsed() >= LOOK_INTERVAL {
            self.code = Code::of_process(self.pid);
            self.looked = Instant::now();
            return position(&self.code);
        }
        found
    }

    /// The registers that the caller of the function at an address had, and whether that is not a function that was
    /// called, but one that a signal interrupted; `None` if the function has no caller.
    fn caller(
        &mut self,
        copy: &StackCopy,
        regs: &Registers,
        at: u64,
    ) -> Result<Option<(Registers, bool)>, End> {
        let unknown = End::NoInformation;
        let code = self.code(at).ok_or(unknown)?;
        let (code, context) = (&self.code[code], &mut self.context);
        let linked = at.wrapping_sub(code.bias);
        let eh_frame = EhFrame::new(&code.frames.eh_frame, LittleEndian);
        let fde = code.frames.find(&eh_frame, linked).ok_or(unknown)?;
        let row = fde.unwind_info_for_address(&eh_frame, &code.frames.bases, context, linked);
        let row = row.map_err(|_| unknown)?;
        let register = |register: Register| regs.get(usize::from(register.0)).copied().flatten();
        let evaluate = |expression: &UnwindExpression<usize>, cfa: Option<u64>| {
            evaluate(expression, &eh_frame, copy, regs, cfa)
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset {
                register: of,
                offset,
            } => register(*of).map(|value| value.wrapping_add_signed(*offset)),
            CfaRule::Expression(expression) => evaluate(expression, None),
        };
        let cfa = cfa.ok_or(unknown)?;
        let return_address = fde.cie().return_address_register();
        let mut caller = [None; WORDS.len()];
        for (number, value) in (0..).zip(&mut caller) {
            let preserved = PRESERVED.contains(&usize::from(number));
            *value = match row.register(Register(number)) {
                None if usize::from(number) == STACK => Some(cfa),
                None if !preserved => None,
                None | Some(RegisterRule::SameValue) => register(Register(number)),
                Some(RegisterRule::Undefined) if Register(number) == return_address => {
                    return Ok(None);
                }
                Some(RegisterRule::Offset(offset)) => {
                    let address = cfa.wrapping_add_signed(offset);
                    let word = copy.word(address);
                    if word.is_none() && Register(number) == return_address {
                        return Err(match address >= copy.start {
                            true => End::Copy,
                            false => unknown,
                        });
                    }
                    word
                }
                Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
                Some(RegisterRule::Register(other)) => register(other),
                Some(RegisterRule::Expression(expression)) => {
                    evaluate(&expression, Some(cfa)).and_then(|address| copy.word(address))
                }
                Some(RegisterRule::ValExpression(expression)) => evaluate(&expression, Some(cfa)),
                Some(_) => None,
            };
        }
        let address = caller.get(usize::from(return_address.0)).copied().flatten();
        caller[CODE] = address.map(|address| address & ADDRESS);
        // Each caller is further up, but for that of a function which has no frame.
        let is_up = |before: u64| cfa > before || cfa == before && caller[CODE] != regs[CODE];
        match (regs[STACK], caller[CODE]) {
            (Some(before), Some(_)) if is_up(before) => {
                Ok(Some((caller, fde.is_signal_trampoline())))
            }
            _ => Err(unknown),
        }
    }

    /// The same by the frame pointer, if the function keeps one: nothing says whether it does. `None` if what it leads
    /// to is no code.
    fn by_frame_pointer(&mut self, copy: &StackCopy, regs: &Registers) -> Option<Registers> {
        let frame = regs[FRAME].filter(|frame| Some(*frame) >= regs[STACK])?;
        let mut caller = [None; WORDS.len()];
        let address = copy.word(frame.checked_add(8)?)? & ADDRESS;
        caller[FRAME] = copy.word(frame);
        caller[STACK] = frame.checked_add(16);
        caller[CODE] = Some(address);
        self.code(address).is_some().then_some(caller)
    }
}

/// The value of an expression. `cfa` is what it begins with, if that of the frame is known.
fn evaluate<'a>(
    expression: &UnwindExpression<usize>,
    eh_frame: &EhFrame<Bytes<'a>>,
    copy: &StackCopy,
    regs: &Registers,
    cfa: Option<u64>,
) -> Option<u64> {
    const STEPS: u32 = 1000;
    let encoding = Encoding {
        address_size: 8,
        format: Format::Dwarf32,
        version: 5,
    };
    let mut evaluation = expression.get(eh_frame).ok()?.evaluation(encoding);
    evaluation.set_max_iterations(STEPS);
    if let Some(cfa) = cfa {
        evaluation.set_initial_value(cfa);
    }
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = regs.get(usize::from(register.0)).copied().flatten()?;
                evaluation.resume_with_register(Value::Generic(value))
            }
            EvaluationResult::RequiresMemory {
                address, size: 8, ..
            } => evaluation.resume_with_memory(Value::Generic(copy.word(address)?)),
            _ => return None,
        }
        .ok()?;
    }
    match evaluation.value_result()? {
        Value::Generic(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::record::bytes;

    /// A record of a stack of two words at 0x7000.
    fn copy(kind: u32, size: u32) -> Vec<u8> {
        let mut header = stack_copy {
            size,
            ..stack_copy::default()
        };
        header.head.tid = 42;
        header.head.kind = kind as u16;
        header.regs[WORDS[STACK]] = 0x7000;
        header.regs[WORDS[FRAME]] = 0x7000;
        header.regs[WORDS[CODE]] = 0x1234;
        let mut record = bytes(&header).to_vec();
        record.extend([0x7010_u64, 0x5678].map(u64::to_le_bytes).concat());
        record
    }

    /// Check that a copy is read with its registers and words, that a record of another kind or of any length is no
    /// cause for a panic, and that no word beyond it is one of it.
    #[test]
    fn copies() {
        let kind = bridge_loop_limit::KIND_STACK_COPY.0;
        let record = copy(kind, 16);
        let (tid, read) = StackCopy::from_bytes(&record).unwrap();
        assert_eq!(
            (tid, read.start, read.regs[CODE]),
            (42, 0x7000, Some(0x1234))
        );
        assert_eq!(read.word(0x7000), Some(0x7010));
        assert_eq!(read.word(0x7008), Some(0x5678));
        for outside in [0, 0x6fff, 0x7009, 0x7010, u64::MAX] {
            assert_eq!(read.word(outside), None);
        }
        for len in 0..record.len() {
            assert!(StackCopy::from_bytes(&record[..len]).is_none());
        }
        assert!(StackCopy::from_bytes(&copy(kind, 17)).is_none());
        assert!(StackCopy::from_bytes(&copy(0, 16)).is_none());
    }

    /// Check that of a process which has exited, or of code that is no file's, nothing is known but where it was.
    #[test]
    fn no_information() {
        let (_, copy) =
            StackCopy::from_bytes(&copy(bridge_loop_limit::KIND_STACK_COPY.0, 16)).unwrap();
        let chain = Unwinder::new(u32::MAX).unwind(&copy);
        assert_eq!(
            chain,
            Chain {
                frames: vec![0x1234],
                certain: 1,
                end: End::NoInformation,
            }
        );
        assert_eq!(Chain::by_frame_pointers(Vec::new()).certain, 0);
        assert_eq!(Chain::by_frame_pointers(vec![1, 2]).certain, 1);
    }
}
