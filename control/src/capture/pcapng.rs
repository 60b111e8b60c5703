//! Capture files that say where on its way each packet was: pcapng (draft-ietf-opsawg-pcapng), an interface for each stage and
//! each kind of link, a comment at each packet. Written here, since the crates that write it bring a parser of everything with
//! them for these four blocks.
//!
//! Decides: blocks and their options. Never: rewrites what was written.

use super::comment;
use crate::explain::Names;
use ravelin_ring::inspect::{Record, Stage};
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

const COMMENT: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 2;
const DROPPED: u16 = 5;

const ETHERNET: u16 = 1;
const RAW_IP: u16 = 101;

/// To a file or a pipe.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// In the order of their numbers.
    interfaces: Vec<(Stage, bool)>,
    lost: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut body = vec![];
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut body, 4, concat!("ravelin ", env!("CARGO_PKG_VERSION")).as_bytes());
        end(&mut body);
        block(&mut out, SECTION, &body)?;
        out.flush()?;
        Ok(Self { out, interfaces: vec![], lost: 0 })
    }

    pub fn write(&mut self, record: &Record, names: &Names, ports: &[String]) -> io::Result<()> {
        if record.stage == Stage::Lost {
            self.lost = self.lost.saturating_add(record.id);
            return Ok(());
        }
        let interface = self.interface(record.stage, record.ethernet)?;
        let mut body = vec![];
        let captured = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        let (high, low) = (record.time_us >> 32, record.time_us & u64::from(u32::MAX));
        for word in [interface, half(high), half(low), captured, record.length] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        padded(&mut body, &record.bytes);
        option(&mut body, COMMENT, comment(record, names, ports).as_bytes());
        let direction: u32 = match record.stage {
            Stage::Rx | Stage::Drop => 1,
            Stage::Tx => 2,
            Stage::Decrypted | Stage::Policy | Stage::PreEncrypt | Stage::Lost => 0,
        };
        option(&mut body, FLAGS, &direction.to_le_bytes());
        end(&mut body);
        block(&mut self.out, PACKET, &body)
    }

    fn interface(&mut self, stage: Stage, ethernet: bool) -> io::Result<u32> {
        if let Some(at) = self.interfaces.iter().position(|known| *known == (stage, ethernet)) {
            return Ok(u32::try_from(at).unwrap_or(u32::MAX));
        }
        let mut body = vec![];
        body.extend_from_slice(&if ethernet { ETHERNET } else { RAW_IP }.to_le_bytes());
        body.extend_from_slice(&[0; 6]);
        option(&mut body, NAME, stage.name().as_bytes());
        end(&mut body);
        block(&mut self.out, INTERFACE, &body)?;
        self.interfaces.push((stage, ethernet));
        Ok(u32::try_from(self.interfaces.len() - 1).unwrap_or(u32::MAX))
    }

    /// For who reads along.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says how many records were lost; that many.
    pub fn finish(mut self) -> io::Result<u64> {
        if self.lost > 0 && !self.interfaces.is_empty() {
            let mut body = vec![0; 12];
            option(&mut body, DROPPED, &self.lost.to_le_bytes());
            end(&mut body);
            block(&mut self.out, STATISTICS, &body)?;
        }
        self.out.flush()?;
        Ok(self.lost)
    }
}

/// 32 bits of a time.
fn half(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(body, value);
}

fn end(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len)?;
    out.write_all(body)?;
    out.write_all(&len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::pcap;

    #[test]
    fn what_is_written_is_read_again() {
        let names = Names::default();
        let mut file = vec![];
        let mut writer = Writer::new(&mut file).unwrap();
        let mut record = Record::with_room(0);
        let mut wanted = vec![];
        for (stage, len) in [(Stage::Rx, 60), (Stage::Decrypted, 61), (Stage::Rx, 63), (Stage::Drop, 0)] {
            record.stage = stage;
            record.ethernet = stage != Stage::Decrypted;
            record.bytes = vec![7; len];
            record.length = 64;
            writer.write(&record, &names, &[]).unwrap();
            wanted.push(pcap::Packet { ethernet: record.ethernet, bytes: record.bytes.clone(), cut: true });
        }
        writer.write(&Record::lost(3), &names, &[]).unwrap();
        assert_eq!(writer.interfaces.len(), 3);
        assert_eq!(writer.finish().unwrap(), 3);
        assert_eq!(pcap::packets(&file).unwrap(), wanted);
    }
}
