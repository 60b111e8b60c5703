//! A record in words: the comment of a packet in a capture, the line of a trace (R50, R51, R198).
//!
//! Decides: wording. Reads: the addresses at the front of the packet. Never: prints what a packet carries.

use crate::explain::Names;
use ravelin_ring::inspect::{Record, Stage};
use ravelin_wire::ethernet::{self, Link};
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::ipv6::{self, Chain, Ipv6};
use ravelin_wire::{Bytes, protocol};

/// `packet 0.17 at decrypted, worker 0, in wan0, esp spi=0x… seq=5 sa=3 tunnel=office, forward out lan0`
pub fn comment(record: &Record, names: &Names, ports: &[String]) -> String {
    let Record { worker, id, stage, .. } = record;
    let mut text = format!("packet {worker}.{id} at {}, worker {worker}", stage.name());
    let name = |port: u16| ports.get(usize::from(port)).cloned().unwrap_or_else(|| port.to_string());
    if record.port != Record::NONE {
        text.push_str(&format!(", in {}", name(record.port)));
    }
    if record.spi != 0 {
        text.push_str(&format!(", {}", sa(record, names)));
    }
    text.push_str(&format!(", {}", verdict(record)));
    if record.egress != Record::NONE {
        text.push_str(&format!(" out {}", name(record.egress)));
    }
    text
}

/// `15:04:05.123456 w0 0.17 decrypted   10.2.0.7 > 10.1.0.5 udp 128 bytes esp spi=0x… … forward`
pub fn line(record: &Record, names: &Names, ports: &[String]) -> String {
    if record.stage == Stage::Lost {
        return format!("{} records lost: the reader did not keep up", record.id);
    }
    let us = record.time_us % 86_400_000_000;
    let (h, m) = (us / 3_600_000_000, us / 60_000_000 % 60);
    let (s, us) = (us / 1_000_000 % 60, us % 1_000_000);
    let what = addresses(record).unwrap_or_else(|| "not IP".to_owned());
    let Record { worker, id, stage, length, .. } = record;
    let sa = if record.spi == 0 { String::new() } else { format!(" {}", sa(record, names)) };
    let name = |port: u16| ports.get(usize::from(port)).cloned().unwrap_or_else(|| port.to_string());
    let from = if record.port == Record::NONE { String::new() } else { format!(" i({})", name(record.port)) };
    let to =
        if record.egress == Record::NONE { String::new() } else { format!(" o({})", name(record.egress)) };
    format!(
        "{h:02}:{m:02}:{s:02}.{us:06} w{worker} {worker}.{id} {:<11} {what} {length} bytes{sa}{from} {}{to}",
        stage.name(),
        verdict(record)
    )
}

fn sa(record: &Record, names: &Names) -> String {
    let tunnel = if record.tunnel == u32::MAX { "none".to_owned() } else { names.tunnel(record.tunnel) };
    format!("esp spi=0x{:08x} seq={} sa={} tunnel={tunnel}", record.spi, record.sequence, record.sa)
}

fn verdict(record: &Record) -> String {
    let name = record.verdict_name();
    if record.reason().is_some() { format!("drop {name}") } else { name.to_owned() }
}

fn addresses(record: &Record) -> Option<String> {
    let mut at = 0;
    if record.ethernet {
        let link = Link::parse(&record.bytes[..])?;
        if ![ethernet::IPV4, ethernet::IPV6].contains(&link.ethertype) {
            return None;
        }
        at = link.payload;
    }
    let ip = record.bytes.get(at..)?;
    let (src, dst, proto, upper) = if ip.first()? >> 4 == 4 {
        let v4 = Ipv4::parse(ip).ok()?;
        let upper = (v4.fragment_offset() == 0).then(|| v4.header_len());
        (v4.src().to_string(), v4.dst().to_string(), v4.protocol(), upper)
    } else {
        let v6 = Ipv6::parse(ip).ok()?;
        let chain = Chain::walk(ip, ipv6::HEADER, *ip.get(6)?);
        let (proto, upper) = chain.end.map_or((*ip.get(6)?, None), |(p, at)| (p, Some(at)));
        (v6.src().to_string(), v6.dst().to_string(), proto, upper)
    };
    let has = matches!(proto, protocol::TCP | protocol::UDP | protocol::SCTP);
    let ports = upper.filter(|_| has).and_then(|at| ip.be16(at).zip(ip.be16(at + 2)));
    let name = crate::explain::packet::protocol_name(proto);
    Some(match ports {
        Some((a, b)) => format!("{src}:{a} > {dst}:{b} {name}"),
        None => format!("{src} > {dst} {name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::packet::Flow;

    // R51: SPI, number, both addresses. R198: microseconds, worker, SA.
    #[test]
    fn lines_say_stage_worker_sa_and_end() {
        let flow = Flow {
            from: "10.2.0.7".parse().unwrap(),
            to: "10.1.0.5".parse().unwrap(),
            protocol: protocol::UDP,
            ports: (443, 1234),
            spi: None,
            size: 128,
            df: false,
            ttl: 64,
        };
        let mut record = Record::with_room(0);
        record.bytes = flow.packet().unwrap();
        (record.stage, record.worker, record.id, record.length) = (Stage::Decrypted, 2, 17, 128);
        record.time_us = 1_700_000_000_000_007;
        (record.spi, record.sequence, record.sa, record.tunnel) = (0xc000_0101, 5, 3, 9);
        (record.port, record.egress, record.verdict) = (1, 0, Record::FORWARD);
        let ports = ["lan0".to_owned(), "wan0".to_owned()];
        let names = Names::default();
        assert_eq!(
            line(&record, &names, &ports),
            "22:13:20.000007 w2 2.17 decrypted   10.2.0.7:443 > 10.1.0.5:1234 udp 128 bytes \
             esp spi=0xc0000101 seq=5 sa=3 tunnel=#9 i(wan0) forward o(lan0)"
        );
        assert_eq!(
            comment(&record, &names, &ports),
            "packet 2.17 at decrypted, worker 2, in wan0, esp spi=0xc0000101 seq=5 sa=3 tunnel=#9, forward out lan0"
        );
        record.verdict = ravelin_ring::counters::Drop::BadIcv as u8;
        record.egress = Record::NONE;
        assert!(comment(&record, &names, &ports).ends_with(", drop bad_icv"));
    }
}
