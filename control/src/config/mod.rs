//! The configuration file: TOML text in, a checked [`Config`] out, or everything that is wrong with it.
//!
//! Decides: which keys there are, what they may hold, what they default to, what contradicts what.
//! Reads: one file, at most [`MAX_SIZE`] bytes. Writes: nothing.
//! Never: asks the kernel anything (whether a port exists is the data plane's to say), reads a secret.
//!
//! The way of a file: text → `reader` (spanned TOML tables, unknown keys) → `sections`, `tunnel` (values that cannot
//! be wrong) → `check` (what contradicts what) → `compile` (what the other parts are told) → `diff` (what a reload
//! changes).

mod diagnostic;
mod reader;
mod value;
mod identity;
mod proposal;
mod sections;
mod auth;
mod exchanges;
mod life;
mod selectors;
mod travel;
mod child;
mod pool;
mod request;
mod interface;
mod vrf;
mod gre;
mod admit;
mod manual;
mod tunnel;
mod nat;
mod check;
mod tunnels;
mod model;
mod compile;
mod diff;

pub use admit::Admission;
pub(crate) use auth::user_name;
pub use check::text as selector_text;
pub use child::mode_text;
pub use compile::PeerSelectors;
pub(crate) use diagnostic::Findings;
pub use diagnostic::{Diagnostic, Errors, MAX_FINDINGS, Severity};
pub use diff::{Difference, FieldChange, TunnelChange, diff, way_text};
pub use gre::{Gre, gre_text};
pub use identity::IdText;
pub(crate) use identity::parse_identity;
pub use interface::TunnelInterface;
pub use manual::{Manual, ManualSa};
pub use model::*;
pub use nat::{Nat, nat_text};
pub use proposal::{esp_text, ike_text};
pub use tunnels::Tunnels;
pub(crate) use value::nearest;
pub use vrf::Vrf;

use ravelin_ring::msg::TunnelId;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use toml::de::DeTable;

use reader::{Table, tables};

/// Larger files are refused before they are parsed.
pub const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Above this many bytes only the first syntax error is said: gathering all costs memory with each of them.
const GATHER_SYNTAX_ERRORS: usize = 256 * 1024;

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let unreadable = |why: std::io::Error| {
            let cure =
                format!("name the right file, or create {} (see configs/minimal.toml)", path.display());
            Errors::of_file(path, format!("the configuration cannot be read: {why}"), cure)
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|why| {
            let at = why.utf8_error().valid_up_to();
            Errors::of_file(path, format!("not UTF-8 at byte {at}"), "save the file as UTF-8")
        })?;
        Self::parse(path, &text)
    }

    /// Checks text; `path` is for messages and for paths relative to the file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Errors> {
        if text.len() as u64 > MAX_SIZE {
            let found = format!("the file is larger than {} MiB", MAX_SIZE >> 20);
            return Err(Errors::of_file(path, found, "split the gateway, or remove comments"));
        }
        let mut findings = Findings::new(path, text);
        let root = syntax(text, &mut findings)?;
        let config = Self::build(path, &root, &mut findings);
        if !findings.has_errors() {
            check::check(&config, &mut findings);
        }
        let warnings = findings.finish()?;
        Ok(Self { warnings, ..config })
    }

    fn build(path: &Path, root: &DeTable<'_>, findings: &mut Findings) -> Self {
        use sections::{CONTROL_KEYS, DATAPLANE_KEYS, MAX_PORTS, PORT_KEYS, ROOT_KEYS};
        let root = Table::root(root, ROOT_KEYS, findings);
        let section = |key, name, keys, findings: &mut Findings| {
            root.get(key).and_then(|value| Table::open(value, name, keys, findings))
        };
        let ports = tables(&root, "port", "[[port]]", MAX_PORTS, PORT_KEYS, findings);
        let dataplane = section("dataplane", "[dataplane]", DATAPLANE_KEYS, findings);
        let control = section("control", "[control]", CONTROL_KEYS, findings);
        let defaults = section("defaults", "[defaults]", travel::TRAVEL_KEYS, findings);
        let above = travel::Level::default();
        let above = defaults.map_or(above, |table| travel::Level::read(&table, above, findings));
        let keys = [
            tunnel::TUNNEL_KEYS,
            life::LIFE_KEYS,
            travel::TRAVEL_KEYS,
            auth::AUTH_KEYS,
            exchanges::EXCHANGE_KEYS,
        ]
        .concat();
        let tunnels = tables(&root, "tunnel", "[[tunnel]]", tunnel::MAX_TUNNELS, &keys, findings);
        let vrfs = tables(&root, "vrf", "[[vrf]]", vrf::MAX_VRFS, vrf::VRF_KEYS, findings);
        let gres = tables(&root, "gre", "[[gre]]", gre::MAX_GRE, &gre::keys(), findings);
        let nat = tables(&root, "nat", "[[nat]]", nat::MAX_NAT, nat::NAT_KEYS, findings);
        let translation = section("translation", "[translation]", nat::TRANSLATION_KEYS, findings);
        let tunnels = Self::tunnels(&tunnels, above, findings);
        Self {
            file: path.to_owned(),
            ports: ports.iter().filter_map(|table| sections::port(table, findings)).collect(),
            dataplane: sections::dataplane(dataplane.as_ref(), findings),
            control: sections::control(control.as_ref(), path, findings),
            vrfs: vrfs.iter().filter_map(|table| vrf::vrf(table, findings)).collect(),
            gre: gres.iter().filter_map(|table| gre::gre(table, &tunnels, findings)).collect(),
            filtered: tunnels.iter().any(|tunnel| !tunnel.filter.is_empty()),
            tunnels,
            nat: nat.iter().filter_map(|table| nat::nat(table, findings)).collect(),
            translation: nat::translation(translation.as_ref(), findings),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Each with its further children after it.
    fn tunnels(tables: &[Table<'_>], above: travel::Level, findings: &mut Findings) -> Tunnels {
        let mut all: Vec<Tunnel> = Vec::new();
        for table in tables {
            let next = |n: usize| TunnelId(u32::try_from(n).unwrap_or(u32::MAX));
            let Some(tunnel) = tunnel::tunnel(table, next(all.len()), above, findings) else { continue };
            let children = child::children(table, &tunnel, next(all.len() + 1).0, findings);
            all.push(tunnel);
            all.extend(children);
        }
        all.into_iter().collect()
    }
}

/// The file as TOML, or all its syntax errors.
fn syntax<'t>(text: &'t str, findings: &mut Findings) -> Result<DeTable<'t>, Errors> {
    let (root, errors) = if text.len() <= GATHER_SYNTAX_ERRORS {
        let (root, errors) = DeTable::parse_recoverable(text);
        (Some(root), errors)
    } else {
        match DeTable::parse(text) {
            Ok(root) => (Some(root), Vec::new()),
            Err(first) => (None, vec![first]),
        }
    };
    for error in errors.iter() {
        let line = findings.line(error.span().map_or(0, |span| span.start));
        let cure = "correct this line; text belongs in double quotes, lists in [ ]";
        findings.error(line, format!("not TOML: {}", error.message()), "", cure);
    }
    match root {
        Some(root) if !findings.has_errors() => Ok(root.into_inner()),
        _ => Err(core::mem::replace(findings, Findings::new(Path::new(""), ""))
            .finish()
            .err()
            .unwrap_or_else(|| Errors::of_file(Path::new(""), "not TOML", ""))),
    }
}

#[cfg(test)]
mod tests;
