//! The answer to `explain`: the evaluator's verdict at both ends, and the way between them. Called by the local API.

use std::net::IpAddr;

use routenet_core::desired::{ChainKey, Desired, Route, RouteKey};
use routenet_core::model::{Cidr, Family, NodeName, Protocol, TunnelKind};
use routenet_core::policy::{Direction, End, Flow, Side, Verdict};

use super::Agent;
use crate::api::ApiError;
use crate::api::listing::{ExplainReply, KernelRule, StagedVerdict, Verdict as EndVerdict};

impl Agent {
    pub async fn explain(
        &self,
        from: String,
        to: String,
        protocol: String,
        port: Option<u16>,
        trace: bool,
    ) -> Result<ExplainReply, ApiError> {
        let protocol = read_protocol(&protocol)?;
        let mtu = self.mtu;
        let node = self.config.node.clone();
        let answer = self.engine.query(move |desired| explain(desired, &node, &from, &to, protocol, port, mtu)).await;
        let (mut reply, compiled, source) = answer.unwrap_or_else(|| {
            Err(ApiError { code: "unavailable".into(), message: "the agent is stopping; ask again".into() })
        })?;
        for (verdict, compiled) in [&mut reply.egress, &mut reply.ingress].into_iter().zip(compiled) {
            if let (Some(verdict), Some((chain, rules))) = (verdict, compiled) {
                verdict.kernel = self.counted(chain, rules).await;
            }
        }
        if let Some(route) = &mut reply.route {
            *route = format!("from {}: {route}", self.config.node);
        }
        if trace {
            reply.trace = Some(self.trace(&source, &reply, protocol).await?);
        }
        for (name, status) in self.planes() {
            if !status.in_sync {
                reply.notes.push(format!("{name} is not in sync with the kernel: packets may meet something else"));
            }
        }
        Ok(reply)
    }

    /// What the kernel says of these rules of a chain.
    async fn counted(&self, chain: ChainKey, rules: Vec<String>) -> Option<KernelRule> {
        let name = chain.name.clone();
        let counters = self.hands.rules.counters(chain).await.ok()?;
        let of_rule: Vec<_> = counters.iter().filter(|counter| rules.contains(&counter.rule)).collect();
        let packets = of_rule.iter().map(|counter| counter.packets).sum();
        let bytes = of_rule.iter().map(|counter| counter.bytes).sum();
        Some(KernelRule { chain: name, rules, packets, bytes })
    }
}

/// Of each end, egress first: where the deciding rule stands on this node.
type Compiled = [Option<(ChainKey, Vec<String>)>; 2];

/// What the loop knows: the answer so far, and who sends.
type Known = (ExplainReply, Compiled, Side);

fn read_protocol(text: &str) -> Result<Protocol, ApiError> {
    let number = || text.parse().ok().map(Protocol);
    Protocol::from_name(text).or_else(number).ok_or_else(|| {
        let message = format!("unknown protocol `{text}`: expected tcp, udp, sctp, icmp, icmpv6, udplite or a number");
        invalid(message)
    })
}

pub(super) fn invalid(message: String) -> ApiError {
    ApiError { code: "invalid".into(), message }
}

fn explain(
    desired: &Desired,
    answering: &NodeName,
    from: &str,
    to: &str,
    protocol: Protocol,
    port: Option<u16>,
    mtu: u32,
) -> Result<Known, ApiError> {
    let policy = desired.policy();
    let resolve = |word: &str| policy.resolve(word).map_err(|error| invalid(error.to_string()));
    let flow = Flow {
        source: resolve(from)?,
        destination: resolve(to)?,
        family: None,
        protocol,
        source_port: None,
        port,
        icmp: None,
    };
    let explanation = policy.explain(&flow).map_err(|error| invalid(error.to_string()))?;
    let end = |side: &Side, name: &str, end: &End| {
        matches!(side, Side::Workload(..)).then(|| EndVerdict {
            endpoint: name.to_string(),
            allowed: end.verdict == Verdict::Allow,
            decided_by: end.why.clone(),
            trail: end.steps.clone(),
            kernel: None,
        })
    };
    let (route, mtu) = match route_to(desired, explanation.destination_address) {
        Some((text, tunnel)) => (Some(text), tunnel.and_then(|kind| desired.tunnel_mtu(kind)).unwrap_or(mtu).min(mtu)),
        None => (None, mtu),
    };
    let notes = match &flow.source {
        Side::Workload(node, _) if node != answering => {
            vec![format!("the route is this node's, {answering}; for the sender's, ask on {node}")]
        }
        _ => Vec::new(),
    };
    let staged = policy.explain_staged(&flow).map_err(|error| invalid(error.to_string()))?;
    let staged = staged
        .filter(|staged| staged.differs_from(&explanation))
        .map(|staged| StagedVerdict { allowed: staged.verdict == Verdict::Allow, decided_by: staged.decided_by() });
    let hosts = explanation.hosts.iter().map(|host| EndVerdict {
        endpoint: format!("{}, {}", host.host_endpoint, host.place),
        allowed: host.end.verdict == Verdict::Allow,
        decided_by: host.end.why.clone(),
        trail: host.end.steps.clone(),
        kernel: None,
    });
    let family = Family::of(explanation.source_address);
    let compiled = |side: &Side, direction, end: &End| match (side, &end.rule) {
        (Side::Workload(node, _), Some(rule)) if node == answering => {
            policy.compiled_rule(family, direction, &rule.policy, rule.number - 1)
        }
        _ => None,
    };
    let compiled = [
        compiled(&flow.source, Direction::Egress, &explanation.egress),
        compiled(&flow.destination, Direction::Ingress, &explanation.ingress),
    ];
    let reply = ExplainReply {
        hosts: hosts.collect(),
        staged,
        egress: end(&flow.source, &explanation.source, &explanation.egress),
        ingress: end(&flow.destination, &explanation.destination, &explanation.ingress),
        from: explanation.source,
        to: explanation.destination,
        source: explanation.source_address,
        destination: explanation.destination_address,
        protocol: protocol.to_string(),
        port,
        allowed: explanation.verdict == Verdict::Allow,
        route,
        mtu: Some(mtu),
        notes,
        trace: None,
    };
    Ok((reply, compiled, flow.source))
}

/// The way from this host, by the routes that it wants: the longest prefix; and the tunnel that it leads through.
fn route_to(desired: &Desired, address: IpAddr) -> Option<(String, Option<TunnelKind>)> {
    let state = desired.routes();
    let bits = Cidr::host(address).length();
    let (key, route) = (0..=bits).rev().find_map(|length| {
        let dst = Cidr::new(address, length).ok()?;
        let range = RouteKey { dst, metric: 0 }..=RouteKey { dst, metric: u32::MAX };
        state.range(range).next()
    })?;
    let text = match route {
        Route::Local { dev, .. } => format!("local, dev {dev}"),
        Route::Blackhole => format!("no workload has it: blackhole {}", key.dst),
        Route::Unreachable => format!("nobody announces it: unreachable {}", key.dst),
        Route::Learned { via, .. } => {
            let hops: Vec<String> = via.iter().map(IpAddr::to_string).collect();
            format!("via {} (BGP, {})", hops.join(" and "), key.dst)
        }
        Route::Tunnelled { kind, via, .. } => {
            let hops: Vec<String> = via.iter().map(IpAddr::to_string).collect();
            format!("in a tunnel ({kind}) to {} (BGP, {})", hops.join(" and "), key.dst)
        }
    };
    let tunnel = match route {
        Route::Tunnelled { kind, .. } => Some(*kind),
        _ => None,
    };
    Some((text, tunnel))
}
