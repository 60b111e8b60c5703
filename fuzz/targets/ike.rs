//! Datagrams from anybody to an engine with one connection that it also initiates: no panic, and an answer is never much
//! larger than the question (RFC 7296 §2.6: no amplifier).
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand_core::SeedableRng;
use ravelin_ike::command::Command;
use ravelin_ike::config::*;
use ravelin_ike::endpoint::{Endpoint, EndpointConfig, Near, SpiSource};
use ravelin_wire::Spi;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

struct Spis(u32);

impl SpiSource for Spis {
    fn inbound_spi(&mut self, _: ChildId, _: Option<Near>) -> Spi {
        self.0 += 1;
        Spi::try_from(self.0).expect("over 255")
    }
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let mut endpoint = Endpoint::new(EndpointConfig::new(Box::new(Spis(0x1000))), Box::new(rng));
    endpoint.handle_command(now, Command::Configure(Box::new(connection())));
    let drain = |endpoint: &mut Endpoint| {
        while endpoint.poll_event().is_some() {}
        std::iter::from_fn(|| endpoint.poll_transmit()).map(|t| t.datagram().to_vec()).collect::<Vec<_>>()
    };
    let asked = drain(&mut endpoint);
    let data = &addressed(data, &asked);
    let local: SocketAddr = ([198, 18, 0, 1], 500).into();
    let peer: SocketAddr = ([198, 18, 0, 2], 500).into();
    endpoint.handle_datagram(now, local, peer, data);
    let answered: usize = drain(&mut endpoint).iter().map(Vec::len).sum();
    assert!(answered <= 3 * data.len() + 512, "{answered} bytes for {}", data.len());
    endpoint.handle_alarm(now + Duration::from_secs(1));
    drain(&mut endpoint);
});

/// What says that it is a response (RFC 7296 §3.1: bit 0x20 of the flags) names the SA that the engine began: no fuzzer guesses
/// its SPI.
fn addressed(data: &[u8], asked: &[Vec<u8>]) -> Vec<u8> {
    let mut data = data.to_vec();
    let spi = asked.first().and_then(|first| first.get(..8));
    if let (Some(true), Some(spi)) = (data.get(19).map(|flags| flags & 0x20 != 0), spi) {
        data[..8].copy_from_slice(spi);
    }
    data
}

fn connection() -> Connection {
    let proposal =
        |encryption, integrity, prf, group| IkeProposal { encryption, integrity, prf, group, kem: None };
    Connection {
        id: ConnectionId(1),
        name: "peer".into(),
        local: Some([198, 18, 0, 1].into()),
        remote: Some([198, 18, 0, 2].into()),
        local_id: Identity::Fqdn("a.lab".into()),
        remote_id: Identity::Fqdn("b.lab".into()),
        local_auth: LocalAuth::Psk(Secret::new(b"not a secret".to_vec())),
        remote_auth: RemoteAuth::Psk(Secret::new(b"not a secret".to_vec())),
        ppk: None,
        proposals: vec![
            proposal(Encryption::AesGcm16_256, None, Prf::HmacSha256, Group::Curve25519),
            proposal(Encryption::AesCbc256, Some(Integrity::HmacSha256_128), Prf::HmacSha256, Group::Ecp256),
        ],
        children: vec![Child {
            id: ChildId(1),
            name: "net".into(),
            selectors: vec![ravelin_testkit::selector("10.1.0.0/24", "10.2.0.0/24")],
            mode: Mode::Tunnel,
            proposals: vec![EspProposal {
                encryption: Some(Encryption::AesGcm16_128),
                integrity: None,
                group: None,
                kem: None,
                esn: false,
            }],
            lifetime: Duration::from_secs(3600),
            hard_lifetime: Duration::from_secs(4000),
            jitter: Duration::ZERO,
            resources: 2,
        }],
        pool: None,
        lifetime: Duration::from_secs(14400),
        jitter: Duration::ZERO,
        dpd_delay: Duration::ZERO,
        start: Start::Immediately,
        force_udp: false,
        fragment_size: Some(1280),
        exchanges: ravelin_ike::config::Exchanges::default(),
    }
}
