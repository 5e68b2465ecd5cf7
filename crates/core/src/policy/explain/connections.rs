//! Which connections that a host tracks are denied by now: they were let through when they began, and nobody asks again.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::model::{Family, IcmpMatch, Protocol};

use super::super::PolicyEngine;
use super::evaluate;
use super::view::{Holders, View};
use super::{Flow, Side, Verdict, side_of_address};

/// A connection as policy saw its first packet: the destination as it is behind translation, the source as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub source: IpAddr,
    /// Of protocols that have ports, as `port`.
    pub source_port: Option<u16>,
    pub destination: IpAddr,
    pub port: Option<u16>,
    pub protocol: Protocol,
    pub icmp: Option<IcmpMatch>,
}

impl PolicyEngine {
    /// Of each connection in its order, whether policy would deny it if it began now.
    ///
    /// What the host itself opened to its own workloads, from whichever of its addresses, never is.
    pub fn denies(&self, connections: &[Connection]) -> Vec<bool> {
        let asked: HashSet<IpAddr> = connections.iter().flat_map(|one| [one.source, one.destination]).collect();
        let holders = Holders::new(self.cluster.subjects.holding_any(&asked));
        let view = View::enforced(&self.cluster).with_holders(&holders);
        let own: HashSet<IpAddr> = self.own_addresses().collect();
        let mut known: HashMap<&Connection, bool> = HashMap::new();
        let denied = |connection: &Connection| {
            let source = side_of_address(&view, connection.source);
            let destination = side_of_address(&view, connection.destination);
            let is_local = matches!(&destination, Side::Workload(node, _) if *node == self.cluster.settings.node);
            if is_local && own.contains(&connection.source) {
                return false;
            }
            let flow = Flow {
                source,
                destination,
                family: Some(Family::of(connection.source)),
                protocol: connection.protocol,
                source_port: connection.source_port,
                port: connection.port,
                icmp: connection.icmp,
            };
            // What cannot be asked is not denied: nothing of it is a workload's.
            evaluate::explain(&view, &flow).is_ok_and(|said| said.verdict == Verdict::Deny)
        };
        connections.iter().map(|connection| *known.entry(connection).or_insert_with(|| denied(connection))).collect()
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
