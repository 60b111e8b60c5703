//! What is the matter with a tunnel (R52), from what `show tunnels` knows.
//!
//! Decides: which of its figures is the one to look at. Never: asks the peer.

use crate::api::{TunnelState, TunnelStatus};
use crate::show::span;

/// Seconds that one direction may be silent while the other is not.
const SILENT: u64 = 10;

/// The state in a sentence, the last packet in and out, and what to do.
pub fn diagnosis(t: &TunnelStatus) -> String {
    let last = |idle: Option<u64>, packets: u64| match idle {
        Some(s) => format!("{packets} packets, last {} ago", span(s)),
        None => format!("{packets} packets, none by the SAs of now"),
    };
    let (state, cure) = judge(t);
    let mut text = format!(
        "tunnel {}: {state}\n  in       {}\n  out      {}\n",
        t.name,
        last(t.idle_in_s, t.traffic_in.packets),
        last(t.idle_out_s, t.traffic_out.packets)
    );
    if let (Some(spi_in), Some(spi_out)) = (&t.spi_in, &t.spi_out) {
        text.push_str(&format!("  SAs      in {spi_in}, out {spi_out}, {} - {}\n", t.local, t.remote));
    }
    if let Some(why) = &t.last_error {
        let age = t.last_error_age_s.map(|age| format!(" ({} ago)", span(age))).unwrap_or_default();
        text.push_str(&format!("  error    {why}{age}\n"));
    }
    if let Some(cure) = cure {
        text.push_str(&format!("  cure     {cure}\n"));
    }
    text
}

fn judge(t: &TunnelStatus) -> (String, Option<&'static str>) {
    if t.state != TunnelState::Up {
        let cure = match t.state {
            TunnelState::Down => "it was taken down: `ravelin up` brings it back",
            TunnelState::Waiting => "it comes up with the first packet, or when the peer begins",
            TunnelState::Connecting | TunnelState::Retrying => {
                "the peer does not answer as it should: `ravelin trace TUNNEL on` logs each message"
            }
            TunnelState::IkeOnly => {
                "the child SA was refused or deleted: compare selectors and proposals of both ends"
            }
            TunnelState::NoAddress => "give the machine the tunnel's `local` address, or correct `local`",
            TunnelState::Up => "",
        };
        return (t.state.name().to_owned(), Some(cure));
    }
    let quiet = |idle: Option<u64>, other: Option<u64>| {
        other.is_some_and(|other| other < SILENT) && idle.is_none_or(|idle| idle >= SILENT)
    };
    if let Some(s) = t.one_way_s {
        let cure = "the peer receives nothing or cannot send: is IP protocol 50 (or UDP 4500) let through both ways?";
        return (format!("one-way: for {} it sends and receives nothing", span(s)), Some(cure));
    }
    if quiet(t.idle_in_s, t.idle_out_s) {
        let cure = "hosts behind the peer do not answer, or ESP is lost on the way back: look at both ends' counters";
        return ("asymmetric: it sends and receives nothing".to_owned(), Some(cure));
    }
    if quiet(t.idle_out_s, t.idle_in_s) {
        let cure =
            "packets come and none goes back: do the hosts here route their answers through this gateway?";
        return ("asymmetric: it receives and sends nothing".to_owned(), Some(cure));
    }
    ("up".to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Traffic;

    fn tunnel(idle_in: Option<u64>, idle_out: Option<u64>) -> TunnelStatus {
        TunnelStatus {
            vrf: None,
            outside_vrf: None,
            name: "office".into(),
            id: 1,
            state: TunnelState::Up,
            local: "198.18.0.1".into(),
            remote: "198.18.0.2".into(),
            local_id: String::new(),
            remote_id: String::new(),
            encapsulation: None,
            mode: None,
            ike_spi_local: None,
            ike_spi_remote: None,
            ike_suite: None,
            ike_age_s: None,
            ike_rekey_in_s: None,
            credential: String::new(),
            ike_exchange: None,
            ike_message_ids: None,
            ike_resumed: false,
            ike_ticket_for_s: None,
            spi_in: Some("0xc0000101".into()),
            spi_out: Some("0xc0000202".into()),
            suite: None,
            age_s: None,
            rekey_in_s: None,
            traffic_in: Traffic { packets: 5, bytes: 0 },
            traffic_out: Traffic { packets: 900, bytes: 0 },
            idle_in_s: idle_in,
            interface: None,
            idle_out_s: idle_out,
            one_way_s: None,
            selectors: vec![],
            rekeys: 0,
            last_error: None,
            last_error_age_s: None,
            retry_in_s: None,
            addresses: vec![],
            dns: vec![],
            peers: vec![],
        }
    }

    // R52
    #[test]
    fn only_outbound_esp_is_called_asymmetric_with_the_last_time_in() {
        let text = diagnosis(&tunnel(Some(75), Some(0)));
        assert!(text.starts_with("tunnel office: asymmetric: it sends and receives nothing\n"), "{text}");
        assert!(text.contains("in       5 packets, last 1m15s ago"), "{text}");
        assert!(text.contains("out      900 packets, last 0s ago"), "{text}");
        assert!(text.contains("  cure "), "{text}");
        assert!(diagnosis(&tunnel(None, Some(2))).contains("asymmetric: it sends"));
        assert!(diagnosis(&tunnel(Some(2), None)).contains("asymmetric: it receives"));
        for (idle_in, idle_out) in [(Some(1), Some(2)), (Some(50), Some(60)), (None, None)] {
            let text = diagnosis(&tunnel(idle_in, idle_out));
            assert!(text.starts_with("tunnel office: up\n") && !text.contains("cure"), "{text}");
        }
        let said = TunnelStatus { one_way_s: Some(65), ..tunnel(None, Some(0)) };
        assert!(diagnosis(&said).contains("one-way: for 1m5s"), "{said:?}");
        let down =
            TunnelStatus { state: TunnelState::Retrying, last_error: Some("no answer".into()), ..said };
        let text = diagnosis(&down);
        assert!(text.contains("office: retrying") && text.contains("error    no answer"), "{text}");
    }
}
