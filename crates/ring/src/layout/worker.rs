//! Encoding of what a worker is told and tells.

use crate::codec::{Malformed, Reader, Writer};
use crate::msg::{
    Direction, Extras, KeyMaterial, Limit, Mode, Outcome, OuterDf, PortId, Rules, SaId, SaReport, SaSpec,
    Suite, Token, TunnelId, VrfId, WorkerCommand, WorkerEvent, WorkerId,
};
use crate::spsc::Message;

impl Message for WorkerCommand {
    const WORDS: usize = 34;

    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::SaSelector { sa, selector } => {
                to.u8(1);
                to.u64(sa.0);
                to.selector(selector);
            }
            Self::InstallSa { token, spec } => {
                to.u8(2);
                to.u64(token.0);
                encode_spec(spec, to);
            }
            Self::UseOutbound { token, tunnel, sa, owner } => {
                to.u8(3);
                to.u64(token.0);
                to.u32(tunnel.0);
                to.u64(sa.0);
                to.u16(owner.0);
            }
            Self::StopOutbound { token, tunnel } => {
                to.u8(4);
                to.u64(token.0);
                to.u32(tunnel.0);
            }
            Self::RemoveSa { token, sa } => {
                to.u8(5);
                to.u64(token.0);
                to.u64(sa.0);
            }
            Self::MoveSa { token, sa, local, remote } => {
                to.u8(6);
                to.u64(token.0);
                to.u64(sa.0);
                to.socket(*local);
                to.socket(*remote);
            }
            Self::ReportSas { token } => {
                to.u8(7);
                to.u64(token.0);
            }
            Self::PathMtu { token, sa, mtu } => {
                to.u8(8);
                to.u64(token.0);
                to.u64(sa.0);
                to.u16(*mtu);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            1 => Self::SaSelector { sa: SaId(from.u64()?), selector: from.selector()? },
            2 => Self::InstallSa { token: Token(from.u64()?), spec: Box::new(decode_spec(from)?) },
            3 => Self::UseOutbound {
                token: Token(from.u64()?),
                tunnel: TunnelId(from.u32()?),
                sa: SaId(from.u64()?),
                owner: WorkerId(from.u16()?),
            },
            4 => Self::StopOutbound { token: Token(from.u64()?), tunnel: TunnelId(from.u32()?) },
            5 => Self::RemoveSa { token: Token(from.u64()?), sa: SaId(from.u64()?) },
            6 => Self::MoveSa {
                token: Token(from.u64()?),
                sa: SaId(from.u64()?),
                local: from.socket()?,
                remote: from.socket()?,
            },
            7 => Self::ReportSas { token: Token(from.u64()?) },
            8 => Self::PathMtu { token: Token(from.u64()?), sa: SaId(from.u64()?), mtu: from.u16()? },
            _ => return Err(Malformed("unknown worker command")),
        })
    }
}

fn encode_spec(spec: &SaSpec, to: &mut Writer<'_>) {
    to.u64(spec.id.0);
    to.u32(spec.tunnel.0);
    to.u8(direction(spec.direction));
    to.u32(spec.spi.get());
    to.u8(spec.suite as u8);
    let key = spec.keys.as_slice();
    to.u8(u8::try_from(key.len()).unwrap_or(0)); // at most KeyMaterial::MAX
    to.bytes(key);
    to.bytes([0; KeyMaterial::MAX].get(key.len()..).unwrap_or_default());
    to.bool(spec.esn);
    to.socket(spec.local);
    to.socket(spec.remote);
    to.u8(mode(spec.mode));
    to.u32(spec.replay_window);
    to.u16(spec.tunnel_mtu);
    to.u8(match spec.outer_df {
        OuterDf::Clear => 0,
        OuterDf::Copy => 1,
        OuterDf::Set => 2,
    });
    to.u16(spec.tfc);
    to.u64(spec.extras.sequence);
    to.u16(spec.extras.multipath);
    to.bool(spec.extras.shared);
    to.u8(spec.extras.rules.to_bits());
    to.bool(spec.extras.partner.is_some());
    to.u64(spec.extras.partner.map_or(0, |sa| sa.0));
    to.u16(spec.extras.outside.0);
    to.u16(spec.extras.inside.0);
    to.bool(spec.extras.filtered);
    for limit in [spec.soft_bytes, spec.hard_bytes, spec.soft_packets, spec.hard_packets] {
        to.u64(limit);
    }
    to.u16(spec.selectors);
}

