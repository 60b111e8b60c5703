//! What takes a restart to change: of the data plane, and of the control process.

use crate::config::model::{Config, Control, Dataplane, Port};
use ravelin_ring::setup::{Attach, ReversePath};

pub(super) fn plane_fields(config: &Config) -> Vec<(String, String)> {
    let Dataplane {
        cores,
        frames,
        frame_size,
        ring_size,
        huge_pages,
        busy_poll_us,
        tun,
        udp_encapsulation_port,
        max_sas,
        line: _,
    } = &config.dataplane;
    let order: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
    let mut all: Vec<(String, String)> = config.ports.iter().map(port_field).collect();
    // A port's number is its place: another order is another data plane.
    all.push(("order of ports".to_owned(), order.join(", ")));
    let fields = [
        ("cores", format!("{cores:?}")),
        ("frames", frames.to_string()),
        ("frame-size", frame_size.to_string()),
        ("ring-size", ring_size.to_string()),
        ("huge-pages", huge_pages.to_string()),
        ("busy-poll", busy_poll_us.to_string()),
        ("tun", tun.to_string()),
        ("udp-encapsulation-port", udp_encapsulation_port.map_or_else(String::new, |port| port.to_string())),
        ("max-sas", max_sas.to_string()),
        ("flows of [translation]", config.translation.flows.to_string()),
    ];
    all.extend(fields.map(|(key, text)| (key.to_owned(), text)));
    all
}

fn port_field(port: &Port) -> (String, String) {
    let attach = match port.attach {
        Attach::Auto => "auto",
        Attach::Native => "native",
        Attach::Generic => "generic",
    };
    let reverse_path = match port.reverse_path {
        ReversePath::Strict => "",
        ReversePath::Loose => " reverse-path=loose",
        ReversePath::Off => " reverse-path=off",
    };
    let vrf = port.vrf.as_ref().map(|vrf| format!(" vrf={vrf}")).unwrap_or_default();
    (format!("port {}", port.name), format!("attach={attach}{reverse_path}{vrf}"))
}

pub(super) fn control_fields(control: &Control) -> Vec<(String, String)> {
    let Control { run_dir, secrets: _, ike_port, natt_port, default_policy: _ } = control;
    let fields = [
        ("run-dir", run_dir.display().to_string()),
        ("ike-port", ike_port.to_string()),
        ("natt-port", natt_port.to_string()),
    ];
    fields.map(|(key, text)| (key.to_owned(), text)).into()
}
