//! Link-local addresses that say of which link they are (RFC 4007): the interface's index is kept within the address.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of fe80::/10 that are zero on the wire (RFC 4291 2.5.6) and hold the interface's index here. A link-local
/// address alone names nobody: the same may be on two links. With its link inside it is one value, like any other address,
/// in every table that is kept by address. Only what reads or writes sockets, messages and words knows of it.
const SHIFT: u32 = 64;

/// The address on the link of this interface; another than a link-local one is left as it is.
pub fn scoped(address: IpAddr, interface: u32) -> IpAddr {
    match address {
        IpAddr::V6(inner) if inner.is_unicast_link_local() => {
            let (bare, _) = bare(inner);
            IpAddr::V6(Ipv6Addr::from_bits(bare.to_bits() | u128::from(interface) << SHIFT))
        }
        other => other,
    }
}

/// The address as it is on the wire, and the index of the interface whose link it is on, if it says so.
pub fn unscoped(address: IpAddr) -> (IpAddr, Option<u32>) {
    match address {
        IpAddr::V6(inner) if inner.is_unicast_link_local() => {
            let (bare, interface) = bare(inner);
            (IpAddr::V6(bare), interface)
        }
        other => (other, None),
    }
}

fn bare(address: Ipv6Addr) -> (Ipv6Addr, Option<u32>) {
    let bits = address.to_bits();
    let interface = u32::try_from(bits >> SHIFT & u128::from(u32::MAX)).expect("32 bits");
    let bare = Ipv6Addr::from_bits(bits & !(u128::from(u32::MAX) << SHIFT));
    (bare, (interface != 0).then_some(interface))
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
