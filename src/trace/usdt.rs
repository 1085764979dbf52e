//! USDT probes of an ELF file: where they are and how to fetch their arguments.
//!
//! `<sys/sdt.h>` of SystemTap (4.8, and every version since `_SDT_NOTE_TYPE` 3) leaves one note in
//! `.note.stapsdt` for each place that fires a probe: three words (address of the nop, link-time
//! address of `.stapsdt.base`, address of the semaphore or 0) and three NUL-terminated strings
//! (provider, name, argument specifications). [`probes`] reads them, [`parse_args`] turns the last
//! string into something that a BPF program can follow.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader32, FileHeader64, NoteType, SHT_NOTE};
use object::read::elf::{FileHeader, Note, NoteIterator, SectionHeader};
use object::{Endian, Endianness, FileKind, ReadRef};

use super::places::{Places, Relocations};

/// `n_type` of a probe's note (`_SDT_NOTE_TYPE`).
const NT_STAPSDT: NoteType = NoteType(3);

/// Why probes or their arguments could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no ELF file, or its headers lead nowhere.
    #[error("failed to read the ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// Sections of notes, or of what a linker writes to them, have more bytes together than the file, which no tool
    /// makes: to read all of them could take forever.
    #[error("the sections of the file overlap")]
    Overlap,
    /// The `index`-th note (from 0) of the section is cut off or lacks a field.
    #[error("note {index} of .note.stapsdt is damaged: {reason}")]
    Note {
        /// Which note of the section, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A probe or its semaphore is at an address that no segment of the file provides; a linker
    /// leaves such a note behind when it drops the function that the probe was in.
    #[error(
        "the {what} of probe {}:{} at {address:#x} is in no segment of the file",
        provider.escape_debug(), name.escape_debug()
    )]
    Unmapped {
        /// `"site"` or `"semaphore"`.
        what: &'static str,
        /// Provider of the probe.
        provider: String,
        /// Name of the probe.
        name: String,
        /// The address as linked.
        address: u64,
    },
    /// An argument specification of a form that cannot be fetched.
    #[error("cannot fetch the probe argument {argument:?}: {reason}")]
    Argument {
        /// The specification as the compiler wrote it.
        argument: String,
        /// What about it is not supported.
        reason: &'static str,
    },
}

/// The instruction set of an ELF file, as far as arguments differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
    /// Any other `e_machine`: its probes can be listed, their arguments not be fetched.
    Other(u16),
}

/// What kind of ELF file the sites are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program or a library: what can be loaded, and so the only form in which something can be attached to a site.
    Linked,
    /// What `objcopy --only-keep-debug` and its like leave of one: its notes, and none of its code.
    DebugFile,
    /// What a compiler makes, a `.o` file: the linker decides where its code comes to be.
    Relocatable,
}

/// Everything that a file's `.note.stapsdt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// What kind of file it is.
    pub form: Form,
    /// Sorted by provider, then name.
    pub probes: Vec<Probe>,
    /// Notes that could not be used ([`Error::Note`], [`Error::Unmapped`]), in the file's order: the first
    /// [`MAX_WARNINGS`] of them.
    pub warnings: Vec<Error>,
    /// How many more of them there are.
    pub more_warnings: usize,
}

/// A probe: every site that fires the same `provider:name` in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// First half of the name, `dpif_recv` in `dpif_recv:recv_upcall`.
    pub provider: String,
    /// Second half of the name, `recv_upcall` in `dpif_recv:recv_upcall`.
    pub name: String,
    /// What the arguments of the sites are written for.
    pub machine: Machine,
    /// In the file's order; never empty. Each may have arguments of its own.
    pub sites: Vec<Site>,
}

/// A place in the code that fires a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Address as linked, corrected for a prelinked file: what `readelf -n` and `objdump` show. In a
    /// [`Form::Relocatable`] file it counts from the beginning of its section.
    pub address: u64,
    /// The same place as a file offset: what a uprobe is attached to. 0 in a [`Form::DebugFile`], which has no code.
    pub offset: u64,
    /// File offset of the probe's 16-bit semaphore, if it has one: the uprobe's reference counter. 0 if the file is
    /// not [`Form::Linked`].
    pub semaphore: Option<u64>,
    /// Argument specifications as the compiler wrote them, for [`parse_args`].
    pub args: String,
}

