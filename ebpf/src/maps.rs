//! The maps of one port: opened where an earlier process pinned them, made where not.

use crate::abi::{self, Config};
use crate::error::Error;
use crate::pin::PinDir;
use aya::Ebpf;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, XskMap};
use ravelin_wire::{Features, PortRanges};
use std::fmt;

/// Refuses pinned maps of another layout before anything is changed.
pub(crate) fn check_version(name: &str, pins: &PinDir) -> Result<(), Error> {
    let path = pins.map(abi::CONFIG);
    if !path.exists() {
        return Ok(());
    }
    let data = MapData::from_pin(&path).map_err(Error::bpf(name, "open the pinned maps"))?;
    let config = Array::<_, Config>::try_from(Map::Array(data)).and_then(|a| a.get(&0, 0));
    let found = config.map_or(0, |c| c.version);
    // 0: its maker died between making and stamping it, before it attached anything.
    if found == abi::VERSION || (found == 0 && !pins.link().exists()) {
        return Ok(());
    }
    Err(Error::PinnedByOther { path: path.parent().unwrap_or(&path).into(), found, ours: abi::VERSION })
}

/// Names of all maps; each is pinned under its own.
pub(crate) const ALL: [&str; 12] = [
    abi::SOCKETS,
    abi::GATEWAYS_V4,
    abi::GATEWAYS_V6,
    abi::PROTECTED_V4,
    abi::PROTECTED_V6,
    abi::INSIDE_V4,
    abi::TRANSLATED_V4,
    abi::ADMITTED_V4,
    abi::ADMITTED_V6,
    abi::FRAGMENTS,
    abi::CONFIG,
    abi::COUNTERS,
];

pub(crate) struct Maps {
    pub(crate) sockets: XskMap<MapData>,
    pub(crate) gateways_v4: HashMap<MapData, [u8; 4], u32>,
    pub(crate) gateways_v6: HashMap<MapData, [u8; 16], u32>,
    pub(crate) protected_v4: LpmTrie<MapData, [u8; 4], u32>,
    pub(crate) protected_v6: LpmTrie<MapData, [u8; 16], u32>,
    pub(crate) inside_v4: LpmTrie<MapData, [u8; 4], u32>,
    pub(crate) translated_v4: HashMap<MapData, [u8; 4], PortRanges>,
    pub(crate) admitted_v4: LpmTrie<MapData, [u8; 4], u32>,
    pub(crate) admitted_v6: LpmTrie<MapData, [u8; 16], u32>,
    pub(crate) config: Array<MapData, Config>,
    pub(crate) counters: PerCpuArray<MapData, u64>,
}

// SAFETY: `repr(C)`, words alone, no padding, any bits are a value.
unsafe impl aya::Pod for Config {}

/// The library's map types do not print themselves.
impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maps(…)")
    }
}

impl Maps {
    pub(crate) fn open(name: &str, ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            sockets: typed(name, ebpf, abi::SOCKETS)?,
            gateways_v4: typed(name, ebpf, abi::GATEWAYS_V4)?,
            gateways_v6: typed(name, ebpf, abi::GATEWAYS_V6)?,
            protected_v4: typed(name, ebpf, abi::PROTECTED_V4)?,
            protected_v6: typed(name, ebpf, abi::PROTECTED_V6)?,
            inside_v4: typed(name, ebpf, abi::INSIDE_V4)?,
            translated_v4: typed(name, ebpf, abi::TRANSLATED_V4)?,
            admitted_v4: typed(name, ebpf, abi::ADMITTED_V4)?,
            admitted_v6: typed(name, ebpf, abi::ADMITTED_V6)?,
            config: typed(name, ebpf, abi::CONFIG)?,
            counters: typed(name, ebpf, abi::COUNTERS)?,
        })
    }

    /// Marks new maps with the layout's version; those of an earlier process have it, and keep their UDP port. A port that
    /// is to admit the VPN alone does so before the program is on it.
    pub(crate) fn stamp(&mut self, name: &str, vpn_only: bool) -> Result<(), Error> {
        let mut config = self.config.get(&0, 0).map_err(Error::bpf(name, "read the configuration map"))?;
        config.version = abi::VERSION;
        if vpn_only {
            config.features |= Features::VPN_ONLY;
        }
        self.config.set(0, config, 0).map_err(Error::bpf(name, "write the configuration map"))
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(
    name: &str,
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<T, Error> {
    let map = ebpf.take_map(map).expect("the object was built with this map in it");
    T::try_from(map).map_err(Error::bpf(name, "use a map of the XDP program"))
}
