//! The way of a real packet: sent from a workload of this node or from the host, seen on the host's interfaces, and what
//! counted it where it ended. Called by `explain`.

use std::time::Duration;

use routenet_core::desired::ChainKey;
use routenet_core::model::{Family, Protocol};
use routenet_core::policy::Side;

use super::Agent;
use super::explain::invalid;
use crate::api::ApiError;
use crate::api::listing::{ExplainReply, Trace};
use crate::plane::probe::{self, Probe, Seen, Sighting, Traced};
use crate::plane::rules::RuleCounters;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);

type Drops = Vec<(ChainKey, RuleCounters)>;

impl Agent {
    pub(super) async fn trace(
        &self,
        source: &Side,
        explained: &ExplainReply,
        protocol: Protocol,
    ) -> Result<Trace, ApiError> {
        let (namespace, entrance) = self.place(source)?;
        if !probe::is_possible(protocol) {
            return Err(invalid(format!(
                "no probe of {protocol} can be sent: ask without --trace, or for tcp, udp or icmp"
            )));
        }
        let (from, to) = (explained.source, explained.destination);
        let probe = Probe { namespace, source: from, destination: to, protocol, port: explained.port };
        let before = self.drops(Family::of(from)).await;
        let sent = tokio::task::spawn_blocking(move || probe::send(&probe, LIMIT)).await;
        let unavailable = |message: String| ApiError { code: "unavailable".into(), message };
        let traced = sent.map_err(|panic| unavailable(panic.to_string()))?.map_err(unavailable)?;
        let after = self.drops(Family::of(from)).await;
        let places = Places { agent: self, entrance: entrance.as_deref() };
        let answered = places.is_answered(&traced);
        Ok(Trace {
            steps: traced.sightings.iter().map(|sighting| places.step(sighting)).collect(),
            answered,
            end: places.end(&traced, answered, protocol, explained, &counted(&before, &after)),
        })
    }

    /// The namespace to send from, `None` for the host's; and the interface by which the host hears of it.
    fn place(&self, source: &Side) -> Result<(Option<String>, Option<String>), ApiError> {
        let elsewhere = |node: &str| invalid(format!("a probe is sent where it starts: ask the agent on {node}"));
        match source {
            Side::Host(node) if *node == self.config.node => Ok((None, None)),
            Side::Host(node) => Err(elsewhere(node.as_str())),
            Side::Workload(node, _) if *node != self.config.node => Err(elsewhere(node.as_str())),
            Side::Workload(_, key) => {
                let endpoints = self.allocator.endpoints();
                let found = endpoints.iter().find(|endpoint| endpoint.key == *key);
                let attachment = found.and_then(|endpoint| endpoint.attachment.as_ref());
                let attachment = attachment.ok_or_else(|| invalid(format!("{key} is gone; ask again")))?;
                Ok((Some(attachment.netns.clone()), Some(key.host_interface().to_string())))
            }
            Side::Address(address) => Err(invalid(format!(
                "{address} is none of this cluster's, so nothing can be sent from there: trace from a workload, or from `host`"
            ))),
        }
    }

    /// What each rule that drops has counted; nothing where that cannot be read.
    async fn drops(&self, family: Family) -> Drops {
        self.hands.rules.drops(family).await.unwrap_or_default()
    }
}

/// The rules that counted something in between.
fn counted(before: &Drops, after: &Drops) -> Vec<String> {
    let grown = after.iter().filter(|(chain, now)| {
        let then = before.iter().find(|(other, then)| other == chain && then.rule == now.rule);
        now.packets > then.map_or(0, |(_, then)| then.packets)
    });
    grown.map(|(chain, rule)| format!("{} ({} table): {}", chain.name, chain.table.name(), rule.rule)).collect()
}

/// Sightings in words.
struct Places<'a> {
    agent: &'a Agent,
    /// Where the sender's packets come into the host; `None`: the host sends.
    entrance: Option<&'a str>,
}

impl Places<'_> {
    fn is_entrance(&self, sighting: &Sighting) -> bool {
        Some(sighting.interface.as_str()) == self.entrance
    }

    fn step(&self, sighting: &Sighting) -> String {
        let way = if sighting.outgoing { "out" } else { "in" };
        let what = match &sighting.seen {
            Seen::Probe => "the packet".to_string(),
            Seen::Answer(words) => format!("the answer, {words},"),
            Seen::Error(from, words) => format!("an ICMP error of {from}, {words},"),
        };
        format!("{what} {way} by {}", self.interface(&sighting.interface))
    }

    fn interface(&self, name: &str) -> String {
        let endpoints = self.agent.allocator.endpoints();
        let workload = endpoints.iter().find(|endpoint| endpoint.key.host_interface().as_str() == name);
        workload.map_or_else(|| name.to_string(), |endpoint| format!("{name} ({})", endpoint.display_name()))
    }

    /// Whether the answer was handed to the sender.
    fn is_answered(&self, traced: &Traced) -> bool {
        let arrived = |sighting: &&Sighting| match self.entrance {
            Some(_) => sighting.outgoing && self.is_entrance(sighting),
            None => !sighting.outgoing,
        };
        traced.sightings.iter().filter(arrived).any(|sighting| matches!(sighting.seen, Seen::Answer(_)))
    }

    /// Where it ended.
    fn end(
        &self,
        traced: &Traced,
        answered: bool,
        protocol: Protocol,
        explained: &ExplainReply,
        drops: &[String],
    ) -> String {
        let seen = &traced.sightings;
        let dropped = || match drops {
            [] => "none of routenet's rules counted a drop: look for a foreign firewall rule, or rp_filter".to_string(),
            drops => format!("counted meanwhile by {}", drops.join("; ")),
        };
        if let Some(why) = &traced.unsent {
            return format!("not sent: {why}");
        }
        if answered {
            return format!("answered: {} was reached", explained.to);
        }
        if let Some(Seen::Error(from, words)) =
            seen.iter().map(|sighting| &sighting.seen).find(|seen| matches!(seen, Seen::Error(..)))
        {
            return format!("{from} says: {words}");
        }
        if let Some(answer) = seen.iter().find(|sighting| matches!(sighting.seen, Seen::Answer(_))) {
            return format!(
                "the answer came by {}, and did not get to {}: {}",
                self.interface(&answer.interface),
                explained.from,
                dropped()
            );
        }
        let out = seen.iter().rev().find(|sighting| sighting.outgoing && !self.is_entrance(sighting));
        match out {
            None if self.entrance.is_some() && seen.is_empty() => {
                format!("it did not come out of {}: look at the routes and firewall inside", explained.from)
            }
            None => {
                format!("it ended on this host, {}: {}", self.agent.config.node, self.stopped(explained, &dropped()))
            }
            Some(out) => {
                let silent = if protocol == Protocol::UDP { " (few servers answer an empty datagram)" } else { "" };
                let out = &out.interface;
                let endpoints = self.agent.allocator.endpoints();
                match endpoints.iter().find(|endpoint| endpoint.key.host_interface().as_str() == out) {
                    Some(endpoint) => format!("it reached {}, which did not answer{silent}", endpoint.display_name()),
                    None => format!(
                        "it left this host by {out}, and nothing came back within {} s{silent}: look at the next one on the way",
                        LIMIT.as_secs()
                    ),
                }
            }
        }
    }

    /// Why it ended on this host.
    fn stopped(&self, explained: &ExplainReply, dropped: &str) -> String {
        match &explained.route {
            None => format!("there may be no route; {dropped}"),
            Some(route) if route.contains("blackhole") || route.contains("unreachable") => route.clone(),
            Some(_) => dropped.to_string(),
        }
    }
}
