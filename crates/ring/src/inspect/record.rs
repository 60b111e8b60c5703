//! A packet at one place of its way, as a capture or a trace tells it; and what of all packets is wanted.
//!
//! Decides: the bytes of a record between the data plane and the operator's command. Never: longer than [`MAX_RECORD`].

use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// Bytes of a record: what is told of the packet, and a whole frame.
pub const MAX_RECORD: usize = HEADER + 16 * 1024;
const HEADER: usize = 60;

/// Where on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Stage {
    /// As it came, with Ethernet where it came by a port.
    Rx = 0,
    /// The inner packet, as it came out of its SA.
    Decrypted = 1,
    /// Routes and policies are known.
    Policy = 2,
    /// Cut to size, before its SA protects it.
    PreEncrypt = 3,
    /// As it leaves, with Ethernet where it leaves by a port.
    Tx = 4,
    /// Dropped; the bytes are those that came.
    Drop = 5,
    /// No packet: so many records found no room since the last one of this kind (`id`).
    Lost = 255,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Rx, Self::Decrypted, Self::Policy, Self::PreEncrypt, Self::Tx, Self::Drop];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Decrypted => "decrypted",
            Self::Policy => "policy",
            Self::PreEncrypt => "pre-encrypt",
            Self::Tx => "tx",
            Self::Drop => "drop",
            Self::Lost => "lost",
        }
    }
}

/// What is wanted of all packets: those that match every condition given, at whatever stage, are told at each stage asked
/// for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Want {
    pub stages: Vec<Stage>,
    /// Bytes of each packet.
    pub snaplen: u16,
    /// One packet of so many; 0 and 1: each.
    pub sample: u32,
    /// Name of the port that it came by.
    pub port: Option<String>,
    /// Source or destination, of the inner or of the outer packet.
    pub host: Option<IpAddr>,
    pub protocol: Option<u8>,
    /// Of TCP or UDP, either side.
    pub service: Option<u16>,
    pub spi: Option<u32>,
    pub tunnel: Option<u32>,
    /// Name of a drop reason.
    pub reason: Option<String>,
}

/// One packet at one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub stage: Stage,
    /// Begins with Ethernet; else with IP.
    pub ethernet: bool,
    pub worker: u16,
    /// Of the packet, the same at each stage; unique for its worker.
    pub id: u64,
    /// Microseconds since 1970.
    pub time_us: u64,
    /// That it came by; `u16::MAX`: none.
    pub port: u16,
    /// That it leaves by; `u16::MAX`: none.
    pub egress: u16,
    /// Of the SA concerned; 0: none.
    pub spi: u32,
    pub sequence: u64,
    pub sa: u64,
    /// `u32::MAX`: none.
    pub tunnel: u32,
    /// Number of a [`crate::counters::Drop`]; of the end of its way: [`Self::FORWARD`] and so on.
    pub verdict: u8,
    /// Before it was cut to the snap length.
    pub length: u32,
    pub bytes: Vec<u8>,
}

impl Record {
    pub const NONE: u16 = u16::MAX;
    pub const FORWARD: u8 = 250;
    pub const PUNT: u8 = 251;
    pub const HAND_OFF: u8 = 252;
    pub const HELD: u8 = 253;
    pub const CONSUMED: u8 = 254;

    /// An empty one with room for a packet.
    pub fn with_room(snaplen: usize) -> Self {
        Self {
            stage: Stage::Rx,
            ethernet: false,
            worker: 0,
            id: 0,
            time_us: 0,
            port: Self::NONE,
            egress: Self::NONE,
            spi: 0,
            sequence: 0,
            sa: 0,
            tunnel: u32::MAX,
            verdict: 0,
            length: 0,
            bytes: Vec::with_capacity(snaplen),
        }
    }

    pub fn lost(records: u64) -> Self {
        Self { stage: Stage::Lost, id: records, ..Self::with_room(0) }
    }

    /// The end of the packet's way, in a word.
    pub fn verdict_name(&self) -> &'static str {
        match self.verdict {
            Self::FORWARD => "forward",
            Self::PUNT => "punt",
            Self::HAND_OFF => "hand-off",
            Self::HELD => "held",
            Self::CONSUMED => "consumed",
            _ => self.reason().unwrap_or("unknown"),
        }
    }

    /// Why it was dropped.
    pub fn reason(&self) -> Option<&'static str> {
        crate::counters::Drop::ALL.get(usize::from(self.verdict)).map(|why| why.name())
    }

    /// The length first, then fields in little-endian order, then the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let len = HEADER + self.bytes.len();
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&[self.stage as u8, self.ethernet.into(), self.verdict, 0]);
        for word in [self.worker, self.port, self.egress, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.id, self.time_us, self.sequence, self.sa] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.spi, self.tunnel, self.length, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }

    /// The next one of a stream; `None` at its end.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut len = [0; 4];
        match stream.read_exact(&mut len) {
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let len = u32::from_le_bytes(len) as usize;
        if !(HEADER..=MAX_RECORD).contains(&len) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut raw = vec![0; len];
        stream.read_exact(&mut raw)?;
        Self::decode(&raw).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn decode(raw: &[u8]) -> Option<Self> {
        let (head, bytes) = raw.split_first_chunk::<HEADER>()?;
        let half = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let all = Stage::ALL.into_iter().chain([Stage::Lost]);
        Some(Self {
            stage: all.into_iter().find(|s| *s as u8 == head[0])?,
            ethernet: head[1] != 0,
            verdict: head[2],
            worker: half(4)?,
            port: half(6)?,
            egress: half(8)?,
            id: long(12)?,
            time_us: long(20)?,
            sequence: long(28)?,
            sa: long(36)?,
            spi: word(44)?,
            tunnel: word(48)?,
            length: word(52)?,
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_out_as_it_went_in() {
        let record = Record {
            stage: Stage::PreEncrypt,
            ethernet: true,
            worker: 3,
            id: 1 << 40,
            time_us: 1_700_000_000_123_456,
            port: 1,
            egress: 2,
            spi: 0xc000_0101,
            sequence: 1 << 33,
            sa: 77,
            tunnel: 9,
            verdict: Record::FORWARD,
            length: 1500,
            bytes: vec![1, 2, 3],
        };
        let mut wire = Vec::new();
        for r in [&record, &Record::lost(5)] {
            r.encode(&mut wire);
        }
        let mut from = &wire[..];
        assert_eq!(Record::read(&mut from).unwrap(), Some(record));
        assert_eq!(Record::read(&mut from).unwrap().map(|r| (r.stage, r.id)), Some((Stage::Lost, 5)));
        assert_eq!(Record::read(&mut from).unwrap(), None);
        assert!(Record::read(&mut &[1, 0, 0, 0][..]).is_err(), "too short");
        assert!(Record::read(&mut &wire[..30]).is_err(), "cut");
    }
}
