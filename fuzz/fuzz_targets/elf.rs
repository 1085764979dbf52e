//! Probes of an ELF file, against what the crate `elf`, which shares nothing with ours, finds in it.
//!
//! The input is a file as it is; or, if its first byte is even, a section of notes, which is put into a file.

#![no_main]

use elf::ElfBytes;
use elf::endian::AnyEndian;
use elf::note::Note;
use libfuzzer_sys::fuzz_target;
use ovs_tracers::trace::spec::{MEMORY, WINDOW, specs};
use ovs_tracers::trace::usdt::{Error, Form, MAX_WARNINGS, Probes, parse_args, probes};

/// What of a note counts: provider, name, arguments.
type Strings = (String, String, String);

/// The notes that the other reader takes for those of probes; `None` if it does not read the file, or not all of it.
fn by_other(file: &[u8]) -> Option<Vec<Strings>> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(file).ok()?;
    let word = match file.ehdr.class {
        elf::file::Class::ELF32 => 4,
        elf::file::Class::ELF64 => 8,
    };
    let (headers, names) = file.section_headers_with_strtab().ok()?;
    let (headers, names) = (headers?, names?);
    // Where the names are in no table of strings, we see none.
    let table = headers.get(usize::from(file.ehdr.e_shstrndx)).ok()?;
    if table.sh_type != elf::abi::SHT_STRTAB {
        return None;
    }
    let mut found = Vec::new();
    for header in headers {
        if header.sh_type != elf::abi::SHT_NOTE {
            continue;
        }
        // `get` refuses names that are not UTF-8, as that of none of our sections is.
        if names.get(header.sh_name as usize).ok() != Some(".note.stapsdt") {
            continue;
        }
        // Of another alignment, and of notes that are said to be compressed, the two have different notions.
        if header.sh_addralign != 4 || header.sh_flags & u64::from(elf::abi::SHF_COMPRESSED) != 0 {
            return None;
        }
        for note in file.section_data_as_notes(&header).ok()? {
            let Note::Unknown(note) = note else { continue };
            let end = note.name.iter().rposition(|byte| *byte != 0);
            if note.n_type != 3 || end.map(|end| &note.name[..=end]) != Some(b"stapsdt") {
                continue;
            }
            let strings = note.desc.get(3 * word..)?;
            let mut strings = strings.split(|byte| *byte == 0);
            let mut string = || String::from_utf8(strings.next()?.to_vec()).ok();
            found.push((string()?, string()?, string()?));
        }
    }
    Some(found)
}

/// A file for x86-64 with one segment of code and data at 0x1000 and these notes. The notes' addresses may be in it.
fn around(notes: &[u8]) -> Vec<u8> {
    let names = b"\0.note.stapsdt\0.shstrtab\0";
    let (notes_at, names_at) = (64 + 2 * 56, 64 + 2 * 56 + notes.len());
    let sections_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    half(&mut file, 3);
    half(&mut file, 62);
    word(&mut file, 1);
    for value in [0, 64, sections_at as u64] {
        long(&mut file, value);
    }
    word(&mut file, 0);
    for value in [64, 56, 2, 64, 3, 2] {
        half(&mut file, value);
    }
    for flags in [5, 6] {
        word(&mut file, 1);
        word(&mut file, flags);
        let address = 0x1000 * u64::from(flags);
        for value in [0, address, address, 0x1000, 0x1000, 0x1000] {
            long(&mut file, value);
        }
    }
    file.extend(notes);
    file.extend(names);
    file.resize(sections_at + 64, 0);
    for (name, kind, at, len, align) in [
        (1, 7, notes_at, notes.len(), 4),
        (15, 3, names_at, names.len(), 1),
    ] {
        word(&mut file, name);
        word(&mut file, kind);
        for value in [0, 0, at as u64, len as u64, 0, align, 0] {
            long(&mut file, value);
        }
    }
    file
}

fn check(file: &[u8], built: bool) {
    let Ok(found) = probes(file) else {
        assert!(!built);
        return;
    };
    let Probes {
        form,
        probes,
        warnings,
        more_warnings,
    } = &found;
    let mut strings = Vec::new();
    for probe in probes {
        assert!(!probe.sites.is_empty());
        for site in &probe.sites {
            assert!(*form == Form::Linked || site.semaphore.unwrap_or(0) == 0);
            strings.push((
                probe.provider.clone(),
                probe.name.clone(),
                site.args.clone(),
            ));
            let Ok(args) = parse_args(&site.args, probe.machine) else {
                continue;
            };
            let args: Vec<_> = args.iter().take(12).collect();
            let specs = specs(&args);
            for spec in specs.iter().filter(|spec| spec.operand == MEMORY) {
                let span = specs[usize::from(spec.window)].span;
                assert!(span <= WINDOW && spec.at + u16::from(spec.size) <= span);
            }
        }
    }
    for warning in warnings {
        assert!(!warning.to_string().is_empty());
    }
    if *more_warnings > 0 {
        // Which notes were of no use is not known of all.
        assert_eq!(warnings.len(), MAX_WARNINGS);
        return;
    }
    // Sites that differ in nothing are one, notes without a place are none, and damaged ones are beside the point.
    let Some(mut other) = by_other(file).filter(|_| !damaged(warnings)) else {
        return;
    };
    for warning in warnings {
        if let Error::Unmapped { provider, name, .. } = warning {
            other.retain(|(p, n, _)| (p, n) != (provider, name));
            strings.retain(|(p, n, _)| (p, n) != (provider, name));
        }
    }
    for list in [&mut strings, &mut other] {
        list.sort();
        list.dedup();
    }
    assert_eq!(strings, other);
}

fn damaged(warnings: &[Error]) -> bool {
    warnings
        .iter()
        .any(|warning| matches!(warning, Error::Note { .. }))
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((first, notes)) if first % 2 == 0 => check(&around(notes), true),
        _ => check(data, false),
    }
});
