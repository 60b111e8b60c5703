//! The checked configuration: values of these types passed every check that the file alone allows.
//!
//! Decides: what a gateway can be configured to do, and the default of every key.
//! Reads and writes: nothing. Never: holds a secret but the keys of manual SAs, once they are put there; a file position is kept only for messages.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use ravelin_ike::config::{
    EapMethod, EspProposal, Identity, IkeProposal, Mode, Pool, RedirectTo, Start, When,
};
use ravelin_ring::msg::{NatSettings, OuterDf, Rules, TunnelId, VrfId};
use ravelin_ring::setup::{Attach, ReversePath};
use ravelin_wire::Selector;
use std::borrow::Cow;
use std::path::PathBuf;

use super::admit::Admission;
use super::diagnostic::Diagnostic;
use super::gre::Gre;
use super::interface::TunnelInterface;
use super::manual::Manual;
use super::nat::Nat;
use super::tunnels::Tunnels;
use super::vrf::Vrf;

/// One configuration file, parsed and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// As it was named by the caller; errors and `explain` say it.
    pub file: PathBuf,
    /// In the order of their [`ravelin_ring::msg::PortId`].
    pub ports: Vec<Port>,
    pub dataplane: Dataplane,
    pub control: Control,
    /// In file order, which is the order of their policies.
    pub tunnels: Tunnels,
    /// Some SA may have been made for a filter: every tunnel's list is told, be it that all may pass.
    pub filtered: bool,
    pub vrfs: Vec<Vrf>,
    pub gre: Vec<Gre>,
    /// In file order: the first that matches decides.
    pub nat: Vec<Nat>,
    pub translation: NatSettings,
    /// What is lawful but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// A network device whose queues the data plane takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: DeviceName,
    pub attach: Attach,
    pub reverse_path: ReversePath,
    /// Its name; `None`: the main one.
    pub vrf: Option<String>,
    /// It lets in the VPN alone, and what this says; `None`: everything.
    pub admission: Option<Admission>,
    pub line: u32,
}

/// Name of a Linux network device: 1 to 15 bytes, no slash, colon or white space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Cow<'static, str>);

impl DeviceName {
    /// IFNAMSIZ less the closing zero.
    pub const MAX: usize = 15;

    /// Default name of the TUN device.
    pub const TUN: Self = Self(Cow::Borrowed("ravelin0"));

    pub fn new(name: &str) -> Option<Self> {
        let lawful = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        let fits = !name.is_empty() && name.len() <= Self::MAX && name != "." && name != "..";
        (fits && name.chars().all(lawful)).then(|| Self(Cow::Owned(name.to_owned())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    pub cores: Vec<u16>,
    pub frames: u32,
    pub frame_size: u32,
    pub ring_size: u32,
    pub huge_pages: bool,
    /// Microseconds; 0: off.
    pub busy_poll_us: u16,
    pub tun: DeviceName,
    pub udp_encapsulation_port: Option<u16>,
    pub max_sas: u32,
    /// Where `[dataplane]` stands.
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub run_dir: PathBuf,
    /// Already joined with the directory of the configuration file.
    pub secrets: PathBuf,
    pub ike_port: u16,
    pub natt_port: u16,
    pub default_policy: DefaultPolicy,
}

/// For packets that the data plane takes and no selector covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    Bypass,
    Discard,
}

/// One peer with one child; or a further child of another one's peer, by the IKE SA of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Also the number of its [`ravelin_ike::config::ChildId`] and, without a parent, of its
    /// [`ravelin_ike::config::ConnectionId`].
    pub id: TunnelId,
    /// The tunnel whose IKE SA it shares.
    pub parent: Option<TunnelId>,
    pub name: String,
    pub local: IpAddr,
    /// Only where this port has them, [`Self::locals`] are its addresses; `None`: wherever they are.
    pub local_interface: Option<DeviceName>,
    /// `None`: any address (responder only).
    pub remote: Option<IpAddr>,
    pub local_id: Identity,
    pub remote_id: Identity,
    pub auth: TunnelAuth,
    /// Its SAs have keys by hand, and there is no IKE.
    pub manual: Option<Manual>,
    pub ike_proposals: Vec<IkeProposal>,
    pub mode: Mode,
    /// Of ESP, or all of AH.
    pub esp_proposals: Vec<EspProposal>,
    pub selectors: Vec<TunnelSelector>,
    /// What comes out of it has to match one of these too; empty: nothing is asked.
    pub filter: Vec<TunnelSelector>,
    /// It is a link of its own, which routes lead into.
    pub interface: Option<TunnelInterface>,
    /// Of what goes through it; `None`: the main one.
    pub vrf: Option<String>,
    /// Of the gateways' addresses; `None`: the main one.
    pub outside_vrf: Option<String>,
    /// Addresses for its peers.
    pub pool: Option<Pool>,
    pub start: Start,
    pub encapsulation: Encapsulation,
    /// A child SA for each worker, where the peer can (RFC 9611).
    pub per_worker: bool,
    /// The crypto of an SA's packets is shared by all workers while its own is loaded.
    pub shared: bool,
    /// Packets; 0: no replay check.
    pub replay_window: u32,
    /// Inner packets shorter than this are padded to it; 0: none.
    pub tfc: u16,
    pub tunnel_mtu: u16,
    pub df: OuterDf,
    pub travel: Travel,
    /// Largest IP packet of IKE; `None`: IKE fragmentation is off.
    pub ike_fragment_size: Option<u16>,
    pub ike_lifetime: Duration,
    pub lifetime: Duration,
    pub hard_lifetime: Duration,
    /// Percent of a lifetime by which a rekey may come early, at random.
    pub jitter_percent: u8,
    /// Soft and hard limits; 0: none.
    pub bytes: Limits,
    pub packets: Limits,
    /// Zero: never ask.
    pub dpd: Duration,
    pub exchanges: TunnelExchanges,
    /// What the proofs rest on with each of the peer's gateways, by name (R176); empty until secrets were read.
    pub credentials: Vec<String>,
    /// Where its `[[tunnel]]` stands.
    pub line: u32,
}

/// What a tunnel does beyond plain IKEv2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelExchanges {
    /// Tried in this order after the first gateway (R1, R2).
    pub backups: Vec<Backup>,
    /// Zero: it stays with a backup until that one fails.
    pub return_to_first: Duration,
    /// Zero: never.
    pub reauthentication: Duration,
    /// IKE_AUTH without a child, where the peer knows that.
    pub childless: bool,
    /// RFC 5723, as client and as gateway.
    pub resumption: bool,
    /// `None`: as the engine does.
    pub retransmissions: Option<u32>,
    /// Other addresses of ours, used in this order where the ones before are gone (R59).
    pub local_backups: Vec<IpAddr>,
    /// RFC 4555.
    pub mobike: bool,
    /// UDP port of IKE at the peer's gateways; `None`: ours.
    pub remote_port: Option<u16>,
    /// RFC 5685, as client.
    pub redirect: bool,
    /// RFC 5685, as gateway.
    pub redirect_to: Option<RedirectTo>,
    /// Asked of the peer; unspecified: any of its family (RFC 7296 §2.19).
    pub addresses: Vec<IpAddr>,
    /// Which device gets them; `None`: the TUN device.
    pub address_device: Option<DeviceName>,
    /// Packets sent for so long, and none received: said and acted on (R48). Zero: never.
    pub one_way_after: Duration,
}

