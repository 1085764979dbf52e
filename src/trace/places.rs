//! Where the code and the semaphores of probes are in an ELF file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use object::elf::{ET_REL, PF_X, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, Rel, Rela, SectionHeader, SectionTable, Sym};
use object::{Endianness, ReadRef, SectionIndex, SymbolIndex};

use super::usdt::{Error, Form, Unread};

/// What of a file is loaded, or was before something became of the file.
pub(super) struct Places {
    pub(super) form: Form,
    segments: Vec<Segment>,
}

struct Segment {
    addresses: Range<u64>,
    offset: u64,
    code: bool,
}

impl Places {
    pub(super) fn new<'data, Elf, R>(
        header: &Elf,
        sections: &SectionTable<'data, Elf, R>,
        data: R,
    ) -> Result<Self, Error>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let endian = header.endian()?;
        let (alloc, exec, nobits) = (SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS);
        let flags = |section: &Elf::SectionHeader| section.sh_flags(endian);
        let code = |section: &&Elf::SectionHeader| flags(section).contains(alloc | exec);
        let is_there = |section: &Elf::SectionHeader| section.sh_type(endian) != nobits;
        let mut codes = sections.iter().filter(code).peekable();
        let form = if header.e_type(endian) == ET_REL {
            Form::Relocatable
        } else if codes.peek().is_some() && !codes.any(is_there) {
            Form::DebugFile
        } else {
            Form::Linked
        };
        let segments = match form {
            Form::Relocatable => Vec::new(),
            // Its program headers are of no use: what they are about is elsewhere.
            Form::DebugFile => {
                let loaded = sections
                    .iter()
                    .filter(|section| flags(section).contains(alloc));
                let segment = |section: &Elf::SectionHeader| Segment {
                    addresses: range(section.sh_addr(endian), section.sh_size(endian)),
                    offset: 0,
                    code: code(&section),
                };
                loaded.map(segment).collect()
            }
            Form::Linked => {
                let headers = header.program_headers(endian, data)?.iter();
                let loaded = headers.filter(|header| header.p_type(endian) == PT_LOAD);
                let segment = |header: &Elf::ProgramHeader| Segment {
                    addresses: range(header.p_vaddr(endian), header.p_filesz(endian)),
                    offset: header.p_offset(endian).into(),
                    code: header.p_flags(endian).contains(PF_X),
                };
                loaded.map(segment).collect()
            }
        };
        Ok(Self { form, segments })
    }

    /// The file offset of a loaded address, among code or data only; 0 in a debug file.
    pub(super) fn offset(&self, address: u64, code: bool) -> Option<u64> {
        let mut segments = self.segments.iter();
        let segment = segments.find(|s| s.code == code && s.addresses.contains(&address))?;
        match self.form {
            Form::DebugFile => Some(0),
            _ => segment
                .offset
                .checked_add(address - segment.addresses.start),
        }
    }
}

fn range(start: impl Into<u64>, len: impl Into<u64>) -> Range<u64> {
    let start = start.into();
    start..start.saturating_add(len.into())
}

/// What the linker would write to places of sections, by the sections' numbers and the offsets in them.
#[derive(Default)]
pub(super) struct Relocations(BTreeMap<(usize, u64), Relocation>);

/// A symbol's address, and what is added to it.
#[derive(Clone, Copy)]
pub(super) struct Relocation {
    /// Within the section that the symbol is in.
    pub(super) address: u64,
    /// What is in its place is added too.
    pub(super) in_place: bool,
    /// Where that section begins in the file; 0 if the symbol is in another file.
    pub(super) section: u64,
}

impl Relocations {
    /// Those of the sections `of`. They are absolute addresses, whatever their type: those of a note can be no others.
    pub(super) fn new<'data, Elf, R>(
        endian: Endianness,
        sections: &SectionTable<'data, Elf, R>,
        of: &BTreeSet<usize>,
        data: R,
    ) -> Result<Self, Error>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let mut relocations = BTreeMap::new();
        let mut unread = Unread::new(data)?;
        for section in sections.iter() {
            let number = section.sh_info(endian) as usize;
            if !of.contains(&number) {
                continue;
            }
            let symbols = |table| sections.symbol_table_by_index(endian, data, table);
            let mut add = |symbol: &Elf::Sym, at: u64, addend, in_place| {
                let index = symbol.st_shndx(endian);
                let of_symbol = sections.section(SectionIndex(index.0.into()));
                let offset = of_symbol.map_or(0, |section| section.sh_offset(endian).into());
                let relocation = Relocation {
                    address: symbol.st_value(endian).into().wrapping_add(addend),
                    in_place,
                    section: offset,
                };
                relocations.insert((number, at), relocation);
            };
            let index = |symbol: Option<SymbolIndex>| symbol.unwrap_or(SymbolIndex(0));
            if let Some((list, table)) = section.rela(endian, data)?
                && !list.is_empty()
            {
                unread.take(size_of_val(list))?;
                let symbols = symbols(table)?;
                for rela in list {
                    let addend: i64 = rela.r_addend(endian).into();
                    let symbol = symbols.symbol(index(rela.symbol(endian, false)))?;
                    let at = rela.r_offset(endian).into();
                    add(symbol, at, addend.cast_unsigned(), false);
                }
            }
            if let Some((list, table)) = section.rel(endian, data)?
                && !list.is_empty()
            {
                unread.take(size_of_val(list))?;
                let symbols = symbols(table)?;
                for rel in list {
                    let symbol = symbols.symbol(index(rel.symbol(endian)))?;
                    add(symbol, rel.r_offset(endian).into(), 0, true);
                }
            }
        }
        Ok(Self(relocations))
    }

    /// That of a place in a section, by its number.
    pub(super) fn at(&self, section: usize, offset: u64) -> Option<Relocation> {
        self.0.get(&(section, offset)).copied()
    }
}
