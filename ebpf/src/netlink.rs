//! Which XDP program a device carries, and in which mode, as the kernel says (RTM_GETLINK).

use crate::Attached;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};

const NLMSG_HEADER: usize = 16;
const IFINFO: usize = 16;
const RTATTR: usize = 4;
// linux/if_link.h
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` are not part of the type.
const TYPE_MASK: u16 = 0x3fff;

/// The program on a device: its id and mode. `None`: there is none.
pub fn attached_program(ifindex: u32) -> io::Result<Option<(u32, Attached)>> {
    let mut socket = File::from(route_socket()?);
    socket.write_all(&request(ifindex))?;
    let mut answer = vec![0; 64 * 1024];
    let len = socket.read(&mut answer)?;
    parse(answer.get(..len).unwrap_or_default())
}

fn route_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request(ifindex: u32) -> Vec<u8> {
    const LEN: u32 = 32; // NLMSG_HEADER + IFINFO
    let mut m = Vec::with_capacity(NLMSG_HEADER + IFINFO);
    m.extend(LEN.to_ne_bytes());
    m.extend(libc::RTM_GETLINK.to_ne_bytes());
    m.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
    m.extend([0; 8]); // sequence, sender
    m.extend([0; 4]); // any family, any type
    m.extend(ifindex.to_ne_bytes());
    m.extend([0; 8]); // flags, change
    m
}

fn parse(answer: &[u8]) -> io::Result<Option<(u32, Attached)>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut short");
    match u16_at(answer, 4).ok_or_else(bad)? {
        // NLMSG_ERROR: a negated error number follows the header.
        2 => {
            let code = i32::from_ne_bytes(array_at(answer, NLMSG_HEADER).ok_or_else(bad)?);
            return Err(io::Error::from_raw_os_error(code.checked_neg().unwrap_or(libc::EIO)));
        }
        libc::RTM_NEWLINK => {}
        _ => return Err(bad()),
    }
    let attributes = answer.get(NLMSG_HEADER + IFINFO..).ok_or_else(bad)?;
    let Some(xdp) = attribute(attributes, IFLA_XDP) else { return Ok(None) };
    let id = attribute(xdp, IFLA_XDP_PROG_ID).and_then(|a| array_at(a, 0)).map(u32::from_ne_bytes);
    let mode = match attribute(xdp, IFLA_XDP_ATTACHED).and_then(|a| a.first()) {
        Some(1) => Attached::Native,
        Some(2) => Attached::Generic,
        Some(3) => Attached::Offloaded,
        _ => return Ok(None),
    };
    Ok(id.map(|id| (id, mode)))
}

/// The content of the first attribute of this kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(bytes, 0)?);
        let content = bytes.get(RTATTR..len)?;
        if u16_at(bytes, 2)? & TYPE_MASK == kind {
            return Some(content);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_is_an_error_and_loopback_has_no_program() {
        assert_eq!(attached_program(0x7fff_fff0).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(attached_program(1).unwrap(), None);
    }

    #[test]
    fn answers_cut_anywhere_do_no_harm() {
        let mut a = vec![0u8; 32];
        a[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        let attr = |kind: u16, content: &[u8]| {
            let len = u16::try_from(RTATTR + content.len()).unwrap();
            let mut v = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), content].concat();
            v.resize(v.len().next_multiple_of(4), 0);
            v
        };
        let nested = [attr(IFLA_XDP_ATTACHED, &[2]), attr(IFLA_XDP_PROG_ID, &77u32.to_ne_bytes())].concat();
        a.extend(attr(3, b"eth0\0"));
        a.extend(attr(IFLA_XDP | 0x8000, &nested));
        assert_eq!(parse(&a).unwrap(), Some((77, Attached::Generic)));
        for len in 0..a.len() {
            assert!(!matches!(parse(&a[..len]), Ok(Some(_))), "{len}");
        }
        a.truncate(32);
        a.extend([0; 8]); // an attribute of length 0 must not loop
        assert_eq!(parse(&a).unwrap(), None);
    }
}