/// How to fetch one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Bytes that count: 1, 2, 4 or 8, the lowest of a register or a constant. Never more than
    /// the register named holds.
    pub size: u8,
    /// Whether to extend those bytes to 64 bits by sign or by zeros.
    pub signed: bool,
    /// Where the bytes are.
    pub operand: Operand,
}

/// Where the bytes of an argument are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// In the note itself. Unsigned values from 2^63 on appear as the negative number of the same
    /// bits.
    Constant(i64),
    /// In a register.
    Register(Register),
    /// In the process's memory at `base + index * scale + offset`.
    Memory {
        /// A 64-bit register.
        base: Register,
        /// A 64-bit register.
        index: Option<Register>,
        /// 1, 2, 4 or 8; 1 without an index.
        scale: u8,
        /// Bytes.
        offset: i64,
    },
}

/// A register, or the low part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Which 64-bit word of the context that a uprobe's BPF program gets: `struct pt_regs` of
    /// x86-64 (`arch/x86/include/uapi/asm/ptrace.h`), `struct user_pt_regs` of arm64
    /// (`arch/arm64/include/uapi/asm/ptrace.h`).
    pub index: u8,
    /// As the assembler writes it: `%ecx`, `x0`.
    pub name: &'static str,
}

/// How many notes that could not be used are described. A section may have millions.
pub const MAX_WARNINGS: usize = 1000;

/// Reads the probes of an ELF file: 32 or 64 bits, either byte order, any machine.
///
/// A file without probes has an empty list. Notes of other owners are passed over; a damaged note
/// is a warning and the notes before it, and after it if its length is still known, are
/// kept. `data` is the whole file: `&[u8]`, or `&object::ReadCache` to read no more of it than the
/// headers and notes.
///
/// # Errors
/// [`Error::Elf`] if `data` is no ELF file or its headers cannot be followed; [`Error::Overlap`].
pub fn probes<'data, R: ReadRef<'data>>(data: R) -> Result<Probes, Error> {
    match FileKind::parse(data)? {
        FileKind::Elf32 => read::<FileHeader32<Endianness>, R>(data),
        // Whatever it is, this refuses it unless it is ELF of 64 bits.
        _ => read::<FileHeader64<Endianness>, R>(data),
    }
}

fn read<'data, Elf, R>(data: R) -> Result<Probes, Error>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let machine = match header.e_machine(endian) {
        EM_X86_64 => Machine::X86_64,
        EM_AARCH64 => Machine::Aarch64,
        other => Machine::Other(other.0),
    };
    let sections = header.sections(endian, data)?;
    let places = Places::new(header, &sections, data)?;
    let base = sections
        .section_by_name(endian, b".stapsdt.base")
        .map(|(_, s)| s.sh_addr(endian));
    let base = base.map_or(0, Into::into);

    let mut sites: BTreeMap<(String, String), Vec<Site>> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut more_warnings = 0;
    let mut index = 0;
    let of_notes = |section: &Elf::SectionHeader| {
        section.sh_type(endian) == SHT_NOTE
            && sections.section_name(endian, section) == Ok(b".note.stapsdt")
    };
    let found = sections
        .enumerate()
        .filter(|(_, section)| of_notes(section));
    let found: Vec<_> = found.collect();
    let numbers: BTreeSet<usize> = found.iter().map(|(number, _)| number.0).collect();
    let relocations = match places.form {
        Form::Relocatable => Relocations::new(endian, &sections, &numbers, data)?,
        _ => Relocations::default(),
    };
    let mut unread = Unread::new(data)?;
    for (number, section) in found {
        let bytes = section.data(endian, data)?;
        unread.take(bytes.len())?;
        let notes = NoteIterator::<Elf>::new(endian, section.sh_addralign(endian), bytes)?;
        for note in notes {
            match note.map_err(|_| "it is longer than its section") {
                Ok(note) if note.name() != b"stapsdt" || note.n_type(endian) != NT_STAPSDT => {}
                note => {
                    let fields = note.and_then(|note| Fields::new(&note, bytes, endian));
                    let fields = fields.map_err(|reason| Error::Note { index, reason });
                    let site = fields.and_then(|fields| match places.form {
                        Form::Relocatable => fields.unlinked_site(number.0, &relocations),
                        _ => fields.site(base, &places),
                    });
                    match site {
                        Ok((name, site)) => {
                            sites.entry(name).or_default().push(site);
                        }
                        Err(err) if warnings.len() < MAX_WARNINGS => warnings.push(err),
                        Err(_) => more_warnings += 1,
                    }
                }
            }
            index += 1;
        }
    }
    let probes = sites
        .into_iter()
        .map(|((provider, name), sites)| Probe {
            provider,
            name,
            machine,
            sites: distinct(sites),
        })
        .collect();
    let form = places.form;
    Ok(Probes {
        form,
        probes,
        warnings,
        more_warnings,
    })
}

