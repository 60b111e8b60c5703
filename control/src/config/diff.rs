//! What a reload changes, and what it cannot change.
//!
//! Decides: which difference touches which tunnel. Reads: two configurations. Writes: nothing.
//! Never: calls a tunnel changed that is only at another line of the file.

mod plane;

use core::fmt;
use ravelin_ike::config::{EspProposal, Start, When};
use ravelin_ring::msg::{OuterDf, TunnelId};

use super::admit;
use super::auth::method_text;
use super::check::text as selector_text;
use super::child::{encapsulation_text, mode_text};
use super::gre::gre_fields;
use super::identity::IdText;
use super::model::{Config, Control, DefaultPolicy, Tunnel, TunnelAuth, Way};
use super::nat::nat_fields;
use super::proposal::{esp_text, ike_text};
use super::value::{size_text, time_text};
use super::vrf::vrf_fields;
use plane::{control_fields, plane_fields};
use std::path::PathBuf;

/// From an old configuration to a new one. Prints one line per change; nothing when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the new one, with its number there.
    pub added: Vec<(TunnelId, String)>,
    /// Only in the old one, with its number there.
    pub removed: Vec<(TunnelId, String)>,
    /// In both, under one name.
    pub changed: Vec<TunnelChange>,
    /// The tunnels that are in both stand in another order: policies are published anew, no SA is touched.
    pub reordered: bool,
    /// Tunnels of GRE and VRFs by their names, and what ports let in; in force at once.
    pub gre: Vec<FieldChange>,
    /// Rules by their place, and what bounds them; in force at once.
    pub nat: Vec<FieldChange>,
    /// In force at once.
    pub default_policy: Option<FieldChange>,
    /// Of ports and data plane: in force when `ravelin-dataplane` is started anew.
    pub needs_dataplane_restart: Vec<FieldChange>,
    /// Of the control process: in force when `ravelin-control` is started anew.
    pub needs_control_restart: Vec<FieldChange>,
    /// Another secrets file, or (when the caller says so) other secrets.
    pub secrets: Option<FieldChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelChange {
    /// Number in the new configuration.
    pub id: TunnelId,
    pub name: String,
    pub fields: Vec<FieldChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The key as in the file.
    pub key: String,
    pub old: String,
    pub new: String,
}

/// What differs between two checked files.
pub fn diff(old: &Config, new: &Config) -> Difference {
    let ids = |tunnel: &Tunnel| (tunnel.id, tunnel.name.clone());
    let changed = new.tunnels.iter().filter_map(|after| {
        let fields = fields(&tunnel_fields(old.tunnel(&after.name)?), &tunnel_fields(after));
        (!fields.is_empty()).then(|| TunnelChange { id: after.id, name: after.name.clone(), fields })
    });
    let policy = |control: &Control| [("default-policy".to_owned(), policy_text(control.default_policy))];
    let secrets = |control: &Control| [("secrets".to_owned(), control.secrets.display().to_string())];
    Difference {
        added: new.tunnels.iter().filter(|t| old.tunnel(&t.name).is_none()).map(ids).collect(),
        removed: old.tunnels.iter().filter(|t| new.tunnel(&t.name).is_none()).map(ids).collect(),
        changed: changed.collect(),
        reordered: common_order(old, new) != common_order(new, old),
        gre: fields(
            &[gre_fields(old), vrf_fields(old), admit::fields(old)].concat(),
            &[gre_fields(new), vrf_fields(new), admit::fields(new)].concat(),
        ),
        nat: fields(&nat_fields(old), &nat_fields(new)),
        default_policy: fields(&policy(&old.control), &policy(&new.control)).pop(),
        needs_dataplane_restart: fields(&plane_fields(old), &plane_fields(new)),
        needs_control_restart: fields(&control_fields(&old.control), &control_fields(&new.control)),
        secrets: fields(&secrets(&old.control), &secrets(&new.control)).pop(),
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One line per change.
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }

    /// Tunnels whose secret is another one are changed too; `names` are theirs. The values are not shown.
    pub fn add_secrets(&mut self, new: &Config, names: &[&str]) {
        for tunnel in names.iter().filter_map(|name| new.tunnel(name)) {
            let field = FieldChange {
                key: "secret".to_owned(),
                old: "(hidden)".to_owned(),
                new: "(another)".to_owned(),
            };
            match self.changed.iter_mut().find(|change| change.name == tunnel.name) {
                Some(change) => change.fields.push(field),
                None => {
                    let fields = vec![field];
                    self.changed.push(TunnelChange { id: tunnel.id, name: tunnel.name.clone(), fields });
                }
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, name) in &self.removed {
            writeln!(f, "- tunnel {name}")?;
        }
        for (_, name) in &self.added {
            writeln!(f, "+ tunnel {name}")?;
        }
        for change in &self.changed {
            for field in &change.fields {
                writeln!(f, "~ tunnel {}: {field}", change.name)?;
            }
        }
        if self.reordered {
            writeln!(f, "~ order of tunnels")?;
        }
        for field in &self.gre {
            writeln!(f, "~ {field}")?;
        }
        for field in &self.nat {
            writeln!(f, "~ nat: {field}")?;
        }
        for field in self.default_policy.iter().chain(&self.secrets) {
            writeln!(f, "~ control: {field}")?;
        }
        for field in &self.needs_dataplane_restart {
            writeln!(f, "! {field}: takes effect when ravelin-dataplane is restarted")?;
        }
        for field in &self.needs_control_restart {
            writeln!(f, "! {field}: takes effect when ravelin-control is restarted")?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
        write!(f, "{} {} -> {}", self.key, dash(&self.old), dash(&self.new))
    }
}

/// Names of `a`'s tunnels that `b` has too, in `a`'s order.
fn common_order<'a>(a: &'a Config, b: &Config) -> Vec<&'a str> {
    a.tunnels.iter().map(|t| t.name.as_str()).filter(|name| b.tunnel(name).is_some()).collect()
}