fn decode_spec(from: &mut Reader<'_>) -> Result<SaSpec, Malformed> {
    Ok(SaSpec {
        id: SaId(from.u64()?),
        tunnel: TunnelId(from.u32()?),
        direction: decode_direction(from.u8()?)?,
        spi: from.spi()?,
        suite: suite(from.u8()?)?,
        keys: keys(from)?,
        esn: from.bool()?,
        local: from.socket()?,
        remote: from.socket()?,
        mode: decode_mode(from.u8()?)?,
        replay_window: from.u32()?,
        tunnel_mtu: from.u16()?,
        outer_df: match from.u8()? {
            0 => OuterDf::Clear,
            1 => OuterDf::Copy,
            2 => OuterDf::Set,
            _ => return Err(Malformed("unknown DF rule")),
        },
        tfc: from.u16()?,
        extras: Extras {
            sequence: from.u64()?,
            multipath: from.u16()?,
            shared: from.bool()?,
            rules: Rules::from_bits(from.u8()?).ok_or(Malformed("unknown rule"))?,
            partner: {
                let (is, id) = (from.bool()?, from.u64()?);
                is.then_some(SaId(id))
            },
            outside: VrfId(from.u16()?),
            inside: VrfId(from.u16()?),
            filtered: from.bool()?,
        },
        soft_bytes: from.u64()?,
        hard_bytes: from.u64()?,
        soft_packets: from.u64()?,
        hard_packets: from.u64()?,
        selectors: from.u16()?,
    })
}

fn keys(from: &mut Reader<'_>) -> Result<KeyMaterial, Malformed> {
    let len = usize::from(from.u8()?);
    let field = from.bytes(KeyMaterial::MAX)?;
    let key = field.get(..len).ok_or(Malformed("key length"))?;
    KeyMaterial::new(key).ok_or(Malformed("key length"))
}