/// The sites without those that are the same as one before. Identical functions that the linker folded leave identical
/// notes: one event must not count twice.
fn distinct(mut sites: Vec<Site>) -> Vec<Site> {
    let mut seen = HashSet::with_capacity(sites.len());
    let is_new: Vec<bool> = sites.iter().map(|site| seen.insert(site)).collect();
    let mut is_new = is_new.into_iter();
    sites.retain(|_| is_new.next().unwrap_or(false));
    sites
}

/// How many bytes of a file were not read yet, of what is in no two sections.
pub(super) struct Unread(u64);

impl Unread {
    pub(super) fn new<'data>(data: impl ReadRef<'data>) -> Result<Self, Error> {
        Ok(Self(data.len().map_err(|()| Error::Overlap)?))
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.0 = self.0.checked_sub(bytes as u64).ok_or(Error::Overlap)?;
        Ok(())
    }
}

/// A probe's note, taken apart.
struct Fields<'data> {
    /// Where its words are in the section, and how many bytes each has.
    at: u64,
    word: u64,
    address: u64,
    base: u64,
    semaphore: u64,
    provider: &'data str,
    name: &'data str,
    args: &'data str,
}

impl<'data> Fields<'data> {
    /// `section` is what the note is a part of.
    fn new<Elf>(
        note: &Note<'data, Elf>,
        section: &[u8],
        endian: Endianness,
    ) -> Result<Self, &'static str>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        let mut desc = note.desc();
        let at = desc.as_ptr().addr().wrapping_sub(section.as_ptr().addr());
        let mut words = [0; 3];
        for word in &mut words {
            let (value, rest) = if Elf::is_type_64_sized() {
                let (bytes, rest) = desc.split_first_chunk().ok_or("it has no addresses")?;
                (endian.read_u64(*bytes), rest)
            } else {
                let (bytes, rest) = desc.split_first_chunk().ok_or("it has no addresses")?;
                (endian.read_u32(*bytes).into(), rest)
            };
            *word = value;
            desc = rest;
        }
        let mut strings = [""; 3];
        for string in &mut strings {
            let end = desc
                .iter()
                .position(|&b| b == 0)
                .ok_or("a string in it has no end")?;
            *string = str::from_utf8(&desc[..end]).map_err(|_| "a string in it is not UTF-8")?;
            desc = &desc[end + 1..];
        }
        let [address, base, semaphore] = words;
        let [provider, name, args] = strings;
        Ok(Fields {
            at: at as u64,
            word: if Elf::is_type_64_sized() { 8 } else { 4 },
            address,
            base,
            semaphore,
            provider,
            name,
            args,
        })
    }

    /// The site, and the provider and name that it belongs to. `base` is where `.stapsdt.base` is
    /// in this file, or 0.
    fn site(&self, base: u64, places: &Places) -> Result<((String, String), Site), Error> {
        // Prelink moves a file's addresses but not what its notes say of them.
        let moved = if base != 0 && self.base != 0 {
            base.wrapping_sub(self.base)
        } else {
            0
        };
        let find = |what, address: u64, code| {
            let address = address.wrapping_add(moved);
            match places.offset(address, code) {
                Some(offset) => Ok((address, offset)),
                None => Err(self.unmapped(what, address)),
            }
        };
        let (address, offset) = find("site", self.address, true)?;
        let semaphore = match self.semaphore {
            0 => None,
            semaphore => Some(find("semaphore", semaphore, false)?.1),
        };
        Ok(self.named(address, offset, semaphore))
    }

    /// The same in a file that is not linked yet. `section` is the number of the note's section.
    fn unlinked_site(
        &self,
        section: usize,
        relocations: &Relocations,
    ) -> Result<((String, String), Site), Error> {
        let Some(to) = relocations.at(section, self.at) else {
            return Err(self.unmapped("site", self.address));
        };
        let address = match to.in_place {
            true => to.address.wrapping_add(self.address),
            false => to.address,
        };
        let semaphore = relocations.at(section, self.at + 2 * self.word).map(|_| 0);
        let offset = to.section.saturating_add(address);
        Ok(self.named(address, offset, semaphore))
    }

    fn named(&self, address: u64, offset: u64, semaphore: Option<u64>) -> ((String, String), Site) {
        let site = Site {
            address,
            offset,
            semaphore,
            args: self.args.into(),
        };
        ((self.provider.into(), self.name.into()), site)
    }

    fn unmapped(&self, what: &'static str, address: u64) -> Error {
        Error::Unmapped {
            what,
            provider: self.provider.into(),
            name: self.name.into(),
            address,
        }
    }
}

