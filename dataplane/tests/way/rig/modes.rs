//! Pairs of SAs that are not ESP in tunnel mode, and packets for them.

use super::*;

/// Every suite of ESP in transport mode and of AH in both, with and without ESN.
pub(crate) fn each_mode(mut check: impl FnMut(&Pair)) {
    let esp = SUITES.into_iter().map(|(suite, _)| (Mode::Transport, suite));
    let ah = AH_SUITES.into_iter().flat_map(|(suite, _)| [(Mode::Transport, suite), (Mode::Tunnel, suite)]);
    for (mode, suite) in esp.chain(ah) {
        for esn in [false, true] {
            check(&Pair { suite, esn, ..mode_pair(mode) });
        }
    }
}

/// The same between gateways that speak IPv6.
pub(crate) fn each_mode6(mut check: impl FnMut(&Pair)) {
    each_mode(|pair| {
        let selectors = match pair.mode {
            Mode::Tunnel => pair.selectors.clone(),
            Mode::Transport => vec![selector("2001:db8:ff::1/128", "2001:db8:ff::2/128")],
        };
        check(&Pair { v6: true, selectors, ..pair.clone() });
    });
}

pub(crate) fn mode_pair6(mode: Mode) -> Pair {
    let mut found = None;
    each_mode6(|pair| {
        if pair.mode == mode && found.is_none() {
            found = Some(Pair { suite: Suite::Aes256Gcm16, ..pair.clone() });
        }
    });
    found.unwrap()
}

/// In transport mode the gateways are the ends.
pub(crate) fn mode_pair(mode: Mode) -> Pair {
    let selectors = match mode {
        Mode::Tunnel => vec![selector("10.1.0.0/24", "10.2.0.0/24")],
        Mode::Transport => vec![selector("198.18.0.1/32", "198.18.0.2/32")],
    };
    Pair { mode, selectors, ..Pair::default() }
}

pub(crate) fn mode_gates(pair: &Pair) -> (Gate, Gate) {
    let (mut a, mut b) = gates(pair);
    for gate in [&mut a, &mut b] {
        for s in &pair.selectors {
            gate.protect(if gate.is_a { *s } else { mirror(*s) });
        }
        gate.commit();
    }
    (a, b)
}

/// From A's side to B's.
pub(crate) fn mode_packet(pair: &Pair, len: usize) -> Vec<u8> {
    match pair.mode {
        Mode::Tunnel => ip(HOST_A, HOST_B, len),
        Mode::Transport if pair.v6 => ip6(WAN_A6, WAN_B6, len),
        Mode::Transport => ip(WAN_A, WAN_B, len),
    }
}

/// Protected by A, as it goes over the wire, without Ethernet.
#[track_caller]
pub(crate) fn mode_send(a: &mut Gate, pair: &Pair, packet: &[u8]) -> Vec<u8> {
    let out = match pair.mode {
        Mode::Tunnel => a.receive(INSIDE, packet),
        Mode::Transport => a.one(Origin::Tun, packet.to_vec()),
    };
    out.forwarded(WAN).to_vec()
}

/// B takes it in, and what comes of it is `clear`.
#[track_caller]
pub(crate) fn mode_arrives(b: &mut Gate, pair: &Pair, packet: &[u8], clear: &[u8]) {
    let out = b.receive(WAN, packet);
    match pair.mode {
        Mode::Tunnel => {
            let mut expected = clear.to_vec();
            let ttl = expected[8];
            expected = edit(expected, |ip| ip.set_ttl(ttl - 1));
            assert_eq!(out.forwarded(INSIDE), expected);
        }
        Mode::Transport => {
            assert_eq!(out.verdict, Verdict::Punt);
            assert_eq!(out.bytes, clear);
        }
    }
}

/// Behind the fixed header.
pub(crate) fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut bytes = [&packet[..20], options, &packet[20..]].concat();
    bytes[0] += options.len() as u8 / 4;
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    edit_checksum(&mut bytes);
    bytes
}

pub(crate) fn edit_checksum(bytes: &mut [u8]) {
    Ipv4Mut::parse(bytes).unwrap().fill_checksum();
}

/// ESP of `esp` within AH: what both SAs of a bundle are made of. The one that packets are sent by is the first.
pub(crate) fn bundle(esp: &Pair, ah: Suite) -> (Pair, Pair) {
    let inner = Pair { partner: Some(2), ..esp.clone() };
    let outer = Pair {
        suite: ah,
        mode: Mode::Transport,
        tfc: 0,
        spi: esp.spi + 0x1000,
        id: 2,
        partner: Some(esp.id),
        ..esp.clone()
    };
    (inner, outer)
}

/// Both forms that make sense, over both families.
pub(crate) fn each_bundle(mut check: impl FnMut(&Pair, &Pair)) {
    for (suite, ah) in [
        (Suite::Aes256CbcSha256, Suite::AhSha256),
        (Suite::Aes128CbcSha1, Suite::AhSha1),
        (Suite::Aes256Gcm16, Suite::AhSha512),
    ] {
        for mode in [Mode::Tunnel, Mode::Transport] {
            for pair in [mode_pair(mode), mode_pair6(mode)] {
                let esn = suite == Suite::Aes256Gcm16;
                let (esp, ah) = bundle(&Pair { suite, esn, ..pair }, ah);
                check(&esp, &ah);
            }
        }
    }
}

/// AH first, as it has to be.
pub(crate) fn bundle_gates(esp: &Pair, ah: &Pair) -> (Gate, Gate) {
    let (mut a, mut b) = (Gate::new(true), Gate::new(false));
    for gate in [&mut a, &mut b] {
        gate.install(ah);
        gate.install(esp);
        gate.use_pair(esp);
        for s in &esp.selectors {
            gate.protect(if gate.is_a { *s } else { mirror(*s) });
        }
        gate.commit();
    }
    (a, b)
}
