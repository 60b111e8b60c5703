//! One session: how long it may be silent (RFC 4787 §4.3, RFC 5382 §5, RFC 5508 §3.2), and what its TCP has come to.
//!
//! Never: judges sequence numbers; an RST shortens a session's life, it does not end it (RFC 5382 §7.1).

use super::Seen;
use crate::nat::tuple::End;
use ravelin_ring::msg::NatSettings;
use ravelin_wire::protocol;
use ravelin_wire::tcp::Tcp;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// Unlike every other one's; 0: over.
    pub(super) born: u64,
    pub(super) mapping: u32,
    pub(super) host: u32,
    pub(super) remote: End,
    pub(super) class: Class,
    /// Where the first packet went.
    pub(super) opened: Way,
    /// A packet came back the other way.
    pub(super) answered: bool,
    /// Of TCP since its SYN: FIN by who is inside, by who is outside; RST by either; anything from outside.
    ends: u8,
    /// The last packet that keeps it alive.
    pub(super) last: u64,
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Way {
    #[default]
    Out,
    In,
}

/// What decides for how long a session may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub(super) enum Class {
    #[default]
    Udp,
    TcpTransitory,
    TcpEstablished,
    Icmp,
    Other,
}

const FIN_OUT: u8 = 1;
const FIN_IN: u8 = 2;
const RESET: u8 = 4;
const REPLIED: u8 = 8;

impl Class {
    pub(super) const ALL: [Self; 5] =
        [Self::Udp, Self::TcpTransitory, Self::TcpEstablished, Self::Icmp, Self::Other];
    pub(super) const COUNT: usize = Self::ALL.len();

    /// Milliseconds.
    pub(super) fn time(self, settings: &NatSettings) -> u64 {
        let seconds = match self {
            Self::Udp => settings.udp_s,
            Self::TcpTransitory => settings.tcp_transitory_s,
            Self::TcpEstablished => settings.tcp_s,
            Self::Icmp => settings.icmp_s,
            Self::Other => settings.other_s,
        };
        u64::from(seconds) * 1000
    }
}

impl Session {
    pub(super) fn new(
        born: u64,
        (mapping, host): (u32, u32),
        remote: End,
        protocol: u8,
        opened: Way,
        now: u64,
    ) -> Self {
        let class = match protocol {
            protocol::TCP => Class::TcpTransitory,
            protocol::UDP => Class::Udp,
            protocol::ICMP => Class::Icmp,
            _ => Class::Other,
        };
        Self { born, mapping, host, remote, class, opened, answered: false, ends: 0, last: now }
    }

    pub(super) fn observe(&mut self, way: Way, seen: Seen) {
        self.answered |= way != self.opened;
        match self.class {
            Class::TcpTransitory | Class::TcpEstablished => self.segment(way, seen.flags),
            // RFC 4787 REQ-6: from outside nobody keeps a mapping alive that nobody inside uses.
            Class::Udp | Class::Icmp if way == Way::In => return,
            Class::Udp | Class::Icmp | Class::Other => {}
        }
        self.last = seen.now;
    }

    fn segment(&mut self, way: Way, flags: u8) {
        let has = |bit: u8| flags & bit != 0;
        if has(Tcp::SYN) && way == Way::Out && !has(Tcp::ACK) {
            self.ends = 0; // another connection between the same ends
            self.class = Class::TcpTransitory;
        }
        self.ends |= match (has(Tcp::RST), has(Tcp::FIN), way) {
            (true, ..) => RESET,
            (_, true, Way::Out) => FIN_OUT,
            (_, true, Way::In) => FIN_IN,
            (_, false, _) => 0,
        };
        self.ends |= if way == Way::In { REPLIED } else { 0 };
        let both = FIN_OUT | FIN_IN;
        let over = self.ends & RESET != 0 || self.ends & both == both;
        // Answered, and the answer acknowledged: nobody outside brings this about alone.
        let established = self.ends & REPLIED != 0 && way == Way::Out && has(Tcp::ACK) && !has(Tcp::SYN);
        if over {
            self.class = Class::TcpTransitory;
        } else if established {
            self.class = Class::TcpEstablished;
        }
    }
}