fn direction(d: Direction) -> u8 {
    match d {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

fn decode_direction(raw: u8) -> Result<Direction, Malformed> {
    match raw {
        0 => Ok(Direction::Inbound),
        1 => Ok(Direction::Outbound),
        _ => Err(Malformed("unknown direction")),
    }
}

fn mode(m: Mode) -> u8 {
    match m {
        Mode::Tunnel => 0,
        Mode::Transport => 1,
    }
}

fn decode_mode(raw: u8) -> Result<Mode, Malformed> {
    match raw {
        0 => Ok(Mode::Tunnel),
        1 => Ok(Mode::Transport),
        _ => Err(Malformed("unknown mode")),
    }
}

fn suite(raw: u8) -> Result<Suite, Malformed> {
    const ALL: [Suite; 29] = [
        Suite::Aes128Gcm16,
        Suite::Aes256Gcm16,
        Suite::ChaCha20Poly1305,
        Suite::Aes128CbcSha1,
        Suite::Aes256CbcSha1,
        Suite::Aes128CbcSha256,
        Suite::Aes256CbcSha256,
        Suite::Aes128Gmac,
        Suite::Aes192Gmac,
        Suite::Aes256Gmac,
        Suite::Aes128CbcSha384,
        Suite::Aes256CbcSha384,
        Suite::Aes128CbcSha512,
        Suite::Aes256CbcSha512,
        Suite::Aes128CtrSha1,
        Suite::Aes192CtrSha1,
        Suite::Aes256CtrSha1,
        Suite::Aes128CtrSha256,
        Suite::Aes192CtrSha256,
        Suite::Aes256CtrSha256,
        Suite::Aes256CtrSha384,
        Suite::Aes256CtrSha512,
        Suite::AhSha1,
        Suite::AhSha256,
        Suite::AhSha384,
        Suite::AhSha512,
        Suite::AhGmac128,
        Suite::AhGmac192,
        Suite::AhGmac256,
    ];
    ALL.into_iter().find(|s| *s as u8 == raw).ok_or(Malformed("unknown suite"))
}

fn limit(raw: u8) -> Result<Limit, Malformed> {
    match raw {
        0 => Ok(Limit::Bytes),
        1 => Ok(Limit::Packets),
        2 => Ok(Limit::Sequence),
        _ => Err(Malformed("unknown limit")),
    }
}

impl Message for WorkerEvent {
    const WORDS: usize = 16;

    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::Done { token, outcome } => {
                to.u8(1);
                to.u64(token.0);
                to.u8(*outcome as u8);
            }
            Self::SaReport(report) => {
                to.u8(2);
                encode_report(report, to);
            }
            Self::SoftLimit { sa, limit } => {
                to.u8(3);
                to.u64(sa.0);
                to.u8(*limit as u8);
            }
            Self::HardLimit { sa, limit } => {
                to.u8(4);
                to.u64(sa.0);
                to.u8(*limit as u8);
            }
            Self::FirstPacket { sa } => {
                to.u8(5);
                to.u64(sa.0);
            }
            Self::PeerMoved { sa, from } => {
                to.u8(6);
                to.u64(sa.0);
                to.socket(*from);
            }
            Self::Acquire { tunnel, source, destination, protocol, ports } => {
                to.u8(7);
                to.u32(tunnel.0);
                to.addr(*source);
                to.addr(*destination);
                to.u8(*protocol);
                to.u16(ports.0);
                to.u16(ports.1);
            }
            Self::NeighbourNeeded { port, addr } => {
                to.u8(8);
                to.u16(port.0);
                to.addr(*addr);
            }
            Self::UnknownSpi { spi, from } => {
                to.u8(9);
                to.u32(*spi);
                to.addr(*from);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            1 => Self::Done {
                token: Token(from.u64()?),
                outcome: match from.u8()? {
                    0 => Outcome::Ok,
                    1 => Outcome::Refused,
                    2 => Outcome::Full,
                    _ => return Err(Malformed("unknown outcome")),
                },
            },
            2 => Self::SaReport(Box::new(decode_report(from)?)),
            3 => Self::SoftLimit { sa: SaId(from.u64()?), limit: limit(from.u8()?)? },
            4 => Self::HardLimit { sa: SaId(from.u64()?), limit: limit(from.u8()?)? },
            5 => Self::FirstPacket { sa: SaId(from.u64()?) },
            6 => Self::PeerMoved { sa: SaId(from.u64()?), from: from.socket()? },
            7 => Self::Acquire {
                tunnel: TunnelId(from.u32()?),
                source: from.addr()?,
                destination: from.addr()?,
                protocol: from.u8()?,
                ports: (from.u16()?, from.u16()?),
            },
            8 => Self::NeighbourNeeded { port: PortId(from.u16()?), addr: from.addr()? },
            9 => Self::UnknownSpi { spi: from.u32()?, from: from.addr()? },
            _ => return Err(Malformed("unknown worker event")),
        })
    }
}

fn encode_report(report: &SaReport, to: &mut Writer<'_>) {
    to.u64(report.id.0);
    to.u32(report.tunnel.0);
    to.u8(direction(report.direction));
    to.u32(report.spi.get());
    to.u8(report.suite as u8);
    to.u8(mode(report.mode));
    to.socket(report.local);
    to.socket(report.remote);
    let r = report;
    for v in [r.sequence, r.packets, r.bytes, r.replay_drops, r.icv_drops, r.selector_drops, r.idle_ms] {
        to.u64(v);
    }
    to.bool(report.in_use);
    to.u16(report.outside.0);
    to.u16(report.inside.0);
    to.bool(report.filtered);
}

fn decode_report(from: &mut Reader<'_>) -> Result<SaReport, Malformed> {
    Ok(SaReport {
        id: SaId(from.u64()?),
        tunnel: TunnelId(from.u32()?),
        direction: decode_direction(from.u8()?)?,
        spi: from.spi()?,
        suite: suite(from.u8()?)?,
        mode: decode_mode(from.u8()?)?,
        local: from.socket()?,
        remote: from.socket()?,
        sequence: from.u64()?,
        packets: from.u64()?,
        bytes: from.u64()?,
        replay_drops: from.u64()?,
        icv_drops: from.u64()?,
        selector_drops: from.u64()?,
        idle_ms: from.u64()?,
        in_use: from.bool()?,
        outside: VrfId(from.u16()?),
        inside: VrfId(from.u16()?),
        filtered: from.bool()?,
    })
}
