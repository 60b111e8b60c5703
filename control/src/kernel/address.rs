//! Addresses that peers gave us, on a device of the host.
//!
//! Decides: nothing. Writes: one address at a time, for this host alone. Never: touches one that it is not told of.

use super::mirror::KernelError;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::Handle;
use std::net::IpAddr;

/// It is no mistake when it is there already.
pub(crate) async fn add(handle: &Handle, index: u32, addr: IpAddr) -> Result<(), KernelError> {
    let mut request = handle.address().add(index, addr, host(addr));
    let message = request.message_mut();
    if addr.is_ipv6() {
        // Nobody else on the device could have it: there is nothing to wait for.
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let message = RouteNetlinkMessage::NewAddress(message.clone());
    super::failclosed::request(handle, message, NLM_F_CREATE | NLM_F_REPLACE).await
}

/// It is no mistake when it is gone already, with its device or without.
pub(crate) async fn remove(handle: &Handle, index: u32, addr: IpAddr) -> Result<(), KernelError> {
    let message = handle.address().add(index, addr, host(addr)).message_mut().clone();
    match super::failclosed::request(handle, RouteNetlinkMessage::DelAddress(message), 0).await {
        Err(KernelError::Netlink(rtnetlink::Error::NetlinkError(e)))
            if [-libc::EADDRNOTAVAIL, -libc::ENODEV].contains(&e.raw_code()) =>
        {
            Ok(())
        }
        other => other,
    }
}

const fn host(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}
