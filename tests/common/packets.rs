//! The packets of `fixtures/packets` and `fixtures/corpus`.
#![allow(dead_code)] // each test file uses its own part

use std::path::Path;
use std::sync::LazyLock;

/// A packet of `fixtures/packets`; the format is described at the head of its files.
pub struct Vector {
    pub name: String,
    pub bytes: Vec<u8>,
    pub original_len: usize,
    pub text: String,
}

pub fn vectors() -> &'static [Vector] {
    static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(read_vectors);
    &VECTORS
}

fn read_vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets");
    let mut vectors = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let file = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for packet in file.split("\n== ").skip(1) {
            let (head, text) = packet.split_once("\n--\n").unwrap();
            let (mut bytes, mut original_len) = (Vec::new(), None);
            let mut lines = head.lines();
            let name = lines.next().unwrap().to_owned();
            assert!(
                lines.next().unwrap().starts_with("made: "),
                "{name} does not say how"
            );
            for line in lines {
                match line.strip_prefix("original: ") {
                    Some(len) => original_len = Some(len.parse().unwrap()),
                    None => bytes.extend(unhex(line)),
                }
            }
            let text = format!("{}\n", text.trim_end_matches('\n'));
            let original_len = original_len.unwrap_or(bytes.len());
            vectors.push(Vector {
                name,
                bytes,
                original_len,
                text,
            });
        }
    }
    vectors
}

/// A packet of `fixtures/corpus`; the format is described at the head of its files.
pub struct Kind {
    /// The name of the file, and its own.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Why tshark finds other layers in it.
    pub differs: Option<String>,
}

pub fn kinds() -> &'static [Kind] {
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(read_kinds);
    &KINDS
}

fn read_kinds() -> Vec<Kind> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let mut kinds = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let family = path.file_stem().unwrap().to_str().unwrap();
        let file = std::fs::read_to_string(&path).unwrap();
        for packet in file.split("\n== ").skip(1) {
            let mut lines = packet.lines().filter(|line| !line.is_empty());
            let name = format!("{family}: {}", lines.next().unwrap());
            assert!(
                lines.next().unwrap().starts_with("made: "),
                "{name} does not say how"
            );
            let (mut bytes, mut differs) = (Vec::new(), None);
            for line in lines {
                match line.strip_prefix("differs: ") {
                    Some(reason) => differs = Some(reason.to_owned()),
                    None => bytes.extend(unhex(line)),
                }
            }
            kinds.push(Kind {
                name,
                bytes,
                differs,
            });
        }
    }
    kinds.sort_by(|one, other| one.name.cmp(&other.name));
    kinds
}

fn unhex(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
