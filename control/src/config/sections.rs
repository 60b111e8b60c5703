//! `[[port]]`, `[dataplane]`, `[control]`.
//!
//! Decides: their keys, ranges and defaults. Reads: tables. Writes: the model, findings.
//! Never: looks at the machine.

use ravelin_ring::setup::{Attach, ReversePath};
use std::path::{Path, PathBuf};
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{Control, Dataplane, DefaultPolicy, DeviceName, Port};
use super::reader::{Table, report};
use super::value::{Bad, boolean, number16, number32, shown, text, word};

pub(crate) const ROOT_KEYS: &[&str] =
    &["port", "dataplane", "control", "defaults", "vrf", "tunnel", "gre", "nat", "translation"];
pub(crate) const PORT_KEYS: &[&str] = &["name", "attach", "reverse-path", "admit", "admit-from", "vrf"];
pub(crate) const DATAPLANE_KEYS: &[&str] = &[
    "cores",
    "frames",
    "frame-size",
    "ring-size",
    "huge-pages",
    "busy-poll",
    "tun",
    "max-sas",
    "udp-encapsulation-port",
];
pub(crate) const CONTROL_KEYS: &[&str] = &["run-dir", "secrets", "ike-port", "natt-port", "default-policy"];

pub(crate) const MAX_PORTS: usize = 64;
const MAX_CORES: usize = 64;
const MAX_CORE: u16 = 4095;

pub(crate) const DEFAULT_RUN_DIR: &str = "/run/ravelin";

pub(crate) fn port(table: &Table<'_>, findings: &mut Findings) -> Option<Port> {
    let attach = table.or("attach", Attach::Auto, findings, |v| {
        word(v, &[("auto", Attach::Auto), ("native", Attach::Native), ("generic", Attach::Generic)])
    });
    let reverse_path = table.or("reverse-path", ReversePath::Strict, findings, |v| {
        use ReversePath::{Loose, Off, Strict};
        word(v, &[("strict", Strict), ("loose", Loose), ("off", Off)])
    });
    let name = table.required("name", "the name of a network device", "\"wan0\"", findings, device)?;
    let vrf = table.optional("vrf", findings, super::vrf::name);
    let admission = super::admit::read(table, findings);
    Some(Port { name, attach, reverse_path, vrf, admission, line: table.line })
}

pub(crate) fn device(value: &DeValue<'_>) -> Result<DeviceName, Bad> {
    let expected =
        "the name of a network device: 1 to 15 letters, digits and signs, no slash, colon or blank";
    let cure = "`ip link` lists the names";
    let given = text(value, expected, cure)?;
    DeviceName::new(given).ok_or_else(|| Bad::new(shown(value), expected, cure))
}

pub(crate) fn dataplane(table: Option<&Table<'_>>, findings: &mut Findings) -> Dataplane {
    let Some(table) = table else { return Dataplane::default() };
    let default = Dataplane::default();
    Dataplane {
        cores: cores(table, findings).unwrap_or(default.cores),
        frames: table.or("frames", default.frames, findings, |v| number32(v, 1024..=4_194_304, "frames")),
        frame_size: table.or("frame-size", default.frame_size, findings, frame_size),
        ring_size: table.or("ring-size", default.ring_size, findings, ring_size),
        huge_pages: table.or("huge-pages", default.huge_pages, findings, boolean),
        busy_poll_us: table
            .or("busy-poll", default.busy_poll_us, findings, |v| number16(v, 0..=1000, "microseconds")),
        tun: table.or("tun", default.tun, findings, device),
        udp_encapsulation_port: table.optional("udp-encapsulation-port", findings, encapsulation_port),
        max_sas: table
            .or("max-sas", default.max_sas, findings, |v| number32(v, 2..=1_048_576, "SAs per worker")),
        line: table.line,
    }
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            cores: vec![0],
            frames: 16_384,
            frame_size: 2048,
            ring_size: 2048,
            huge_pages: false,
            busy_poll_us: 0,
            tun: DeviceName::TUN,
            udp_encapsulation_port: None,
            max_sas: 4096,
            line: 1,
        }
    }
}

