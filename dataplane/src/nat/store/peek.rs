//! Questions about sessions that open none and change none: what ICMP errors quote, and who is known outside as what.

use super::{End, Inside, Seen, Store};
use ravelin_ring::msg::NatSettings;

impl Store {
    /// The outside end of an inside one that speaks with `remote`, without opening anything.
    pub(crate) fn peek_out(
        &self,
        inside: Inside,
        remote: End,
        now: u64,
        settings: &NatSettings,
    ) -> Option<End> {
        self.find(inside, remote, now, settings).map(|(outside, _)| outside)
    }

    /// The outside end of an inside one, whoever it speaks with.
    pub(crate) fn mapped(&self, inside: Inside) -> Option<End> {
        self.mappings.get(self.mapping_of(inside)?).map(|m| m.outside)
    }

    /// The inside end of an outside one to which `remote` may speak, without opening anything.
    pub(crate) fn peek_in(
        &self,
        protocol: u8,
        outside: End,
        remote: End,
        quoted: Seen,
        settings: &NatSettings,
    ) -> Option<Inside> {
        let at = self.sender(protocol, outside, remote.addr, quoted.spi)?;
        let inside = self.mappings.get(at)?.inside;
        let known = self.find(inside, remote, quoted.now, settings).is_some();
        (known || settings.endpoint_independent_filter).then_some(inside)
    }
}