/// Keys whose texts differ; a key that is on one side only has an empty text on the other.
fn fields(old: &[(String, String)], new: &[(String, String)]) -> Vec<FieldChange> {
    let text = |of: &[(String, String)], key: &str| {
        of.iter().find(|(k, _)| k == key).map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let gone = old.iter().filter(|(key, _)| !new.iter().any(|(k, _)| k == key));
    gone.chain(new)
        .map(|(key, _)| FieldChange { key: key.clone(), old: text(old, key), new: text(new, key) })
        .filter(|change| change.old != change.new)
        .collect()
}

/// Every field of a tunnel by its key. Destructured without `..`: a new field does not compile until it is here.
fn tunnel_fields(tunnel: &Tunnel) -> Vec<(String, String)> {
    let Tunnel {
        id: _,
        parent: _,
        name: _,
        line: _,
        local,
        local_interface,
        remote,
        local_id,
        remote_id,
        auth,
        manual,
        ike_proposals,
        mode,
        esp_proposals,
        selectors,
        filter,
        interface,
        vrf,
        outside_vrf,
        pool,
        start,
        encapsulation,
        per_worker,
        shared,
        replay_window,
        tfc,
        tunnel_mtu,
        df,
        travel,
        ike_fragment_size,
        ike_lifetime,
        lifetime,
        hard_lifetime,
        jitter_percent,
        bytes,
        packets,
        dpd,
        exchanges,
        credentials: _,
    } = tunnel;
    let count = |n: u64| if n == 0 { "off".to_owned() } else { n.to_string() };
    let fields = [
        ("local", local.to_string()),
        ("local-interface", local_interface.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("remote", remote.map_or_else(|| "any".to_owned(), |address| address.to_string())),
        ("local-id", IdText(local_id).to_string()),
        ("remote-id", IdText(remote_id).to_string()),
        ("ike-proposals", list(ike_proposals, ike_text)),
        ("mode", mode_text(*mode).to_owned()),
        ("vrf", vrf.clone().unwrap_or_default()),
        ("outside-vrf", outside_vrf.clone().unwrap_or_default()),
        (
            if esp_proposals.iter().any(EspProposal::is_ah) { "ah-proposals" } else { "esp-proposals" },
            list(esp_proposals, esp_text),
        ),
        ("selectors", list(selectors, |s| selector_text(&s.selector))),
        ("filter-decrypted", list(filter, |s| selector_text(&s.selector))),
        ("manual", manual.as_ref().map(super::manual::manual_text).unwrap_or_default()),
        ("interface", interface.as_ref().map(super::interface::interface_text).unwrap_or_default()),
        ("pool", pool.as_ref().map(|p| list(&p.addresses, ToString::to_string)).unwrap_or_default()),
        ("dns", pool.as_ref().map(|p| list(&p.dns, ToString::to_string)).unwrap_or_default()),
        ("start", start_text(*start).to_owned()),
        ("encapsulation", encapsulation_text(*encapsulation).to_owned()),
        ("per-worker", per_worker.to_string()),
        ("shared-crypto", shared.to_string()),
        ("replay-window", replay_window.to_string()),
        ("tfc-padding", tfc.to_string()),
        ("tunnel-mtu", tunnel_mtu.to_string()),
        ("df", df_text(*df).to_owned()),
        ("ike-fragment-size", count(ike_fragment_size.unwrap_or(0).into())),
        ("ike-lifetime", time_text(*ike_lifetime)),
        ("lifetime", time_text(*lifetime)),
        ("hard-lifetime", time_text(*hard_lifetime)),
        ("rekey-jitter", jitter_percent.to_string()),
        ("lifebytes", size_text(bytes.soft)),
        ("hard-lifebytes", size_text(bytes.hard)),
        ("lifepackets", count(packets.soft)),
        ("hard-lifepackets", count(packets.hard)),
        ("dpd", time_text(*dpd)),
    ];
    let travel = super::travel::fields(*travel);
    let others = super::exchanges::fields(exchanges).into_iter().chain(auth_fields(auth)).chain(travel);
    fields.into_iter().chain(others).map(|(key, text)| (key.to_owned(), text)).collect()
}

fn auth_fields(auth: &TunnelAuth) -> [(&'static str, String); 18] {
    let TunnelAuth {
        local,
        remote,
        certificate,
        private_key,
        trusted_ca,
        peer_keys,
        crl,
        crl_files,
        crl_urls,
        ocsp,
        ocsp_url,
        send_chain,
        prefer_pss,
        eap_user,
        eap_methods,
        eap_ask_identity,
        ppk_id,
        ppk_required,
        default_id: _,
    } = auth;
    let one = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let all = |paths: &[PathBuf]| list(paths, |p| p.display().to_string());
    [
        ("auth", way_text(*local).to_owned()),
        ("remote-auth", way_text(*remote).to_owned()),
        ("certificate", one(certificate)),
        ("private-key", one(private_key)),
        ("trusted-ca", all(trusted_ca)),
        ("peer-keys", all(peer_keys)),
        ("crl", when_text(*crl).to_owned()),
        ("crl-files", all(crl_files)),
        ("crl-urls", list(crl_urls, String::clone)),
        ("ocsp", when_text(*ocsp).to_owned()),
        ("ocsp-url", ocsp_url.clone().unwrap_or_default()),
        ("send-chain", send_chain.to_string()),
        ("rsa-signature", if *prefer_pss { "pss" } else { "pkcs1" }.to_owned()),
        ("eap-user", eap_user.clone().unwrap_or_default()),
        ("eap-methods", list(eap_methods, |m| method_text(*m).to_owned())),
        ("eap-ask-identity", eap_ask_identity.to_string()),
        ("ppk-id", ppk_id.clone().unwrap_or_default()),
        ("ppk", if *ppk_required { "required" } else { "if-available" }.to_owned()),
    ]
}

const fn when_text(when: When) -> &'static str {
    match when {
        When::Never => "off",
        When::IfAvailable => "if-available",
        When::Required => "required",
    }
}

pub const fn way_text(way: Way) -> &'static str {
    match way {
        Way::Psk => "psk",
        Way::Certificate => "certificate",
        Way::RawKey => "raw-key",
        Way::Eap => "eap",
        Way::Manual => "manual",
    }
}

pub(super) fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn policy_text(policy: DefaultPolicy) -> String {
    match policy {
        DefaultPolicy::Bypass => "bypass",
        DefaultPolicy::Discard => "discard",
    }
    .to_owned()
}

const fn start_text(start: Start) -> &'static str {
    match start {
        Start::Immediately => "immediately",
        Start::OnTraffic => "on-traffic",
        Start::Respond => "respond",
    }
}

const fn df_text(df: OuterDf) -> &'static str {
    match df {
        OuterDf::Clear => "clear",
        OuterDf::Copy => "copy",
        OuterDf::Set => "set",
    }
}
