//! SAs of before: adopted ones, those that stay, a new data plane that is owed answers.

use super::super::adopt::ADOPTED_GRACE;
use super::*;

/// Reports of a pair that the control process before this one installed, the outbound one in use.
fn adopt(bed: &mut Bed, spi: Spi) {
    for (id, direction) in [(70, Direction::Inbound), (71, Direction::Outbound)] {
        let half = Half {
            id: SaId(id),
            tunnel: TunnelId(3),
            direction,
            spi,
            worker: WorkerId(0),
            pair: None,
            since: bed.now,
            report: None,
            leaving: false,
            esn: false,
            replay_window: 0,
            outside: VrfId::MAIN,
            inside: VrfId::MAIN,
        };
        bed.installer.adopt(bed.now, WorkerId(0), report(&half, 5));
    }
    assert_eq!(bed.installer.in_use(TunnelId(3)), Some(SaId(71)));
}

/// R306: make before break, across a restart of the control process.
#[test]
fn adopted_sas_carry_traffic_until_their_successors_do() {
    let mut bed = Bed::new(2);
    let spi = bed.spis.clone().inbound_spi(ChildId(3), None);
    adopt(&mut bed, spi);
    let sa = bed.install(1);
    assert_ne!(sa.inbound_spi, spi);
    let commands = bed.commands();
    bed.answer(&commands);
    assert_eq!(bed.installer.adopted().filter(|h| h.leaving).count(), 0);
    bed.installer.use_outbound(bed.now, sa.id, 0);
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["use", "use"]);
    bed.answer(&commands);
    bed.installer.expire(bed.now + ADOPTED_GRACE);
    let commands = bed.commands();
    assert_eq!(
        kinds(&commands),
        ["report", "remove", "remove"],
        "no StopOutbound: the tunnel has another one"
    );
    bed.answer(&commands);
    assert_eq!(bed.installer.adopted().count(), 0);
    assert_eq!(bed.installer.totals(TunnelId(3)).packets_out, 5);
}

/// R306: what the engine goes on with is not taken for what awaits a successor.
#[test]
fn a_pair_that_goes_on_stays_for_good() {
    let mut bed = Bed::new(2);
    let spi = bed.spis.clone().inbound_spi(ChildId(3), None);
    adopt(&mut bed, spi);
    let pair = PairRef { id: ChildSaId(1), child: ChildId(3), inbound: spi, outbound: spi, esn: true };
    let there = bed.installer.adopted_pairs();
    assert_eq!(there.in_use(&pair), Some(true));
    bed.installer.bind(&there, &pair, 64);
    bed.installer.use_outbound(bed.now, pair.id, 0);
    let commands = bed.commands();
    assert_eq!(kinds(&commands), ["use", "use"]);
    bed.answer(&commands);
    assert_eq!(bed.installer.deadline(), None, "nothing of it is to go");
    bed.installer.expire(bed.now + 10 * ADOPTED_GRACE);
    assert!(bed.commands().is_empty());
    assert_eq!(bed.installer.in_use(TunnelId(3)), Some(SaId(71)));
    // Until its own successor comes.
    bed.up(2);
    bed.installer.remove(bed.now, pair.id, Duration::ZERO);
    bed.installer.expire(bed.now);
    assert_eq!(kinds(&bed.commands()), ["report", "remove", "remove"], "no StopOutbound");
}

#[test]
fn a_new_data_plane_answers_what_the_old_one_owed() {
    let mut bed = Bed::new(1);
    bed.install(7);
    let owed: Vec<Token> = bed.commands().iter().filter_map(|(_, c)| token_of(c)).collect();
    bed.installer.reset(2);
    assert!(matches!(
        bed.installer.poll_answer(),
        Some(Command::Installed { token: InstallToken(7), ok: false })
    ));
    assert!(bed.commands().is_empty());
    assert!(bed.installer.is_quiet());
    assert_eq!(owed.len(), 2);
    for token in owed {
        assert!(!bed.installer.done(token, Outcome::Ok), "an answer of the old one is a stray one");
    }
}

/// RFC 4301 §8.2.1: a notice counts for SPIs that we have, only narrows, and ages out; a new SA begins with it.
#[test]
fn a_narrow_way_is_told_to_its_sas_and_forgotten() {
    let mut bed = Bed::new(2);
    let sa = bed.up(1);
    let half = bed.half(&sa, Direction::Outbound);
    bed.installer.report(report(&half, 1));
    let notice = |spi, mtu| crate::icmp::TooBig {
        local: "198.18.0.1".parse().unwrap(),
        remote: "198.18.0.2".parse().unwrap(),
        quoted: crate::icmp::Quoted::Sa { spi },
        mtu,
        device: 1,
    };
    let (now, spi) = (bed.now, half.spi.get());
    let elsewhere = crate::icmp::TooBig { remote: "198.18.0.3".parse().unwrap(), ..notice(spi, 1300) };
    assert!(!bed.installer.too_big(now, VrfId::MAIN, &notice(spi + 1, 1300)), "nobody's SPI");
    assert!(!bed.installer.too_big(now, VrfId::MAIN, &elsewhere), "another way");
    assert!(!bed.installer.too_big(now, VrfId(101), &notice(spi, 1300)), "the same addresses in another VRF");
    assert!(bed.installer.too_big(now, VrfId::MAIN, &notice(spi, 1300)));
    let told = |bed: &mut Bed| -> Vec<(SaId, u16)> {
        let commands = bed.commands();
        bed.answer(&commands);
        let path = |(_, c): &(WorkerId, WorkerCommand)| {
            if let WorkerCommand::PathMtu { sa, mtu, .. } = c { Some((*sa, *mtu)) } else { None }
        };
        commands.iter().filter_map(path).collect()
    };
    assert_eq!(told(&mut bed), [(half.id, 1300)]);
    assert!(
        !bed.installer.too_big(now, VrfId::MAIN, &notice(spi, 1300))
            && !bed.installer.too_big(now, VrfId::MAIN, &notice(spi, 1400))
    );
    assert!(bed.installer.too_big(now, VrfId::MAIN, &notice(spi, 1200)));
    assert_eq!(told(&mut bed), [(half.id, 1200)]);
    let next = bed.install(2);
    let id = bed.half(&next, Direction::Outbound).id;
    assert_eq!(told(&mut bed), [(id, 1200)], "known before it sends");
    bed.installer.age_paths(now + Duration::from_secs(599));
    assert_eq!(told(&mut bed), []);
    bed.installer.age_paths(now + Duration::from_secs(600));
    assert_eq!(told(&mut bed), [(half.id, 0)], "and the one that was reported hears of the end");
}
