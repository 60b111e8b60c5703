//! What the data plane says of a packet, in lines.
//!
//! Decides: wording. Never: leaves a drop without what cures it.

use super::packet::protocol_name;
use crate::api::TunnelStatus;
use ravelin_ring::counters;
use ravelin_ring::inspect::{
    Action, Class, Explained, Flow, Nat, NatBy, Policy, Route, Sa, Size, Step, Verdict, Xdp,
};
use ravelin_wire::protocol;
use std::collections::HashMap;

/// Names that only the control process knows.
#[derive(Clone, Debug, Default)]
pub struct Names {
    tunnels: HashMap<u32, String>,
    /// The configuration file.
    pub file: Option<String>,
}

impl Names {
    pub fn new(tunnels: &[TunnelStatus], file: Option<String>) -> Self {
        Self { tunnels: tunnels.iter().map(|t| (t.id, t.name.clone())).collect(), file }
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.tunnels.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    pub fn tunnel(&self, id: u32) -> String {
        self.tunnels.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }
}

/// One line: the packet's flow and its end.
pub fn summary(said: &Explained, names: &Names) -> String {
    let flow = said.steps.iter().rev().find_map(|step| step.flow.as_ref().map(flow));
    let spi = said.steps.iter().find_map(|step| step.spi).map(|spi| format!("esp spi=0x{spi:08x}"));
    let what = [spi, flow].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let tunnel = said.steps.iter().find_map(|s| s.opens.as_ref().or(s.protects.as_ref()));
    let by = tunnel.map(|sa| format!(" (tunnel {})", names.tunnel(sa.tunnel))).unwrap_or_default();
    let what = if what.is_empty() { "not IP that a worker takes".to_owned() } else { what };
    format!("{what}: {}{by}", ending(&said.verdict, &said.ports))
}

/// All of it. `made_up`: the packet was made of what the operator says of it.
pub fn text(said: &Explained, names: &Names, made_up: bool) -> String {
    let mut lines = vec![];
    let mut say = |what: &str, text: String| lines.push(format!("  {what:<9}{text}"));
    if let Some(xdp) = &said.xdp {
        say("XDP", steered(xdp));
    }
    for step in &said.steps {
        say(&format!("worker {}", step.worker), class(step.class).to_owned());
        worker(step, names, said, &mut say);
    }
    let authentic =
        matches!(&said.verdict, Verdict::Drop { reason } if reason == "bad_icv" || reason == "bad_padding");
    if made_up && authentic {
        say(
            "verdict",
            "this SA opens it, if it is authentic; give the packet itself by --pcap to see more".to_owned(),
        );
    } else {
        say("verdict", ending(&said.verdict, &said.ports));
        if let Some(cure) = cure(&said.verdict) {
            say("cure", cure.to_owned());
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn worker(step: &Step, names: &Names, said: &Explained, say: &mut impl FnMut(&str, String)) {
    if let Some(sa) = &step.opens {
        say("SA in", self::sa(sa, names, "number"));
    } else if let Some(spi) = step.spi {
        say("SA in", format!("none has the SPI 0x{spi:08x} here"));
    }
    if let Some(table) = step.vrf {
        say("VRF", format!("that of routing table {table}"));
    }
    if let Some(found) = &step.flow {
        say("packet", flow(found));
    }
    for nat in &step.nat {
        say("NAT", self::nat(nat, step, names));
    }
    if let Some(found) = &step.translated {
        say("NAT", format!("translated: {}", flow(found)));
    }
    for (what, found) in [("came", &step.came), ("goes", &step.goes)] {
        if let Some(found) = found {
            say(what, policy(found, names));
        }
    }
    if let Some(route) = &step.route {
        say("route", self::route(route, &said.ports));
    }
    if let Some(outer) = &step.gre {
        say("GRE", flow(&outer.flow));
        say("GRE goes", policy(&outer.goes, names));
        say("GRE route", route(&outer.route, &said.ports));
    }
    if let Some(sa) = &step.protects {
        say("SA out", self::sa(sa, names, "would be number"));
    }
    if let Some(size) = &step.size {
        say("size", self::size(size, &step.verdict));
    }
    if let Some(icmp) = &step.icmp {
        say("ICMP", format!("an error goes back to the sender: {}", ending(icmp, &said.ports)));
    }
}

fn steered(xdp: &Xdp) -> String {
    match xdp {
        Xdp::Pass => "left to the kernel: no gateway address, no protected range".to_owned(),
        Xdp::ToWorker { class } => format!("to the worker ({class})"),
        Xdp::DropUnparsable => "dropped: it cannot be read where a policy might cover it".to_owned(),
        Xdp::DropNotAdmitted => "dropped: the port admits the VPN alone".to_owned(),
    }
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Esp => "ESP for this gateway",
        Class::Ah => "AH for this gateway",
        Class::Clear => "in clear",
        Class::Kernel => "IKE, or what belongs to it: the kernel's",
        Class::Fragment => "a fragment of ESP or AH: waits for the others",
        Class::Refused => "not lawful",
    }
}

fn flow(flow: &Flow) -> String {
    let protocol = protocol_name(flow.protocol);
    match flow.ports {
        None => format!("{} > {}, {protocol}, a fragment", flow.source, flow.destination),
        Some((word, _)) if matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6) => {
            let [kind, code] = word.to_be_bytes();
            format!("{} > {}, {protocol} type {kind} code {code}", flow.source, flow.destination)
        }
        Some((0, 0)) => format!("{} > {}, {protocol}", flow.source, flow.destination),
        Some((a, b)) => format!("{} port {a} > {} port {b}, {protocol}", flow.source, flow.destination),
    }
}

/// Where it stands in the configuration.
fn place(line: Option<u32>, names: &Names) -> String {
    match (line, &names.file) {
        (Some(line), Some(file)) => format!(" ({file}:{line})"),
        (Some(line), None) => format!(" (line {line} of the configuration)"),
        (None, _) => String::new(),
    }
}

fn nat(nat: &Nat, step: &Step, names: &Names) -> String {
    let line = place(nat.line, names);
    match nat.by {
        NatBy::Exempt => format!("exempted by a rule{line}"),
        NatBy::Source => format!("its source, by a rule{line}"),
        NatBy::Destination => format!("forwarded by a rule{line}"),
        NatBy::Static => format!("by a rule of static addresses{line}"),
        NatBy::Session => format!("an answer: back to who asked, by the session of a rule{line}"),
        NatBy::Nothing => match &step.flow {
            Some(flow) => format!(
                "no rule for {} from {} to {}",
                protocol_name(flow.protocol),
                flow.source,
                flow.destination
            ),
            None => "no rule".to_owned(),
        },
    }
}

fn policy(policy: &Policy, names: &Names) -> String {
    let line = place(policy.line, names);
    match (policy.action, policy.tunnel) {
        (Action::Protect, tunnel) => {
            format!("protected by tunnel {}{line}", names.tunnel(tunnel.unwrap_or(u32::MAX)))
        }
        (Action::Discard, _) => format!("discarded{line}"),
        (Action::Bypass, _) if policy.order.is_none() => "in clear: no policy matches".to_owned(),
        (Action::Bypass, _) => format!("in clear, so says a policy{line}"),
        (Action::Unknown, _) => "ports would decide, and a fragment hides them".to_owned(),
    }
}

fn route(route: &Route, ports: &[String]) -> String {
    match route {
        Route::Port { port, next_hop, mac } => {
            let mac = mac.clone().unwrap_or_else(|| "its link address is not known yet".to_owned());
            format!("by {} to {next_hop} ({mac})", name(ports, *port))
        }
        Route::Local => "an address of this host".to_owned(),
        Route::Tunnel => "the far side of a tunnel: only a policy lets it go on".to_owned(),
        Route::Interface { interface } => format!("the device of tunnel {interface}"),
        Route::Kernel => "a device that is no port: the kernel forwards it".to_owned(),
        Route::Blackhole => "blackhole".to_owned(),
        Route::None => "none".to_owned(),
    }
}

fn sa(sa: &Sa, names: &Names, number: &str) -> String {
    format!(
        "0x{:08x} of tunnel {} (id {}), {}, {} mode, {} - {}, {number} {}",
        sa.spi,
        names.tunnel(sa.tunnel),
        sa.id,
        sa.suite,
        sa.mode,
        sa.local,
        sa.remote,
        sa.sequence
    )
}

fn size(size: &Size, verdict: &Verdict) -> String {
    let Size { length, limit, df, pieces } = size;
    let df = if *df { ", must not be cut (DF)" } else { "" };
    if matches!(verdict, Verdict::Drop { reason } if reason == "too_big") {
        format!("{length} bytes, {limit} fit{df}: answered by ICMP with MTU {limit}")
    } else if *pieces > 1 {
        format!("{length} bytes, {limit} fit: goes on in {pieces} pieces")
    } else {
        format!("{length} bytes, {limit} fit")
    }
}

fn ending(verdict: &Verdict, ports: &[String]) -> String {
    match verdict {
        Verdict::Forward { port } => format!("forwarded by {}", name(ports, *port)),
        Verdict::Punt => "to the kernel of this host".to_owned(),
        Verdict::Deliver { interface } => {
            format!("to the kernel of this host, by the device of route-based tunnel {interface}")
        }
        Verdict::Passed => "left to the kernel; Ravelin never sees it".to_owned(),
        Verdict::HandOff { worker } => format!("handed to worker {worker}"),
        Verdict::Drop { reason } => format!("dropped: {reason}"),
        Verdict::Held => "waits".to_owned(),
        Verdict::Consumed => "goes on in other packets".to_owned(),
    }
}

fn cure(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Drop { reason } if reason == "unparsable" => Some("look at what sends such frames"),
        Verdict::Drop { reason } if reason == "not_admitted" => {
            Some("the port has admit = \"vpn\": name the sender in its `admit-from`, or remove `admit`")
        }
        Verdict::Drop { reason } => counters::Drop::named(reason).map(counters::Drop::cure),
        Verdict::Held => Some(
            "it goes on when its tunnel is up, or its next hop answers: `ravelin show tunnels`, `ip neigh`",
        ),
        Verdict::Forward { .. }
        | Verdict::Punt
        | Verdict::Deliver { .. }
        | Verdict::Passed
        | Verdict::HandOff { .. }
        | Verdict::Consumed => None,
    }
}

fn name(ports: &[String], port: u16) -> String {
    ports.get(usize::from(port)).cloned().unwrap_or_else(|| format!("port {port}"))
}