/// Splits the argument specifications of a site at the blanks between them; one of aarch64 may
/// have blanks inside its brackets.
pub fn split_args(args: &str) -> impl Iterator<Item = &str> {
    let mut rest = args.trim_ascii();
    std::iter::from_fn(move || {
        let mut depth = 0_u32;
        let end = rest.find(|c: char| {
            match c {
                '[' | '(' => depth += 1,
                ']' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && c.is_ascii_whitespace()
        });
        let (arg, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.trim_ascii_start();
        (!arg.is_empty()).then_some(arg)
    })
}

/// Parses all argument specifications of a site; none at all is an empty list.
///
/// # Errors
/// [`Error::Argument`] for the first one that cannot be fetched, see [`parse_arg`].
pub fn parse_args(args: &str, machine: Machine) -> Result<Vec<Arg>, Error> {
    split_args(args)
        .map(|arg| parse_arg(arg, machine))
        .collect()
}

/// Parses one argument specification, `SIZE@OPERAND`, where a negative size says signed.
///
/// The operand is what the compiler printed for constraint `"nor"`: on x86-64 `%rdx`, `$5`,
/// `12(%rbx)`, `-4(%rbp,%rax,4)`; on aarch64 `x0`, `5`, `[sp, 12]`, `[x1, x2, lsl 3]`. A missing
/// size, as written by old versions of the header, is that of the register, or 8.
///
/// # Errors
/// [`Error::Argument`] for what has no fixed place in the registers or memory that a probe sees
/// (floating point and vectors, addresses relative to a symbol, `%rip` or a segment), for the
/// forms that the constraint excludes (`%ah`, 32-bit address registers, `[x1, w2, sxtw]`), for a
/// register narrower than the size, and on machines other than the two.
pub fn parse_arg(arg: &str, machine: Machine) -> Result<Arg, Error> {
    let parse = || {
        let (size, operand) = match arg.split_once('@') {
            Some((size, operand)) => (Some(parse_size(size)?), operand),
            None => (None, arg),
        };
        let (operand, width) = match machine {
            Machine::X86_64 => x86_64_operand(operand)?,
            Machine::Aarch64 => aarch64_operand(operand)?,
            Machine::Other(_) => return Err("it is for neither x86-64 nor aarch64"),
        };
        let (size, signed) = size.unwrap_or((width, false));
        if size > width {
            return Err("the register is narrower than the size");
        }
        Ok(Arg {
            size,
            signed,
            operand,
        })
    };
    parse().map_err(|reason| Error::Argument {
        argument: arg.into(),
        reason,
    })
}

/// The size in bytes, and whether it is signed.
fn parse_size(size: &str) -> Result<(u8, bool), &'static str> {
    let (digits, signed) = match size.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (size, false),
    };
    match digits {
        "1" => Ok((1, signed)),
        "2" => Ok((2, signed)),
        "4" => Ok((4, signed)),
        "8" => Ok((8, signed)),
        _ if digits.ends_with('f') => Err("it is a floating-point value"),
        _ => Err("its size is not 1, 2, 4 or 8"),
    }
}

const SYMBOL: &str = "it is relative to a symbol, whose address the note does not give";
const REGISTER: &str = "it names no general-purpose register";
const ADDRESS_REGISTER: &str = "its address is not in a 64-bit register";
const FORM: &str = "its form is unknown";
const NUMBER: &str = "its number does not fit 64 bits";

