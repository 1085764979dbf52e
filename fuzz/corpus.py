#!/usr/bin/env python3
"""Makes the first inputs of each fuzz target from fixtures/, in the form that the head of the target describes.

Usage: corpus.py FOLDER, which gets a folder for each target.
"""

import hashlib
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
# Larger inputs are slow to change in a useful way.
MOST = 4096


def texts(folder, suffix=".txt"):
    return [path.read_text() for path in sorted((FIXTURES / folder).glob(f"*{suffix}"))]


def hexes(text, field):
    """The bytes of a field, of one line or several, of each vector of a file."""
    for vector in text.split("\n["):
        lines = re.findall(rf"^{field}:[ \t]*([0-9a-f \t]*)$", vector, re.M)
        if lines:
            yield bytes.fromhex("".join(lines))


def attribute(kind, payload):
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def keys():
    for text in texts("keys"):
        masks = list(hexes(text, "mask")) or [b""] * 10000
        for key, mask in zip(hexes(text, "hex"), masks):
            yield key, mask


def packets():
    for folder in ("packets", "corpus"):
        for text in texts(folder):
            for packet in text.split("\n== ")[1:]:
                head = packet.split("\n--\n")[0]
                lines = re.findall(r"^([0-9a-f]{2}(?: ?[0-9a-f]{2})*)$", head, re.M)
                packet = bytes.fromhex("".join(lines))
                if packet:
                    yield packet


def blocks(recording):
    """Header, then the blocks of a recording."""
    yield recording[:12]
    at = 12
    while at + 12 <= len(recording):
        length = struct.unpack_from("<I", recording, at + 4)[0]
        yield recording[at : at + 12 + length]
        at += 12 + length