fn cores(table: &Table<'_>, findings: &mut Findings) -> Option<Vec<u16>> {
    let mut seen = Vec::new();
    table.list("cores", "[1]", MAX_CORES, findings, |element, line, findings| {
        let core = match number16(element.get_ref(), 0..=MAX_CORE, "number of a core") {
            Ok(core) => core,
            Err(bad) => {
                report(findings, line, "cores", bad);
                return None;
            }
        };
        if seen.contains(&core) {
            findings.error(
                line,
                format!("`cores`: core {core} twice"),
                "every core once",
                "remove one of them",
            );
        }
        seen.push(core);
        Some(core)
    })
}

fn frame_size(value: &DeValue<'_>) -> Result<u32, Bad> {
    let expected = "bytes of a frame, 2048 or 4096";
    let cure = "write 2048, or 4096 for ports with an MTU over 1500";
    let size = number32(value, 0..=u32::MAX, expected)?;
    if matches!(size, 2048 | 4096) { Ok(size) } else { Err(Bad::new(shown(value), expected, cure)) }
}

fn ring_size(value: &DeValue<'_>) -> Result<u32, Bad> {
    let expected = "entries of a ring, a power of two, 64 to 32768";
    let size = number32(value, 64..=32_768, expected)?;
    if size.is_power_of_two() {
        return Ok(size);
    }
    Err(Bad::new(shown(value), expected, format!("write {}", size.next_power_of_two())))
}

/// R98: 1025 to 65535, and never 4500, which NAT traversal has.
pub(crate) fn encapsulation_port(value: &DeValue<'_>) -> Result<u16, Bad> {
    let port = number16(value, 1025..=u16::MAX, "a UDP port")?;
    if port == 4500 {
        let expected = "a UDP port, 1025 to 65535 except 4500";
        return Err(Bad::new(shown(value), expected, "4500 is NAT traversal's and always taken; write 4565"));
    }
    Ok(port)
}

pub(crate) fn control(table: Option<&Table<'_>>, file: &Path, findings: &mut Findings) -> Control {
    let here = file.parent().unwrap_or_else(|| Path::new(""));
    let default = Control {
        run_dir: PathBuf::from(DEFAULT_RUN_DIR),
        secrets: here.join("secrets.toml"),
        ike_port: 500,
        natt_port: 4500,
        default_policy: DefaultPolicy::Bypass,
    };
    let Some(table) = table else { return default };
    let udp = |v| number16(v, 1..=u16::MAX, "a UDP port");
    let control = Control {
        run_dir: table.or("run-dir", default.run_dir, findings, run_dir),
        secrets: table.or("secrets", default.secrets, findings, |v| path(v).map(|p| here.join(p))),
        ike_port: table.or("ike-port", default.ike_port, findings, udp),
        natt_port: table.or("natt-port", default.natt_port, findings, udp),
        default_policy: table.or("default-policy", default.default_policy, findings, |v| {
            word(v, &[("bypass", DefaultPolicy::Bypass), ("discard", DefaultPolicy::Discard)])
        }),
    };
    if control.ike_port == control.natt_port {
        let found = format!("`ike-port` and `natt-port` are both {}", control.ike_port);
        let line = table.line_of("natt-port", findings);
        findings.error(line, found, "two different ports", "leave both out for 500 and 4500");
    }
    control
}

pub(crate) fn path(value: &DeValue<'_>) -> Result<PathBuf, Bad> {
    let expected = "the path of a file";
    let given = text(value, expected, "write it in quotes")?;
    if given.is_empty() || given.contains('\0') || given.len() > 4000 {
        return Err(Bad::new(shown(value), expected, "write for example \"secrets.toml\""));
    }
    Ok(PathBuf::from(given))
}

/// A socket's whole path must fit into 107 bytes (unix(7)); the last part names the instance in the BPF file system,
/// which takes no dots.
fn run_dir(value: &DeValue<'_>) -> Result<PathBuf, Bad> {
    let expected = "an absolute path of at most 80 bytes, its last part of letters, digits, - and _";
    let given = path(value)?;
    let lawful = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let instance = given.file_name().and_then(|name| name.to_str());
    let named = instance.is_some_and(|name| name.chars().all(lawful));
    if given.is_absolute() && named && given.as_os_str().len() <= 80 {
        return Ok(given);
    }
    Err(Bad::new(shown(value), expected, "write for example \"/run/ravelin\""))
}
