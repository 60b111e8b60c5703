//! Two gateways over one UMEM: one protects, the other opens.

use anyhow::{Context, bail, ensure};
use arrayvec::ArrayVec;
use ravelin_dataplane::{
    Batch, MAX_RECEIVED, Now, Origin, Packet, TableStore, Verdict, Worker, WorkerConfig,
};
use ravelin_ring::msg::*;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::{AddrRange, MacAddr, PortRange, Prefix, Selector, Spi};
use ravelin_xsk::{Frame, FramePool, Umem, UmemConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const INSIDE: PortId = PortId(0);
const WAN: PortId = PortId(1);
const LEFT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const NOW: Now = Now { ms: 1000 };

type Frames = ArrayVec<Frame, MAX_RECEIVED>;

pub(crate) struct Pair {
    left: Worker,
    right: Worker,
    pool: FramePool,
    batch: Batch,
    /// What the receive ring of each side gives, and what the last one sent.
    clear: Frames,
    sealed: Frames,
    opened: Frames,
    tunnels: u32,
    /// Whose turn it is.
    next: u32,
    suite: Suite,
    key_len: usize,
    size: u16,
}

impl Pair {
    pub(crate) fn new(suite: Suite, key_len: usize, tunnels: u32) -> anyhow::Result<Self> {
        let umem = Umem::new(UmemConfig { frames: 256, ..UmemConfig::default() })?;
        let pool = umem.pools(1).pop().context("no frames")?;
        let worker = || Worker::new(WorkerConfig { id: WorkerId(0), workers: 1, max_sas: tunnels });
        let mut me = Self {
            left: worker(),
            right: worker(),
            pool,
            batch: Batch::new(),
            clear: Frames::new(),
            sealed: Frames::new(),
            opened: Frames::new(),
            tunnels,
            next: 0,
            suite,
            key_len,
            size: 0,
        };
        me.left.set_tables(me.tables(true)?);
        me.right.set_tables(me.tables(false)?);
        for tunnel in 0..tunnels {
            me.install(tunnel)?;
        }
        Ok(me)
    }

    fn tables(&self, left: bool) -> anyhow::Result<std::sync::Arc<ravelin_dataplane::Tables>> {
        let mut store = TableStore::new(2, None);
        let (own, peer) = if left { (LEFT, RIGHT) } else { (RIGHT, LEFT) };
        let inside = NextHop::Port { port: INSIDE, gateway: Some(ROUTER.into()) };
        let mut commands = vec![
            TableCommand::AddRoute(Route {
                prefix: prefix(Ipv4Addr::new(10, 0, 0, 0), 8)?,
                next_hop: inside,
            }),
            TableCommand::AddRoute(Route {
                prefix: prefix(Ipv4Addr::new(11, 0, 0, 0), 8)?,
                next_hop: inside,
            }),
            TableCommand::AddRoute(Route {
                prefix: prefix(Ipv4Addr::new(198, 18, 0, 0), 24)?,
                next_hop: NextHop::Port { port: WAN, gateway: None },
            }),
            TableCommand::AddGatewayAddress(own.into()),
        ];
        for (port, addr) in [(INSIDE, ROUTER), (WAN, peer)] {
            let mac = [2, 0, 0, 0, 0, 9];
            commands.push(TableCommand::SetNeighbour(Neighbour { port, addr: addr.into(), mac }));
            commands.push(TableCommand::SetPort(Port { port, mac, mtu: 1500, up: true }));
        }
        for tunnel in 0..self.tunnels {
            let (selector, action) = (selector(tunnel, left)?, Action::Protect(TunnelId(tunnel)));
            commands.push(TableCommand::AddPolicy(Policy { order: tunnel, selector, action, line: 0 }));
        }
        for command in &commands {
            store.apply(command)?;
        }
        Ok(store.compile(Generation(1))?)
    }

    fn install(&mut self, tunnel: u32) -> anyhow::Result<()> {
        let keys: Vec<u8> =
            (0..self.key_len).map(|i| (i.wrapping_mul(7) ^ tunnel as usize).to_le_bytes()[0]).collect();
        for left in [true, false] {
            let (local, remote) = if left { (LEFT, RIGHT) } else { (RIGHT, LEFT) };
            let spec = SaSpec {
                id: SaId(tunnel.into()),
                tunnel: TunnelId(tunnel),
                direction: if left { Direction::Outbound } else { Direction::Inbound },
                // Spread as random ones are.
                spi: Spi::try_from(tunnel.wrapping_mul(0x9e37_79b1) | 0x8000_0000)?,
                suite: self.suite,
                keys: KeyMaterial::new(&keys).context("key length")?,
                esn: false,
                local: SocketAddr::new(local.into(), 0),
                remote: SocketAddr::new(remote.into(), 0),
                mode: Mode::Tunnel,
                replay_window: 1024,
                tunnel_mtu: 1500,
                outer_df: OuterDf::Copy,
                soft_bytes: 0,
                hard_bytes: 0,
                soft_packets: 0,
                hard_packets: 0,
                selectors: 1,
            };
            let (sa, token) = (spec.id, Token(0));
            let worker = if left { &mut self.left } else { &mut self.right };
            worker.apply(WorkerCommand::SaSelector { sa, selector: selector(tunnel, left)? });
            expect(worker.apply(WorkerCommand::InstallSa { token, spec: Box::new(spec) }))?;
        }
        let (tunnel, sa, owner) = (TunnelId(tunnel), SaId(tunnel.into()), WorkerId(0));
        expect(self.left.apply(WorkerCommand::UseOutbound { token: Token(0), tunnel, sa, owner }))
    }

    /// The next packets, each for the next tunnel.
    pub(crate) fn fill(&mut self, size: u16) -> anyhow::Result<()> {
        self.size = size;
        for frame in self.opened.drain(..) {
            self.pool.free(frame);
        }
        while !self.clear.is_full() {
            let mut frame = self.pool.alloc().context("out of frames")?;
            ensure!(frame.extend(ethernet::HEADER + usize::from(size)), "frame too small");
            self.write(frame.data_mut());
            self.clear.push(frame);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &mut [u8]) {
        let [_, a, b, c] = self.next.to_be_bytes();
        let net = u32::from_be_bytes([0, a, b, c]) << 8;
        self.next = (self.next + 1) % self.tunnels;
        let header = Ipv4Header {
            tos: 0,
            total_len: self.size,
            id: 0,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: 17,
            src: HOST,
            dst: Ipv4Addr::from_bits(0x0b00_0005 | net),
        };
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let link = Ethernet { dst: mac, src: mac, ethertype: ethernet::IPV4 }.to_bytes();
        let (front, payload) = bytes.split_at_mut(ethernet::HEADER + 20);
        let (l, n) = front.split_at_mut(ethernet::HEADER);
        l.copy_from_slice(&link);
        n.copy_from_slice(&header.to_bytes());
        payload.fill(0x5a);
    }

    /// Measured: from the receive ring of the left gateway to its transmit ring. Returns how many packets.
    pub(crate) fn protect(&mut self) -> u64 {
        let count = self.clear.len() as u64;
        let Self { left, batch, pool, clear, sealed, .. } = self;
        pass(left, batch, pool, INSIDE, clear, sealed);
        count
    }

    /// Measured: the same at the right gateway.
    pub(crate) fn unprotect(&mut self) {
        let Self { right, batch, pool, sealed, opened, .. } = self;
        pass(right, batch, pool, WAN, sealed, opened);
    }

    /// A window counts only when every packet arrived as it was sent.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let whole = |f: &Frame| f.len() == ethernet::HEADER + usize::from(self.size);
        if self.opened.len() != MAX_RECEIVED || !self.opened.iter().all(whole) {
            bail!("{} of {MAX_RECEIVED} packets arrived: {:?}", self.opened.len(), self.right.stats());
        }
        Ok(())
    }
}

fn pass(
    worker: &mut Worker,
    batch: &mut Batch,
    pool: &mut FramePool,
    port: PortId,
    from: &mut Frames,
    to: &mut Frames,
) {
    for frame in from.drain(..) {
        if let Err(packet) = batch.push(Packet::new(frame, Origin::Port(port))) {
            pool.free(packet.frame);
        }
    }
    worker.process(batch, pool, NOW);
    for packet in batch.packets.drain(..) {
        match packet.verdict {
            Verdict::Forward { .. } if !to.is_full() => to.push(packet.frame),
            Verdict::Forward { .. }
            | Verdict::Pending
            | Verdict::Punt
            | Verdict::HandOff { .. }
            | Verdict::Drop(_)
            | Verdict::Consumed => pool.free(packet.frame),
        }
    }
}

fn expect(event: Option<WorkerEvent>) -> anyhow::Result<()> {
    match event {
        Some(WorkerEvent::Done { outcome: Outcome::Ok, .. }) => Ok(()),
        other => bail!("a command was refused: {other:?}"),
    }
}

fn prefix(addr: Ipv4Addr, len: u8) -> anyhow::Result<Prefix> {
    Ok(Prefix::new(IpAddr::V4(addr), len)?)
}

/// Tunnel n: 10.1.0.0/16 on the left, the n-th /24 of 11.0.0.0/8 on the right.
fn selector(tunnel: u32, left: bool) -> anyhow::Result<Selector> {
    let here = AddrRange::from(prefix(Ipv4Addr::new(10, 1, 0, 0), 16)?);
    let there = AddrRange::from(prefix(Ipv4Addr::from_bits(0x0b00_0000 | tunnel << 8), 24)?);
    let (local, remote) = if left { (here, there) } else { (there, here) };
    let (local_ports, remote_ports) = (PortRange::ANY, PortRange::ANY);
    Ok(Selector { local, remote, protocol: None, local_ports, remote_ports })
}