/// An operand in AT&T syntax, and the most bytes that may be taken of it.
fn x86_64_operand(text: &str) -> Result<(Operand, u8), &'static str> {
    if text.contains(':') {
        return Err("it is relative to a segment register");
    }
    if let Some(constant) = text.strip_prefix('$') {
        return Ok((Operand::Constant(parse_constant(constant)?), 8));
    }
    if text.starts_with('%') {
        let (register, width) = x86_64_register(text)?;
        return Ok((Operand::Register(register), width));
    }
    let Some((offset, inside)) = text.split_once('(') else {
        return Err(parse_sum(text).err().unwrap_or("it is an absolute address"));
    };
    let inside = inside.strip_suffix(')').ok_or(FORM)?;
    let mut parts = inside.split(',');
    let base = match parts.next() {
        Some("%rip" | "%eip") => return Err("it is relative to %rip"),
        Some("") | None => return Err("its address has no base register"),
        Some(name) => x86_64_address_register(name)?,
    };
    let offset = if offset.is_empty() {
        0
    } else {
        parse_sum(offset)?
    };
    let index = parts.next().map(x86_64_address_register).transpose()?;
    let scale = match parts.next() {
        None | Some("1") => 1,
        Some("2") => 2,
        Some("4") => 4,
        Some("8") => 8,
        Some(_) => return Err("its scale is not 1, 2, 4 or 8"),
    };
    match parts.next() {
        None => Ok((
            Operand::Memory {
                base,
                index,
                scale,
                offset,
            },
            8,
        )),
        Some(_) => Err(FORM),
    }
}

fn x86_64_address_register(name: &str) -> Result<Register, &'static str> {
    match x86_64_register(name)? {
        (register, 8) => Ok(register),
        _ => Err(ADDRESS_REGISTER),
    }
}

/// Index in `struct pt_regs`, and names of the lowest 8, 4, 2 and 1 bytes.
#[rustfmt::skip]
const X86_64_REGISTERS: [(u8, [&str; 4]); 16] = [
    (0, ["%r15", "%r15d", "%r15w", "%r15b"]),
    (1, ["%r14", "%r14d", "%r14w", "%r14b"]),
    (2, ["%r13", "%r13d", "%r13w", "%r13b"]),
    (3, ["%r12", "%r12d", "%r12w", "%r12b"]),
    (4, ["%rbp", "%ebp", "%bp", "%bpl"]),
    (5, ["%rbx", "%ebx", "%bx", "%bl"]),
    (6, ["%r11", "%r11d", "%r11w", "%r11b"]),
    (7, ["%r10", "%r10d", "%r10w", "%r10b"]),
    (8, ["%r9", "%r9d", "%r9w", "%r9b"]),
    (9, ["%r8", "%r8d", "%r8w", "%r8b"]),
    (10, ["%rax", "%eax", "%ax", "%al"]),
    (11, ["%rcx", "%ecx", "%cx", "%cl"]),
    (12, ["%rdx", "%edx", "%dx", "%dl"]),
    (13, ["%rsi", "%esi", "%si", "%sil"]),
    (14, ["%rdi", "%edi", "%di", "%dil"]),
    // Between them: orig_rax, rip, cs, eflags.
    (19, ["%rsp", "%esp", "%sp", "%spl"]),
];

/// A register and its bytes.
fn x86_64_register(name: &str) -> Result<(Register, u8), &'static str> {
    for (index, names) in X86_64_REGISTERS {
        for (name_of_part, width) in names.into_iter().zip([8, 4, 2, 1]) {
            if name == name_of_part {
                return Ok((
                    Register {
                        index,
                        name: name_of_part,
                    },
                    width,
                ));
            }
        }
    }
    Err(match name {
        "%ah" | "%bh" | "%ch" | "%dh" => "it is the second byte of a register",
        _ => REGISTER,
    })
}

/// An operand in the syntax of aarch64, and the most bytes that may be taken of it.
fn aarch64_operand(text: &str) -> Result<(Operand, u8), &'static str> {
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or(FORM)?;
        return Ok((aarch64_memory(inside)?, 8));
    }
    if let Some((register, width)) = aarch64_register(text) {
        return Ok((Operand::Register(register), width));
    }
    match text {
        // The zero register is not one of those that the kernel saves.
        "xzr" => Ok((Operand::Constant(0), 8)),
        "wzr" => Ok((Operand::Constant(0), 4)),
        _ if text.starts_with(['x', 'w', 's', 'd', 'v', 'q']) => Err(REGISTER),
        _ => Ok((
            Operand::Constant(parse_constant(text.strip_prefix('#').unwrap_or(text))?),
            8,
        )),
    }
}

