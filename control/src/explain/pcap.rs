//! Packets out of capture files: pcap and pcapng, as tcpdump and Wireshark write them.
//!
//! Decides: what of a file is a packet. Reads: a file that anybody may have written. Never: takes more of it into memory
//! than it has packets, trusts a length, panics.

/// One packet, and whether it begins with Ethernet (or with IP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub ethernet: bool,
    pub bytes: Vec<u8>,
    /// It was longer on the wire than in the file.
    pub cut: bool,
}

const ETHERNET: u32 = 1;
const RAW: [u32; 4] = [101, 12, 228, 229];
/// Longer packets than any link carries are a broken file.
const MAX_PACKET: usize = 256 * 1024;

/// All packets of a file, in their order. An error says what about the file is wrong.
pub fn packets(file: &[u8]) -> Result<Vec<Packet>, String> {
    let magic = file.first_chunk::<4>().copied().ok_or("shorter than a capture file's header")?;
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => next_generation(file),
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => classic(file, true),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => classic(file, false),
        _ => Err("neither pcap nor pcapng".to_owned()),
    }
}

/// A reader of one byte order.
#[derive(Clone, Copy)]
struct Words<'f> {
    bytes: &'f [u8],
    little: bool,
}

impl<'f> Words<'f> {
    fn word(self, at: usize) -> Option<u32> {
        let raw = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    fn half(self, at: usize) -> Option<u16> {
        let raw = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    }

    fn len(self, at: usize) -> Option<usize> {
        usize::try_from(self.word(at)?).ok().filter(|len| *len <= MAX_PACKET)
    }

    fn part(self, from: usize, len: usize) -> Option<&'f [u8]> {
        self.bytes.get(from..from.checked_add(len)?)
    }
}

fn kind(link: u32) -> Result<bool, String> {
    match link {
        ETHERNET => Ok(true),
        _ if RAW.contains(&link) => Ok(false),
        _ => Err(format!("link type {link}: only Ethernet (1) and raw IP (101) are understood")),
    }
}

fn classic(file: &[u8], little: bool) -> Result<Vec<Packet>, String> {
    let words = Words { bytes: file, little };
    // The upper bits may tell of a frame check sequence.
    let ethernet = kind(words.word(20).ok_or("the header is cut short")? & 0xffff)?;
    let (mut at, mut list) = (24, vec![]);
    while at < file.len() {
        let (Some(captured), Some(length)) = (words.len(at + 8), words.word(at + 12)) else {
            return Err(format!("packet {}: cut short, or longer than any packet", list.len() + 1));
        };
        let bytes =
            words.part(at + 16, captured).ok_or_else(|| format!("packet {}: cut short", list.len() + 1))?;
        let cut = usize::try_from(length).is_ok_and(|length| length > captured);
        list.push(Packet { ethernet, bytes: bytes.to_vec(), cut });
        at += 16 + captured;
    }
    Ok(list)
}

fn next_generation(file: &[u8]) -> Result<Vec<Packet>, String> {
    const SECTION: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    const SIMPLE: u32 = 3;
    const ENHANCED: u32 = 6;
    let (mut at, mut list, mut little) = (0, vec![], true);
    let mut links: Vec<(u16, usize)> = vec![];
    while at < file.len() {
        let broken = || format!("the block at byte {at} is broken");
        let rest = file.get(at..).unwrap_or_default();
        // Reads the same in both orders.
        if rest.starts_with(&SECTION.to_le_bytes()) {
            little = match rest.get(8..12) {
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => true,
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => false,
                _ => return Err(broken()),
            };
            links.clear();
        }
        let block = Words { bytes: rest, little };
        let (Some(what), Some(len)) = (block.word(0), block.len(4)) else { return Err(broken()) };
        if len < 12 || len > rest.len() || len % 4 != 0 {
            return Err(broken());
        }
        let body = Words { bytes: rest.get(..len - 4).unwrap_or_default(), little };
        match what {
            INTERFACE => {
                let snap = body.word(12).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
                links.push((body.half(8).ok_or_else(broken)?, snap.unwrap_or(MAX_PACKET)));
            }
            ENHANCED | SIMPLE => {
                let (place, from) =
                    if what == SIMPLE { (0, 12) } else { (body.word(8).ok_or_else(broken)?, 28) };
                let (link, snap) =
                    usize::try_from(place).ok().and_then(|n| links.get(n)).ok_or_else(broken)?;
                let length = body.len(if what == SIMPLE { 8 } else { 24 }).ok_or_else(broken)?;
                let captured =
                    if what == SIMPLE { length.min(*snap) } else { body.len(20).ok_or_else(broken)? };
                let bytes = body.part(from, captured).ok_or_else(broken)?.to_vec();
                list.push(Packet { ethernet: kind((*link).into())?, bytes, cut: length > captured });
            }
            _ => {}
        }
        at += len;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pcap(little: bool, link: u32, packets: &[&[u8]]) -> Vec<u8> {
        let word = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut file = word(0xa1b2_c3d4).to_vec();
        file.extend([word(0x0002_0004), word(0), word(0), word(65535), word(link)].concat());
        for bytes in packets {
            let len = u32::try_from(bytes.len()).unwrap();
            file.extend([word(1), word(2), word(len), word(len + 1)].concat());
            file.extend_from_slice(bytes);
        }
        file
    }

    #[test]
    fn classic_files_of_both_orders() {
        for little in [true, false] {
            let list = packets(&pcap(little, 1, &[&[1, 2, 3], &[4]])).unwrap();
            let wanted = |bytes: &[u8]| Packet { ethernet: true, bytes: bytes.to_vec(), cut: true };
            assert_eq!(list, [wanted(&[1, 2, 3]), wanted(&[4])]);
            assert!(!packets(&pcap(little, 101, &[&[69]])).unwrap()[0].ethernet);
        }
        assert!(packets(&pcap(true, 113, &[])).unwrap_err().contains("link type 113"));
        assert!(packets(b"PK\x03\x04").unwrap_err().contains("neither"));
        let mut cut = pcap(true, 1, &[&[1, 2, 3]]);
        cut.pop();
        assert!(packets(&cut).unwrap_err().contains("packet 1"));
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_stops_it(start in 0..3usize, file in proptest::collection::vec(any::<u8>(), 0..400)) {
            let section = [0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
            let begin: [&[u8]; 3] = [&[], &[0xd4, 0xc3, 0xb2, 0xa1], &section];
            let _ = packets(&[begin[start], &file].concat());
        }
    }
}
