//! GRE (RFC 2784, RFC 2890): tunnels that are devices, as route-based ones are (R238, R241).
//!
//! On the way out, what a route leads into such a device becomes the payload of a packet of the host's own, which goes the
//! outbound way from its beginning: policies and routes have their say about it, so that GRE over IPsec is a policy
//! about GRE. On the way in, GRE for one of these tunnels, in clear or out of an SA, becomes the packet in it, which
//! enters by the device.
//!
//! Decides: which tunnel a packet is of; that it came by the SAs that have to protect it, or by none where policies ask for
//! none. Reads: headers, policies, selectors. Writes: frames, `Meta`, the door; numbers of the tunnel.
//! Never: takes GRE from or for anybody else, who is left alone; sends in clear what an SA has to protect.

mod tunnels;
mod wrap;
mod unwrap;

pub(crate) use tunnels::{Numbers, Tunnels, place};
pub(crate) use unwrap::uncover;
pub(crate) use wrap::{guarded, sift, wrap};
