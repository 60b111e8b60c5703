use super::*;
use ravelin_ring::msg::*;

fn spec(esn: bool, sequence: u64) -> SaSpec {
    let end = "198.18.0.1:0".parse().unwrap();
    SaSpec {
        id: SaId(1),
        tunnel: TunnelId(1),
        direction: Direction::Outbound,
        spi: 0x1000.try_into().unwrap(),
        suite: Suite::Aes128Gcm16,
        keys: KeyMaterial::new(&[1; 20]).unwrap(),
        esn,
        local: end,
        remote: end,
        mode: Mode::Tunnel,
        replay_window: 0,
        tunnel_mtu: 1500,
        outer_df: OuterDf::Copy,
        tfc: 0,
        extras: Extras { sequence, ..Extras::default() },
        soft_bytes: 0,
        hard_bytes: 0,
        soft_packets: 0,
        hard_packets: 0,
        selectors: 1,
    }
}

/// Every number from `from` to the end that lies next to one at which something is told.
fn asked(limits: &mut Limits, from: u64) -> Vec<u64> {
    let (mut events, mut gates, mut asked) = (Events::new(), limits.gates(), vec![]);
    let mut number = from;
    loop {
        // As `sequence::take` asks: before number + 1 is given.
        number = number.max(gates.0);
        let result = limits.at_gate(SaId(1), (number, 0), &mut gates, (&mut events, Now { ms: 5 }));
        match events.pop() {
            Some(WorkerEvent::SoftLimit { limit: Limit::Sequence, .. }) => asked.push(number),
            Some(WorkerEvent::HardLimit { limit: Limit::Sequence, .. }) => {
                assert_eq!(result, Err(Drop::SequenceExhausted));
                return asked;
            }
            other => panic!("{other:?} at {number}"),
        }
        assert_eq!(result, Ok(()));
    }
}

// R124, R302: a new SA is asked for when a quarter of the numbers is left, and again whenever half of the rest is used.
#[test]
fn the_end_of_the_numbers_is_told_early_and_again() {
    for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let mut limits = Limits::new(&spec(esn, 0));
        let asked = asked(&mut limits, 0);
        assert_eq!(asked.first(), Some(&(last - last / 4)));
        assert!(asked.is_sorted() && asked.len() <= 64, "{asked:?}");
        assert!(asked.windows(2).all(|w| (last - w[1]) <= (last - w[0]) / 2), "{asked:?}");
        assert_eq!(asked.last(), Some(&(last - 1)));
        assert_eq!(limits.gates().0, last, "nothing may go behind the last number");
    }
}

// The event that nobody acted on is told again, but not with every packet.
#[test]
fn a_hard_limit_is_told_once_a_second() {
    let mut limits = Limits::new(&spec(false, 0));
    let (mut events, mut gates, last) = (Events::new(), limits.gates(), u64::from(u32::MAX));
    for ms in (0..3000).step_by(100) {
        let at = (&mut events, Now { ms });
        assert_eq!(limits.at_gate(SaId(1), (last, 0), &mut gates, at), Err(Drop::SequenceExhausted));
    }
    assert_eq!(std::iter::from_fn(|| events.pop()).count(), 3);
}

// Limits in packets count what these keys have carried since, not what they had before.
#[test]
fn packets_count_from_the_first_number() {
    let limits = Limits::new(&SaSpec { soft_packets: 10, hard_packets: 20, ..spec(false, 1000) });
    assert_eq!(limits.gates().0, 1010);
}
