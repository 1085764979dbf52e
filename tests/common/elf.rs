//! ELF files made by hand.

/// A small ELF file: one segment of code (0x40 bytes from file offset 0x200 at 0x10200), one of
/// data (0x40 bytes from 0x240 at 0x20240), and notes.
#[derive(Clone)]
pub struct Elf {
    pub wide: bool,
    pub big: bool,
    pub machine: u16,
    /// Address of .stapsdt.base.
    pub base: Option<u64>,
    /// Contents of .note.stapsdt.
    pub notes: Option<Vec<u8>>,
}

impl Default for Elf {
    fn default() -> Self {
        Elf {
            wide: true,
            big: false,
            machine: 62,
            base: Some(0x10230),
            notes: None,
        }
    }
}

impl Elf {
    fn half(&self, value: u16) -> [u8; 2] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn word(&self, value: u32) -> [u8; 4] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    /// An address or offset.
    pub fn address(&self, value: u64) -> Vec<u8> {
        match (self.wide, self.big) {
            (true, true) => value.to_be_bytes().to_vec(),
            (true, false) => value.to_le_bytes().to_vec(),
            (false, _) => self.word(u32::try_from(value).unwrap()).to_vec(),
        }
    }

    pub fn note(&mut self, owner: &[u8], kind: u32, desc: &[u8]) -> &mut Self {
        let mut note = Vec::new();
        for word in [owner.len() as u32, desc.len() as u32, kind] {
            note.extend(self.word(word));
        }
        for part in [owner, desc] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        self.notes.get_or_insert_default().extend(note);
        self
    }

    pub fn probe(&mut self, addresses: [u64; 3], strings: &[u8]) -> &mut Self {
        let mut desc = addresses.map(|address| self.address(address)).concat();
        desc.extend(strings);
        self.note(b"stapsdt\0", 3, &desc)
    }

    pub fn build(&self) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.stapsdt.base\0.note.stapsdt\0.shstrtab\0";
        let (ehsize, phentsize, shentsize) = if self.wide {
            (64, 56, 64)
        } else {
            (52, 32, 40)
        };
        let notes = self.notes.as_deref().unwrap_or_default();
        let names_at = 0x280 + notes.len();
        let sections_at = (names_at + NAMES.len()).next_multiple_of(8);
        // (name, type, address, offset, size), and an empty one first.
        let mut sections = vec![(0, 0, 0, 0, 0), (29, 3, 0, names_at, NAMES.len())];
        if let Some(base) = self.base {
            sections.push((1, 1, base, 0x230, 1));
        }
        if self.notes.is_some() {
            sections.push((15, 7, 0, 0x280, notes.len()));
        }

        let mut elf = vec![0x7f, b'E', b'L', b'F'];
        elf.extend([1 + u8::from(self.wide), 1 + u8::from(self.big), 1]);
        elf.resize(16, 0);
        elf.extend(self.half(3));
        elf.extend(self.half(self.machine));
        elf.extend(self.word(1));
        elf.extend(self.address(0));
        elf.extend(self.address(ehsize.into()));
        elf.extend(self.address(sections_at as u64));
        elf.extend(self.word(0));
        for half in [ehsize, phentsize, 2, shentsize, sections.len() as u16, 1] {
            elf.extend(self.half(half));
        }
        for (flags, offset, address) in [(5, 0x200, 0x10200), (6, 0x240, 0x20240)] {
            elf.extend(self.word(1));
            if self.wide {
                elf.extend(self.word(flags));
            }
            // Longer in memory than in the file.
            for word in [offset, address, address, 0x40, 0x48] {
                elf.extend(self.address(word));
            }
            if !self.wide {
                elf.extend(self.word(flags));
            }
            elf.extend(self.address(1));
        }
        elf.resize(0x280, 0);
        elf.extend(notes);
        elf.extend(NAMES);
        elf.resize(sections_at, 0);
        for (name, kind, address, offset, size) in sections {
            elf.extend(self.word(name));
            elf.extend(self.word(kind));
            elf.extend(self.address(0));
            elf.extend(self.address(address));
            elf.extend(self.address(offset as u64));
            elf.extend(self.address(size as u64));
            elf.extend(self.word(0));
            elf.extend(self.word(0));
            elf.extend(self.address(4));
            elf.extend(self.address(0));
        }
        elf
    }
}
