//! Redirect (RFC 5685), in both roles: the gateway names another one.
//!
//! Decides: what is taken for a redirect, and who is sent away. Reads: notifies. Writes: nothing; the endpoint begins
//! anew, within bounds. Never: resolves a name; sends a peer back where it was sent from; goes anywhere where the configuration does not allow redirects; believes the other gateway
//! without the identity and the proof that the configuration wants of the first.

use crate::config::{Connection, RedirectAt};
use crate::counters::Counter;
use crate::endpoint::{Action, Cx};
use crate::ike_sa::Core;
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// In IKE_SA_INIT: that we can follow, or whom we come from (§3, §4).
pub(crate) fn offer(core: &Core, from: Option<IpAddr>) -> Option<Payload> {
    let notify = match from {
        Some(from) => Notify::with_data(notify::REDIRECTED_FROM, identity(from)),
        None => Notify::new(notify::REDIRECT_SUPPORTED),
    };
    core.connection.exchanges.redirect.then_some(Payload::Notify(notify))
}

fn identity(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[IPV4, 4], ip.octets().as_slice()].concat(),
        IpAddr::V6(ip) => [&[IPV6, 16], ip.octets().as_slice()].concat(),
    }
}

/// §6.2: type, length, identity of the gateway; then, in IKE_SA_INIT, our nonce.
fn parse(data: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (&[kind, len], rest) = data.split_first_chunk::<2>()?;
    let (identity, nonce) = rest.split_at_checked(usize::from(len))?;
    let to = match kind {
        IPV4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(identity).ok()?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(identity).ok()?)),
        _ => return None,
    };
    Some((to, nonce))
}

/// Another gateway, if this message names one that may be followed. `nonce`: ours, where nothing else shows that
/// whoever answers has seen the request (IKE_SA_INIT).
pub(crate) fn wanted(core: &Core, cx: &mut Cx<'_>, view: View<'_>, nonce: Option<&[u8]>) -> Option<IpAddr> {
    let n = view.notify(notify::REDIRECT)?;
    let parsed = parse(&n.data).filter(|(_, echoed)| nonce.is_none_or(|nonce| *echoed == nonce));
    let to = parsed.map(|(to, _)| to).filter(|to| lawful(*to, core.path.remote.ip()));
    if to.is_none() || !core.connection.exchanges.redirect {
        cx.count(Counter::RedirectsIgnored);
        return None;
    }
    to
}

fn lawful(to: IpAddr, from: IpAddr) -> bool {
    let one_host = !to.is_unspecified() && !to.is_multicast() && !to.is_loopback();
    one_host && to != from && to.is_ipv4() == from.is_ipv4() && to != IpAddr::V4(Ipv4Addr::BROADCAST)
}

pub(crate) fn follow(core: &Core, cx: &mut Cx<'_>, to: IpAddr) {
    cx.count(Counter::Redirected);
    let (connection, from) = (core.connection.clone(), core.path.remote.ip());
    cx.act(Action::Redirect { connection, ike: core.id, from, to });
}

/// What a peer that begins says of redirects in IKE_SA_INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Can {
    follows: bool,
    from: Option<IpAddr>,
}

impl Can {
    pub(crate) fn of(view: View<'_>) -> Self {
        // §4: who was sent here knows redirects, and says whence it came in place of that.
        let from = view.notify(notify::REDIRECTED_FROM);
        let follows = from.is_some() || view.notify(notify::REDIRECT_SUPPORTED).is_some();
        Self { follows, from: from.and_then(|n| parse(&n.data)).map(|(from, _)| from) }
    }

    /// Where the peer is to go instead. Two gateways that send peers to each other serve them in the end.
    pub(crate) fn target(self, connection: &Connection, at: RedirectAt) -> Option<IpAddr> {
        let to = connection.exchanges.redirect_to.filter(|to| to.at == at && self.follows)?;
        (self.from != Some(to.gateway)).then_some(to.gateway)
    }
}

/// N(REDIRECT); `nonce`: the peer's, where nothing else shows that we have seen its request (IKE_SA_INIT).
pub(crate) fn send(to: IpAddr, nonce: &[u8]) -> Notify {
    Notify::with_data(notify::REDIRECT, [identity(to).as_slice(), nonce].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gateway_is_named_by_its_address_only() {
        let nonce = [9; 20];
        for text in ["198.18.0.3", "2001:db8::3"] {
            let ip: IpAddr = text.parse().unwrap();
            let data = [identity(ip), nonce.to_vec()].concat();
            assert_eq!(parse(&data), Some((ip, nonce.as_slice())));
            assert_eq!(parse(&identity(ip)), Some((ip, [].as_slice())));
            for len in 0..identity(ip).len() {
                assert_eq!(parse(&identity(ip)[..len]), None, "cut to {len}");
            }
        }
        assert_eq!(parse(&[3, 5, b'b', b'.', b'l', b'a', b'b']), None, "a name would have to be resolved");
        assert_eq!(parse(&[1, 5, 1, 2, 3, 4, 5]), None);
        let from: IpAddr = "198.18.0.2".parse().unwrap();
        for no in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.2", "2001:db8::3"] {
            assert!(!lawful(no.parse().unwrap(), from), "{no}");
        }
        assert!(lawful("198.18.0.3".parse().unwrap(), from));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&data);
        }
    }
}