def recordings():
    """Pieces of each recording: its beginning, and one record of each length."""
    for path in sorted(FIXTURES.glob("*/*.rec")):
        header, start, *rest = blocks(path.read_bytes())
        piece, seen = header + start, set()
        for block in rest:
            kind = (block[0], len(block) // 16)
            if kind in seen or len(block) > MOST // 2:
                continue
            seen.add(kind)
            if len(piece) + len(block) > MOST:
                yield piece
                piece = header + start
            piece += block
        yield piece
        yield (header + start + b"".join(rest[:40]))[:MOST]


def requests():
    for text in (FIXTURES / "recordings/dpif-ops.hex.txt").read_text().split("bytes\n")[1:]:
        dump = re.findall(r"^ +[0-9a-f]{4}  ((?:[0-9A-F]{2} ?)+)", text, re.M)
        yield bytes.fromhex("".join(dump))


def inputs():
    """Pairs of a target and an input."""
    for text in texts("actions"):
        for actions in hexes(text, "hex"):
            yield "actions", b"\0" + actions
            yield "upcall_attributes", b"\0" + attribute(8, actions) + attribute(10, bytes(8))
            yield "upcall_attributes", b"\0" + attribute(4, actions) + attribute(11, b"\xdc\x05")
    for key, mask in keys():
        for options in (0, 1, 3, 0x13):
            yield "flow_key", struct.pack("<BH", options, len(key)) + key + mask
        message = struct.pack("=IHHIIBBHi", 0, 0x20, 5, 0, 0, 1, 1, 0, 6)
        request = message + attribute(1, key) + attribute(7, mask) + attribute(9, bytes(16))
        yield "request", b"\0\0" + request
    for request in requests():
        for operation in range(4):
            yield "request", bytes([operation, 0]) + request
    for packet in packets():
        yield "packet", b"\0\xff\0\0" + packet
        yield "packet", b"\4\x20\0\0" + packet
        ether_type = packet[12:14].ljust(2, b"\0")
        yield "packet", b"\2\xff" + ether_type + packet[14:]
        for words in (b"\4", b"\5\x12\x33", b"\0\x0d\7", b"\x0a\x0e\x0b", b"\2\x2b\x30\x2c\x1c\x2f"):
            yield "packet_filter", bytes([len(words)]) + words + b"\x40" + ether_type + packet
    for recording in recordings():
        yield "recording", b"\0\0" + recording
        yield "recording", b"\1\x43" + recording
    for path in ("cost/upstream.txt",):
        lines = (FIXTURES / path).read_bytes().splitlines(keepends=True)
        for first in range(1, len(lines), 3):
            yield "upstream_log", lines[0] + b"".join(lines[first : first + 3])
    library = (FIXTURES / "elf/probes-aarch64.so").read_bytes()
    yield "elf", library
    for match in re.finditer(rb"stapsdt\0", library):
        note = library[match.start() - 12 :]
        length = 12 + 8 + (struct.unpack_from("<I", note, 4)[0] + 3 & ~3)
        yield "elf", b"\0" + note[:length]
        # The same at a place where the file of the target has code.
        yield "elf", b"\0" + note[:20] + struct.pack("<QQQ", 0x5010, 0, 0x6010) + note[44:length]
    sources = "".join(path.read_text() for path in [ROOT / "tests/usdt.rs", ROOT / "src/trace/spec.rs"])
    for args in re.findall(r'"(-?[0-9f]*@?[%$\[(x0-9-][^"\n]*)"', sources):
        for machine in b"\0\1":
            yield "probe_args", bytes([machine]) + args.encode()
    for source in ("object", "process"):
        text = (ROOT / f"src/trace/{source}.rs").read_text()
        for maps in re.findall(r'br"\n(.*?)\n"', text, re.S):
            yield "proc_files", b"\0" + maps.encode() + b"\n"
            yield "proc_files", b"\x81" + b"\0" + maps.encode() + b"\n"
    stat = b"12 (a) Z (b) S 7 12 12 0 -1 4194304 0\x1cName:\tx\nTgid:\t12\nPid:\t12\nNSpid:\t5030\t7\t2\n\x1c"
    yield "proc_files", b"\1" + stat + b"ovs-vswitchd: monitoring pid 13 (healthy)\0\0"
    symbols = "ffffffff81000000 T _stext\nffffffff82000000 T __sched_text_start\nffffffff82000100 t pipe_read.isra.0\n"
    yield "proc_files", b"\2" + symbols.encode()
    vectors = (ROOT / "src/ovs/ports/vectors.rs").read_text()
    for vector in re.findall(r'&str = "([^"]*)"', vectors):
        yield "netlink_reply", bytes.fromhex(re.sub(r"[\s\\]", "", vector))
    for time in ("60", "1.5s", "10ms", "1e3", "2h", "handler1", "a\u202eb\x1b[2J"):
        yield "text", time.encode()
    frames = section(library, b".eh_frame")
    for start in (b"\xff\x10\x10", b"\xff\x00\x01"):
        yield "unwind", start + bytes(range(128)) + frames[:MOST]
        yield "unwind", start + bytes(range(128)) + cie_and_fde()


def section(file, wanted):
    """The bytes of a section of a little-endian ELF file of 64 bits."""
    at, (size, count, names) = struct.unpack_from("<Q", file, 40)[0], struct.unpack_from("<HHH", file, 58)
    headers = [struct.unpack_from("<IIQQQQ", file, at + size * i) for i in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, length in headers:
        if file[strings + name :].split(b"\0")[0] == wanted:
            return file[offset : offset + length]
    return b""


def cie_and_fde():
    """Frame information by hand: CFA = rsp + 8, return address at CFA - 8, for the code at 0x1000."""
    cie = struct.pack("<IB4sBBB", 0, 1, b"zR\0\1", 0x78, 16, 1) + b"\0" + b"\x0c\7\x08\x90\1" + bytes(4)
    fde = struct.pack("<IQQB", len(cie) + 8, 0x1000, 0x100, 0) + b"\x41\x0e\x10\x86\2\x0f\3\x77\x08\6"
    return struct.pack("<I", len(cie)) + cie + struct.pack("<I", len(fde)) + fde + bytes(4)


def main():
    folder = Path(sys.argv[1])
    counts = {}
    for target, data in inputs():
        counts[target] = counts.get(target, 0) + 1
        into = folder / target
        into.mkdir(parents=True, exist_ok=True)
        (into / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print("first inputs: " + ", ".join(f"{target} {count}" for target, count in sorted(counts.items())))


main()