/// What is inside the brackets of a memory operand.
fn aarch64_memory(inside: &str) -> Result<Operand, &'static str> {
    let mut parts = inside.split(',').map(str::trim_ascii);
    let base = aarch64_address_register(parts.next().unwrap_or_default())?;
    let (mut index, mut scale, mut offset) = (None, 1, 0);
    if let Some(part) = parts.next() {
        if part.starts_with(['x', 'w', 's']) {
            index = Some(aarch64_address_register(part)?);
            scale = match parts.next() {
                None | Some("lsl 0" | "lsl #0") => 1,
                Some("lsl 1" | "lsl #1") => 2,
                Some("lsl 2" | "lsl #2") => 4,
                Some("lsl 3" | "lsl #3") => 8,
                Some(_) => return Err("its index is not shifted left by 0 to 3"),
            };
        } else {
            offset = parse_sum(part.strip_prefix('#').unwrap_or(part))?;
        }
    }
    match parts.next() {
        None => Ok(Operand::Memory {
            base,
            index,
            scale,
            offset,
        }),
        Some(_) => Err(FORM),
    }
}

fn aarch64_address_register(name: &str) -> Result<Register, &'static str> {
    match aarch64_register(name) {
        Some((register, 8)) => Ok(register),
        Some(_) => Err(ADDRESS_REGISTER),
        None => Err(REGISTER),
    }
}

/// Names of 8 and 4 bytes, in the order of `struct user_pt_regs`.
#[rustfmt::skip]
const AARCH64_REGISTERS: [[&str; 2]; 32] = [
    ["x0", "w0"], ["x1", "w1"], ["x2", "w2"], ["x3", "w3"],
    ["x4", "w4"], ["x5", "w5"], ["x6", "w6"], ["x7", "w7"],
    ["x8", "w8"], ["x9", "w9"], ["x10", "w10"], ["x11", "w11"],
    ["x12", "w12"], ["x13", "w13"], ["x14", "w14"], ["x15", "w15"],
    ["x16", "w16"], ["x17", "w17"], ["x18", "w18"], ["x19", "w19"],
    ["x20", "w20"], ["x21", "w21"], ["x22", "w22"], ["x23", "w23"],
    ["x24", "w24"], ["x25", "w25"], ["x26", "w26"], ["x27", "w27"],
    ["x28", "w28"], ["x29", "w29"], ["x30", "w30"], ["sp", "wsp"],
];

/// A register and its bytes.
fn aarch64_register(name: &str) -> Option<(Register, u8)> {
    (0..).zip(AARCH64_REGISTERS).find_map(|(index, names)| {
        let (name, width) = names
            .into_iter()
            .zip([8, 4])
            .find(|&(part, _)| part == name)?;
        Some((Register { index, name }, width))
    })
}

/// A whole number of 64 bits, signed or unsigned, as the bits that it has.
fn parse_constant(text: &str) -> Result<i64, &'static str> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let magnitude = match digits.strip_prefix("0x") {
        _ if digits.starts_with(|c: char| c.is_alphabetic() || "_.:".contains(c)) => {
            return Err(SYMBOL);
        }
        _ if !digits.starts_with(|c: char| c.is_ascii_digit()) => return Err(FORM),
        Some(hex) if hex.starts_with('+') => return Err(FORM),
        Some(hex) => u64::from_str_radix(hex, 16),
        // Octal for an assembler; no compiler writes it.
        None if digits.len() > 1 && digits.starts_with('0') => return Err(FORM),
        None => digits.parse(),
    };
    match magnitude.map_err(|_| NUMBER)? {
        magnitude if !negative => Ok(magnitude.cast_signed()),
        magnitude => 0_i64.checked_sub_unsigned(magnitude).ok_or(NUMBER),
    }
}

/// An offset: one number or a sum of several, as in `-8+16(%rsp)`.
fn parse_sum(mut text: &str) -> Result<i64, &'static str> {
    let mut sum = 0_i64;
    loop {
        // A sign in front belongs to the term.
        let sign = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| matches!(c, '+' | '-'));
        let (term, rest) = text.split_at(sign.map_or(text.len(), |(at, _)| at));
        let term = parse_constant(term.strip_prefix('+').unwrap_or(term))?;
        sum = sum.checked_add(term).ok_or(NUMBER)?;
        if rest.is_empty() {
            return Ok(sum);
        }
        text = rest;
    }
}
