//! `ravelin clear`: chosen SAs go, and come back where they are wanted; counts begin anew.
//!
//! Decides: that nothing is cleared which was not named, unless all was. Never: keeps a tunnel down.

use super::{Failure, ask, print, print_json, unexpected};
use clap::Args;
use ravelin_control::api::client::PATIENCE;
use ravelin_control::api::{Answer, Clear as What, Cleared, Request};
use std::net::IpAddr;
use std::path::Path;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin clear ike office               its IKE SA with all child SAs; `session` is the same
  ravelin clear sas office               its child SAs; the IKE SA stays
  ravelin clear sas --spi 0xc0000101     one pair, by the SPI of either direction
  ravelin clear ike --peer 198.18.0.2    all IKE SAs with this gateway
  ravelin clear counters office          what `show tunnels` counts
  ravelin clear sas --all

Tunnels that are to be up come back at once; `ravelin down` keeps one down.";

#[derive(Args)]
pub(crate) struct Clear {
    what: What,
    /// Only of this tunnel, or of this child of one.
    tunnel: Option<String>,
    /// Only with the gateway at this address.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only the pair with this SPI (sas).
    #[arg(long, value_name = "SPI", value_parser = spi)]
    spi: Option<u32>,
    /// Everything, where nothing is named.
    #[arg(long, conflicts_with_all = ["tunnel", "peer", "spi"])]
    all: bool,
    /// Print what was cleared as JSON.
    #[arg(long)]
    json: bool,
}

fn spi(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u32::from_str_radix(digits, 16).map_err(|_| "an SPI is up to 8 hexadecimal digits: 0xc0000101".to_owned())
}

pub(crate) fn run(socket: &Path, chosen: Clear) -> Result<(), Failure> {
    let Clear { what, tunnel, peer, spi, all, json } = chosen;
    if !all && tunnel.is_none() && peer.is_none() && spi.is_none() {
        let cure = "name a tunnel, --peer or --spi; --all for everything";
        return Err(Failure::Refused(format!("nothing is named to be cleared\n    cure: {cure}")));
    }
    let Answer::Cleared(cleared) = ask(socket, &Request::Clear { what, tunnel, peer, spi }, PATIENCE)? else {
        return Err(unexpected());
    };
    if json {
        return print_json(&cleared);
    }
    if cleared.is_empty() {
        return Err(Failure::Refused("nothing fits: nothing was cleared".to_owned()));
    }
    cleared.iter().for_each(|it| print(&line(what, it)));
    Ok(())
}

fn line(what: What, it: &Cleared) -> String {
    let kind = match what {
        What::Ike => "IKE SA",
        What::Sas => "child SA",
        What::Counters => return format!("tunnel {}: counted from now\n", it.tunnel),
    };
    let (peer, spi) = (it.peer.as_deref().unwrap_or("?"), it.spi.as_deref().unwrap_or("?"));
    format!("tunnel {}: {kind} {spi} with {peer} cleared\n", it.tunnel)
}