/// Another gateway of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub remote: IpAddr,
    pub remote_id: Identity,
    pub line: u32,
}

/// How both sides of a tunnel prove who they are. Paths are as in the file; they count from its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelAuth {
    pub local: Way,
    pub remote: Way,
    /// Ours, then those between it and the CA.
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    pub trusted_ca: Vec<PathBuf>,
    pub peer_keys: Vec<PathBuf>,
    pub crl: When,
    pub crl_files: Vec<PathBuf>,
    /// Instead of the addresses in the certificates.
    pub crl_urls: Vec<String>,
    pub ocsp: When,
    pub ocsp_url: Option<String>,
    pub send_chain: bool,
    /// RSA signatures by PSS where the peer leaves the choice.
    pub prefer_pss: bool,
    /// As whom we log in.
    pub eap_user: Option<String>,
    /// In order of preference.
    pub eap_methods: Vec<EapMethod>,
    pub eap_ask_identity: bool,
    /// Names the post-quantum pre-shared key.
    pub ppk_id: Option<String>,
    pub ppk_required: bool,
    /// No `local-id` is written: with a certificate it is the certificate's.
    pub default_id: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Psk,
    Certificate,
    RawKey,
    Eap,
    /// Keys of SAs are given by hand: nobody proves anything.
    Manual,
}

impl TunnelAuth {
    /// A pre-shared key is needed.
    pub fn needs_secret(&self) -> bool {
        self.local == Way::Psk || self.remote == Way::Psk
    }

    /// Somebody logs in by TLS.
    pub fn eap_tls(&self) -> bool {
        (self.local == Way::Eap || self.remote == Way::Eap) && self.eap_methods.contains(&EapMethod::Tls)
    }

    /// Somebody logs in by a password.
    pub fn eap_password(&self) -> bool {
        (self.local == Way::Eap || self.remote == Way::Eap)
            && self.eap_methods.iter().any(|method| *method != EapMethod::Tls)
    }

    /// Something in the secrets file is needed.
    pub fn needs_file(&self) -> bool {
        self.needs_secret() || self.eap_password() || self.ppk_id.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSelector {
    pub selector: Selector,
    pub line: u32,
}

/// How packets travel besides their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Travel {
    pub rules: Rules,
    /// UDP port of the peer to which ESP goes with a source port for each flow; 0: plain ESP.
    pub multipath: u16,
    /// Bound of TCP's MSS, or [`ravelin_ring::msg::NatRule::MSS_OF_PATH`].
    pub tcp_mss: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP where a NAT is found, else plain ESP.
    Auto,
    Udp,
}

/// Of one SA; 0: no limit. Soft begins a rekey, hard stops the SA; soft < hard where both are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    pub soft: u64,
    pub hard: u64,
}

impl ChildSettings {
    /// A soft limit, up to the jitter earlier: many SAs do not reach it at once.
    pub fn soft(&self, limit: u64) -> u64 {
        let most = limit / 100 * u64::from(self.jitter_percent);
        let chance = u64::from(crate::driver::random_u32());
        // As many thousandths of the most as chance says; 0 stays 0: no limit.
        limit - (most / 1000) * (chance % 1001)
    }
}

/// What the data plane is told about the SAs of one tunnel besides what IKE negotiates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildSettings {
    pub tunnel: TunnelId,
    /// What comes out of it has to pass its filter.
    pub filtered: bool,
    /// Where the gateways' addresses belong.
    pub outside: VrfId,
    /// Where what goes through belongs.
    pub inside: VrfId,
    pub replay_window: u32,
    pub shared: bool,
    pub tfc: u16,
    pub tunnel_mtu: u16,
    pub outer_df: OuterDf,
    pub travel: Travel,
    /// Of the soft limits of bytes and packets, as of the times.
    pub jitter_percent: u8,
    pub bytes: Limits,
    pub packets: Limits,
}
