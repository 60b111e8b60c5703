//! The running data plane: memory, ports, TUN device and workers, as the main thread holds them.
//!
//! Decides: which worker gets which queue; what to do when a device goes or comes back. Never: sees packets.

mod care;

use crate::devices::Devices;
use crate::handoff::{Mailbox, Mesh};
use crate::ports::{Common, Port};
use crate::runner::{Handle, Line, Order, Parts};
use crate::tables_io::Publisher;
use crate::tx::Egress;
use crate::{config, hygiene};
use anyhow::Context as _;
use ravelin_dataplane::{Helpers, Worker, WorkerConfig};
use ravelin_ring::msg::{PortId, TableEvent, WorkerId};
use ravelin_ring::server::{Bells, Session};
use ravelin_ring::setup::{Attach, Setup};
use ravelin_ring::{Bell, Welcome};
use ravelin_xsk::{FramePool, HugePages, Socket, Umem, UmemConfig, tun};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// XDP counters are copied and devices looked for this often.
pub(crate) const TICK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) setup: Setup,
    common: Common,
    ports: Vec<Port>,
    workers: Vec<Handle>,
    egress: Egress,
    publisher: Publisher,
    devices: Devices,
    pub(crate) bells: Bells,
    /// Without what changes from one control process to the next.
    welcome: Welcome,
    last_tick: Instant,
}

impl Plane {
    /// 1. check, 2. memory, 3. ports, 4. TUN device, 5. workers, 6. fewer privileges. After an error nothing stays
    ///    attached, except what an earlier process left in force.
    pub(crate) fn start(setup: Setup, main: Arc<Bell>, pin_dir: &Path) -> anyhow::Result<Self> {
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect();
        config::check(&setup, &cores)?;
        let umem = memory(&setup)?;
        let inherited = pin_dir.exists();
        let common = Common::new(umem.clone(), pin_dir, &setup);
        let id = |i: usize| PortId(u16::try_from(i).unwrap_or(u16::MAX));
        let mut ports: Vec<Port> = setup.ports.iter().enumerate().map(|(i, p)| Port::new(id(i), p)).collect();
        match Self::assemble(setup, main, &umem, &common, &mut ports) {
            Ok((setup, workers, egress, bells, welcome)) => {
                let publisher = Publisher::new(&setup);
                let devices = Devices::new(workers.len());
                let last_tick = Instant::now();
                Ok(Self {
                    setup,
                    common,
                    ports,
                    workers,
                    egress,
                    publisher,
                    devices,
                    bells,
                    welcome,
                    last_tick,
                })
            }
            Err(error) => {
                if inherited {
                    tracing::warn!(
                        "what an earlier data plane left attached stays: it drops what is protected"
                    );
                } else {
                    ports.iter_mut().for_each(Port::detach);
                }
                Err(error)
            }
        }
    }

