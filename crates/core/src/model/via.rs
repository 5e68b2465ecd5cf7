//! The next hops of a route, sorted, each once. Mostly there is one, which then takes no allocation: of a hundred
//! thousand routes each is kept in several places.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via(Hops);

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hops {
    #[default]
    None,
    One(IpAddr),
    Several(Box<[IpAddr]>),
}

impl Deref for Via {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match &self.0 {
            Hops::None => &[],
            Hops::One(only) => std::slice::from_ref(only),
            Hops::Several(all) => all,
        }
    }
}

impl FromIterator<IpAddr> for Via {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(hops: I) -> Via {
        let mut hops = hops.into_iter();
        let Some(first) = hops.next() else { return Via(Hops::None) };
        let Some(second) = hops.next() else { return Via(Hops::One(first)) };
        let mut all: Vec<IpAddr> = [first, second].into_iter().chain(hops).collect();
        all.sort_unstable();
        all.dedup();
        match *all {
            [only] => Via(Hops::One(only)),
            _ => Via(Hops::Several(all.into())),
        }
    }
}

impl From<Vec<IpAddr>> for Via {
    fn from(hops: Vec<IpAddr>) -> Via {
        hops.into_iter().collect()
    }
}

impl From<IpAddr> for Via {
    fn from(hop: IpAddr) -> Via {
        Via(Hops::One(hop))
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
#[path = "via_tests.rs"]
mod tests;
