//! What a process has mapped as code, and what is known of the frames of its functions.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, FrameDescriptionEntry, LittleEndian, UnwindSection,
};
use object::elf::{FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};

use super::unwind::Bytes;
use crate::trace::target::Target;

/// A segment of code in the memory of a process.
pub(super) struct Code {
    pub(super) range: Range<u64>,
    /// How much further up it is than it was linked for.
    pub(super) bias: u64,
    pub(super) frames: Rc<Frames>,
}

/// What a file says of the frames of its functions.
pub(super) struct Frames {
    pub(super) eh_frame: Vec<u8>,
    /// The same, sorted.
    eh_frame_hdr: Option<Vec<u8>>,
    pub(super) bases: BaseAddresses,
    /// Offsets and addresses of its code.
    segments: Vec<(Range<u64>, u64)>,
}

impl Code {
    /// All that can be read; nothing of a process that has exited.
    pub(super) fn of_process(pid: u32) -> Vec<Self> {
        let objects = Target::from_pid(pid).and_then(|target| target.objects());
        let mut all = Vec::new();
        for object in objects.unwrap_or_default() {
            let frames = object
                .open()
                .ok()
                .and_then(|file| Frames::new(&ReadCache::new(file)));
            let Some(frames) = frames.map(Rc::new) else {
                continue;
            };
            let code = object
                .mappings
                .into_iter()
                .filter(|mapping| mapping.executable);
            all.extend(code.filter_map(|code| Self::new(code.range, code.offset, &frames)));
        }
        all.extend(Self::of_kernel(pid));
        all
    }

    /// See [`Unwinder::of_file`](super::unwind::Unwinder::of_file).
    #[cfg(fuzzing)]
    pub(super) fn of_file(file: &[u8]) -> Vec<Self> {
        let Some(frames) = Frames::new(file).map(Rc::new) else {
            return Vec::new();
        };
        let segments = frames.segments.iter().map(|(from, address)| {
            let len = from.end.saturating_sub(from.start);
            (*address..address.saturating_add(len), from.start)
        });
        let code = segments.filter_map(|(range, offset)| Self::new(range, offset, &frames));
        code.collect()
    }

    fn new(range: Range<u64>, offset: u64, frames: &Rc<Frames>) -> Option<Self> {
        let linked = frames.linked(offset)?;
        Some(Self {
            bias: range.start.wrapping_sub(linked),
            range,
            frames: Rc::clone(frames),
        })
    }

    /// The vDSO, which is a file in memory only.
    fn of_kernel(pid: u32) -> Option<Self> {
        let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
        // The names of files are of any bytes.
        let maps = String::from_utf8_lossy(&maps);
        let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let [start, end] = [start, end].map(|digits| u64::from_str_radix(digits, 16).ok());
        let range = start?..end?;
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
        memory.read_exact_at(&mut bytes, range.start).ok()?;
        let frames = Rc::new(Frames::new(bytes.as_slice())?);
        Self::new(range, 0, &frames)
    }
}

/// Two numbers of two bytes: what a row of the table in .eh_frame_hdr has at least.
const SMALLEST_ROW: usize = 4;

impl Frames {
    fn new<'data, R: ReadRef<'data>>(data: R) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let headers = header.program_headers(endian, data).ok()?.iter();
        let code = headers.filter(|header| {
            header.p_type(endian) == PT_LOAD && header.p_flags(endian).contains(PF_X)
        });
        let segments = code.map(|header| {
            let offset = header.p_offset(endian);
            let end = offset.saturating_add(header.p_filesz(endian));
            (offset..end, header.p_vaddr(endian))
        });
        let sections = header.sections(endian, data).ok()?;
        let find = |name: &[u8]| {
            let (_, section) = sections.section_by_name(endian, name)?;
            let bytes = section.data(endian, data).ok()?;
            Some((section.sh_addr(endian), bytes.to_vec()))
        };
        let (at, eh_frame) = find(b".eh_frame")?;
        let mut bases = BaseAddresses::default().set_eh_frame(at);
        let hdr = find(b".eh_frame_hdr");
        if let Some((at, _)) = hdr {
            bases = bases.set_eh_frame_hdr(at);
        }
        Some(Self {
            eh_frame,
            eh_frame_hdr: hdr.map(|(_, bytes)| bytes),
            bases,
            segments: segments.collect(),
        })
    }

    /// The address for which the code at an offset of the file was linked. A segment is mapped from the beginning of
    /// the page that it begins in, which may be one of 64 KiB.
    fn linked(&self, offset: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        let (from, address) = segments
            .find(|(from, _)| offset < from.end && offset >= from.start.saturating_sub(0xffff))?;
        Some(address.wrapping_sub(from.start).wrapping_add(offset))
    }

    /// The entry of the function at an address as linked.
    pub(super) fn find<'a>(
        &'a self,
        eh_frame: &EhFrame<Bytes<'a>>,
        address: u64,
    ) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
        let bases = &self.bases;
        let cie = EhFrame::cie_from_offset;
        let hdr = self.eh_frame_hdr.as_deref();
        let hdr = hdr.and_then(|hdr| EhFrameHdr::new(hdr, LittleEndian).parse(bases, 8).ok());
        let sorted = hdr.as_ref().and_then(|hdr| hdr.table());
        match sorted {
            // Not by its own fde_for_address(), whose differences and products overflow in a damaged table.
            Some(table) => {
                let rows = table.iter(bases).size_hint().0;
                if rows > self.eh_frame_hdr.as_ref()?.len() / SMALLEST_ROW {
                    return None;
                }
                let entry = table.lookup(address, bases).ok()?.direct().ok()?;
                let start = hdr.as_ref()?.eh_frame_ptr().direct().ok()?;
                let offset = usize::try_from(entry.checked_sub(start)?).ok()?;
                let entry = eh_frame.fde_from_offset(bases, offset.into(), cie).ok()?;
                entry.contains(address).then_some(entry)
            }
            None => eh_frame.fde_for_address(bases, address, cie).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a table of functions which is damaged leads to none of them: one that claims more rows than there are
    /// bytes, and one with a row for what is before .eh_frame. Found by fuzzing; gimli's own search overflows there.
    #[test]
    fn damaged_table() {
        let find = |rows: u64, entry: u32| {
            // Version 1; the pointer and the number of rows have eight bytes, the columns of a row four.
            let mut hdr = vec![1, 0x04, 0x04, 0x03];
            hdr.extend(0x8000_u64.to_le_bytes());
            hdr.extend(rows.to_le_bytes());
            hdr.extend([0x1000_u32, entry].map(u32::to_le_bytes).concat());
            let frames = Frames {
                // An entry that ends the list.
                eh_frame: vec![0; 4],
                eh_frame_hdr: Some(hdr),
                bases: BaseAddresses::default()
                    .set_eh_frame(0x8000)
                    .set_eh_frame_hdr(0x7000),
                segments: Vec::new(),
            };
            let eh_frame = EhFrame::new(&frames.eh_frame, LittleEndian);
            frames.find(&eh_frame, 0x1000).is_some()
        };
        assert!(!find(u64::MAX, 0x8000));
        assert!(!find(2, 0x8000));
        assert!(!find(1, 0x10));
        assert!(!find(1, 0x8000));
    }
}