    #[allow(clippy::type_complexity)] // taken apart at once by its only caller
    fn assemble(
        setup: Setup,
        main: Arc<Bell>,
        umem: &Arc<Umem>,
        common: &Common,
        ports: &mut [Port],
    ) -> anyhow::Result<(Setup, Vec<Handle>, Egress, Bells, Welcome)> {
        let mut sockets = Vec::new();
        for port in ports.iter_mut() {
            sockets.push((port.id, port.attach(common, None)?));
        }
        let count = setup.cores.len();
        let tun = tun::open(&setup.tun, count).with_context(|| format!("TUN device {}", setup.tun))?;
        let wakers = (0..count).map(|_| Bell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let bells = Bells { main, workers: wakers };
        let egress = Egress::new(ports.len());
        let workers = spawn(&setup, umem, tun.queues, &bells, &egress)?;
        for (port, sockets) in sockets {
            distribute(&workers, &egress, port, sockets);
        }
        let fewer = hygiene::reduce();
        if let Err(error) = fewer {
            workers.iter().for_each(|w| w.order(Order::Stop));
            return Err(error);
        }
        let welcome = Welcome {
            version: 0, // the ring fills it in
            workers: u16::try_from(count).unwrap_or(u16::MAX),
            ports: vec![],
            tun: setup.tun.clone(),
            tun_ifindex: tun.ifindex,
            fresh: true,
            crypto: crypto_kernels(),
            buffers: umem.huge_pages().to_string(),
        };
        Ok((setup, workers, egress, bells, welcome))
    }

    /// By which workers are asked, and the names of the ports.
    pub(crate) fn lines(&self) -> (Vec<Arc<Line>>, Vec<String>) {
        let ports = self.ports.iter().map(|port| port.name().to_owned());
        (self.workers.iter().map(Handle::line).collect(), ports.collect())
    }

    /// What a control process is told now. `fresh`: it is the first one.
    pub(crate) fn welcome(&self, fresh: bool) -> Welcome {
        let ports = self.ports.iter().map(|p| p.report.clone()).collect();
        Welcome { ports, fresh, ..self.welcome.clone() }
    }

    /// Gives each worker its end of the new rings.
    pub(crate) fn take_session(&mut self, session: &mut Session) {
        self.publisher.new_session();
        for (worker, link) in self.workers.iter().zip(session.workers.drain(..)) {
            worker.order(Order::Session(Box::new(link)));
        }
    }

    /// The main thread's turn.
    pub(crate) fn turn(&mut self, mut session: Option<&mut Session>) {
        for worker in &self.workers {
            worker.clean_up();
        }
        care::place(&mut self.workers);
        let taken = self.workers.iter().map(Handle::tables).min().unwrap_or(0);
        self.publisher.finish(taken, &mut self.ports);
        if let Some(session) = session.as_deref_mut()
            && let Some(publish) =
                self.publisher.gather(&mut session.commands, &mut self.ports, &mut self.devices)
        {
            self.lend_devices();
            for worker in &self.workers {
                let (number, tables) = (publish.number, publish.tables.clone());
                worker.order(Order::Tables { number, tables });
            }
        }
        if self.last_tick.elapsed() >= TICK {
            self.last_tick = Instant::now();
            care::look_after(&mut self.workers, &self.setup.cores);
            self.watch();
            if let Some(session) = session.as_deref_mut() {
                self.show(session);
            }
        }
        if let Some(session) = session {
            self.publisher.deliver(&mut session.events);
        }
    }

    /// Queues of new devices; and those go that no worker's tables name any more.
    fn lend_devices(&mut self) {
        for (interface, queues) in self.devices.fresh() {
            for (worker, queue) in self.workers.iter().zip(queues) {
                worker.order(Order::AddDevice { interface, queue });
            }
        }
        let gone = self.publisher.settled().map(|wanted| self.devices.settle(wanted));
        for interface in gone.into_iter().flatten() {
            self.workers.iter().for_each(|worker| worker.order(Order::RemoveDevice { interface }));
        }
    }

    /// There may be more commands than one turn takes.
    pub(crate) fn is_waiting(&self) -> bool {
        self.publisher.is_pending()
    }

    fn show(&self, session: &Session) {
        for (port, writer) in self.ports.iter().zip(&session.ports) {
            if let Some(counters) = port.counters() {
                writer.write(counters);
            }
        }
    }

    #[cfg(debug_assertions)]
    pub(crate) fn fail(&self, fault: crate::runner::Fault) {
        if let Some(worker) = self.workers.last() {
            worker.order(Order::Fail(fault));
        }
    }

    /// Devices that went, and devices that came back.
    fn watch(&mut self) {
        self.devices.watch();
        self.lend_devices();
        for port in &mut self.ports {
            if port.is_lost() {
                tracing::warn!(port = port.name(), "the device is gone; waiting for it to come back");
                self.egress.set(port.id, None);
                self.workers.iter().for_each(|w| w.order(Order::RemovePort { port: port.id }));
                port.lose();
                self.publisher.port_state(TableEvent::PortState { port: port.id, attached: false });
            }
            if port.is_back() {
                let steered = (!self.publisher.is_fresh()).then_some(&self.publisher.steered);
                match port.attach(&self.common, steered) {
                    Ok(sockets) => {
                        tracing::info!(port = port.name(), "the device is back");
                        distribute(&self.workers, &self.egress, port.id, sockets);
                        self.publisher.port_state(TableEvent::PortState { port: port.id, attached: true });
                    }
                    Err(error) => {
                        tracing::debug!("{error:#}");
                        port.lose();
                    }
                }
            }
        }
    }

    /// Detaches, lets the workers finish what they have, and ends them.
    pub(crate) fn stop(mut self) {
        self.ports.iter_mut().for_each(Port::detach);
        self.workers.iter().for_each(|w| w.order(Order::Stop));
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
    }
}

fn memory(setup: &Setup) -> anyhow::Result<Arc<Umem>> {
    let umem = Umem::new(UmemConfig {
        frames: setup.frames,
        frame_size: setup.frame_size,
        huge_pages: setup.huge_pages,
        // The generic hook has packets in the kernel's own buffers, which zero-copy does not know.
        copy_only: setup.ports.iter().all(|port| port.attach == Attach::Generic),
        ..UmemConfig::default()
    })?;
    if umem.huge_pages() == HugePages::Unavailable {
        tracing::warn!(
            "no huge pages free: the frames lie in normal pages, which costs some speed \
             (`sysctl vm.nr_hugepages` reserves them)"
        );
    }
    Ok(umem)
}

fn spawn(
    setup: &Setup,
    umem: &Arc<Umem>,
    tuns: Vec<OwnedFd>,
    bells: &Bells,
    egress: &Egress,
) -> anyhow::Result<Vec<Handle>> {
    let frames = usize::try_from(setup.frames)?;
    let mailboxes = bells.workers.iter().map(|bell| Mailbox::new(frames, bell.clone()));
    let mesh = Mesh(mailboxes.collect());
    let pools: Vec<FramePool> = umem.pools(setup.cores.len());
    let helpers = Helpers::new(u16::try_from(setup.cores.len())?);
    let started = Instant::now();
    let mut workers = Vec::new();
    for (i, ((pool, tun), core)) in pools.into_iter().zip(tuns).zip(&setup.cores).enumerate() {
        let id = WorkerId(u16::try_from(i)?);
        let config = WorkerConfig { id, workers: u16::try_from(setup.cores.len())?, max_sas: setup.max_sas };
        let mut worker = Worker::new(config);
        worker.join(helpers.clone());
        let parts = Parts {
            id,
            core: usize::from(*core),
            worker,
            pool,
            tun,
            mesh: mesh.clone(),
            egress: egress.clone(),
            bell: bells.workers.get(i).context("a bell per worker")?.clone(),
            main: bells.main.clone(),
            started,
        };
        workers.push(Handle::spawn(parts)?);
    }
    Ok(workers)
}

/// Queue by queue; who has the port's first queue sends for those that have none.
fn distribute(workers: &[Handle], egress: &Egress, port: PortId, sockets: Vec<Socket>) {
    for (queue, socket) in sockets.into_iter().enumerate() {
        if let Some(worker) = workers.get(queue % workers.len().max(1)) {
            worker.order(Order::AddSocket { port, socket: Box::new(socket) });
        }
    }
    egress.set(port, Some(WorkerId(0)));
}

fn crypto_kernels() -> String {
    ravelin_crypto::Engine::new().describe()
}
