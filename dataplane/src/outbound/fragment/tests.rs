use super::*;
use crate::packet::{Door, Origin};
use proptest::prelude::*;
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_xsk::{Umem, UmemConfig};
use std::net::Ipv4Addr;

fn pool(frames: u32) -> FramePool {
    let config = UmemConfig { frames, frame_size: 4096, ..UmemConfig::default() };
    Umem::new(config).unwrap().pools(1).remove(0)
}

fn packet(pool: &mut FramePool, options: &[u8], payload: &[u8], offset: u16, mf: bool, df: bool) -> Packet {
    let mut frame = pool.alloc().unwrap();
    let header_len = ipv4::HEADER + options.len();
    let header = Ipv4Header {
        tos: 4,
        total_len: (header_len + payload.len()) as u16,
        id: 77,
        df,
        mf,
        fragment_offset: offset,
        ttl: 9,
        protocol: 17,
        src: Ipv4Addr::new(10, 1, 0, 1),
        dst: Ipv4Addr::new(10, 2, 0, 1),
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes[0] = 0x40 | (header_len / 4) as u8;
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(payload);
    assert!(frame.extend(bytes.len()));
    frame.data_mut().copy_from_slice(&bytes);
    Ipv4Mut::parse(frame.data_mut()).unwrap().fill_checksum();
    let mut packet = Packet::new(frame, Origin::Tun);
    packet.door = Door::Tun;
    packet.meta.ip = crate::classify::fields(&Ipv4::parse(packet.frame.data()).unwrap());
    packet
}

/// Puts fragments together as RFC 791 §3.2 says, byte by byte; returns the payload and whether its end is known.
fn reassemble(packets: &[Packet]) -> (u16, Vec<Option<u8>>, bool) {
    let mut bytes: Vec<Option<u8>> = vec![];
    let (mut first, mut ended) = (u16::MAX, false);
    for p in packets {
        let ip = Ipv4::parse(p.frame.data()).unwrap();
        first = first.min(ip.fragment_offset());
        ended |= !ip.mf();
        let at = usize::from(ip.fragment_offset());
        let end = at + ip.payload().len();
        assert!(!ip.mf() || ip.payload().len().is_multiple_of(8), "only the last may be odd");
        bytes.resize(bytes.len().max(end), None);
        for (slot, b) in bytes[at..end].iter_mut().zip(ip.payload()) {
            assert_eq!(slot.replace(*b), None, "overlap");
        }
    }
    (first, bytes, ended)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn fragments_are_the_packet(len in 1usize..3500, limit in 68u16..1600, words in 0usize..10, copied: u64,
                                offset in 0u16..100, mf: bool) {
        let mut pool = pool(80);
        let offset = offset * 8;
        let payload: Vec<u8> = (0..if mf { len.next_multiple_of(8) } else { len }).map(|i| (i * 31 % 251) as u8).collect();
        // Options of four bytes each, some with the copied bit, filled up by none.
        let options: Vec<u8> = (0..words)
            .flat_map(|n| [if copied >> n & 1 == 1 { 0x88 } else { 0x08 }, 4, n as u8, 0xee])
            .collect();
        let mut batch = Batch::new();
        let mut original = packet(&mut pool, &options, &payload, offset, mf, false);
        original.meta.limit = limit;
        let whole = usize::from(original.meta.ip.total_len);
        batch.packets.push(original).unwrap();
        let (mut places, mut stats) = (Places::from_iter([0]), Stats::default());
        run(&mut batch, &mut places, &mut pool, &mut stats);
        prop_assert_eq!(places.len(), batch.packets.len());
        prop_assert_eq!(stats.get(Counter::Generated) as usize, batch.packets.len() - 1);
        let fits = whole <= usize::from(limit);
        let dropped = !batch.packets[0].pending();
        if dropped {
            prop_assert_eq!(batch.packets.len(), 1);
            let each = usize::from(limit).saturating_sub(ipv4::HEADER + options.len()) & !7;
            prop_assert!(!fits && payload.len() > each * MAX_FRAGMENTS, "no room for payload, or too many of them");
        } else {
            prop_assert_eq!(fits, batch.packets.len() == 1);
            for (n, p) in batch.packets.iter().enumerate() {
                let ip = Ipv4::parse(p.frame.data()).unwrap();
                prop_assert!(ip.total_len() <= usize::from(limit) && ip.checksum_holds());
                prop_assert_eq!(ip.total_len(), p.frame.len());
                prop_assert_eq!(ip.total_len(), usize::from(p.meta.ip.total_len));
                prop_assert_eq!((ip.id(), ip.tos(), ip.ttl(), ip.protocol()), (77, 4, 9, 17));
                let expected: Vec<u8> = options.chunks(4).filter(|o| n == 0 || o[0] & 0x80 != 0).flatten().copied().collect();
                prop_assert_eq!(ip.options(), expected);
            }
            let (first, bytes, ended) = reassemble(&batch.packets);
            prop_assert_eq!((first, ended), (offset, !mf));
            prop_assert_eq!(bytes[usize::from(offset)..].iter().copied().collect::<Option<Vec<u8>>>(), Some(payload));
        }
        let frames = pool.available() + batch.packets.len();
        prop_assert_eq!(frames, 80, "no frame is lost");
        batch.packets.drain(..).for_each(|p| pool.free(p.frame));
    }
}

#[test]
fn df_forbids_and_missing_frames_leave_nothing_half_done() {
    let mut pool = pool(2);
    let mut batch = Batch::new();
    for df in [true, false] {
        let mut p = packet(&mut pool, &[], &[7; 2000], 0, false, df);
        p.meta.limit = 576;
        batch.packets.push(p).unwrap();
    }
    let (mut places, mut stats) = (Places::from_iter([0, 1]), Stats::default());
    run(&mut batch, &mut places, &mut pool, &mut stats);
    let verdicts: Vec<_> = batch.packets.iter().map(|p| p.verdict).collect();
    assert_eq!(verdicts, [Drop::TooBig, Drop::NoFrame].map(crate::Verdict::Drop));
    assert_eq!(batch.packets[1].frame.len(), 2020);
    batch.packets.drain(..).for_each(|p| pool.free(p.frame));
    assert_eq!(pool.available(), 2);
}
