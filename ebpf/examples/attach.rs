//! Attaches the steering program to a device and holds it until its standard input ends; then leaves it in force, as a
//! data plane that dies would. For trying things out by hand, and for the tests, which kill it.
//!
//! `attach DEVICE PIN_DIR [vpn-only] [PROTECTED_PREFIX…]`; `ravelin release` or removing PIN_DIR's content takes the program off.

use ravelin_ebpf::{AttachMode, PortConfig, Steering};
use std::error::Error;
use std::ffi::CString;
use std::io::Read as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(pins)) = (args.next(), args.next()) else {
        return Err("usage: attach DEVICE PIN_DIR [vpn-only] [PROTECTED_PREFIX…]".into());
    };
    let args: Vec<String> = args.collect();
    let vpn_only = args.first().is_some_and(|a| a == "vpn-only");
    let protected =
        args.iter().skip(usize::from(vpn_only)).map(|a| a.parse()).collect::<Result<Vec<_>, _>>()?;
    let device = CString::new(name.as_str())?;
    // SAFETY: `device` ends with a zero byte and outlives the call.
    let ifindex = unsafe { libc::if_nametoindex(device.as_ptr()) };
    let port = PortConfig { ifindex, name, mode: AttachMode::Auto, vpn_only };
    let mut steering = Steering::load_and_attach(&port, Path::new(&pins))?;
    steering.set_protected(&protected)?;
    println!("{}", steering.attached_mode());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
