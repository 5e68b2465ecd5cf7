//! NetworkDriver: endpoints. CreateEndpoint only notes what Join will need: before it there is no container to attach.

use std::net::IpAddr;

use routenet_core::desired::next_hops;
use routenet_core::model::{Cidr, EndpointKey, Family, InterfaceName, stable_hash};

use super::ipam::bare_address;
use super::messages::{
    self, CreateEndpoint, CreateEndpointReply, CreatedInterface, InfoReply, JoinReply, Nothing, OfEndpoint, StaticRoute,
};
use super::state::{Change, EndpointNote, Joined, NetworkNote, Rest};
use super::{Driver, Refusal, now};
use crate::frontend::{AttachRequest, Failed, Identity, Plug};

/// `RouteType` of [`StaticRoute`].
const BY_NEXT_HOP: u8 = 0;
const CONNECTED: u8 = 1;

/// Where Docker's endpoints live in the world of policies, unless a label of the container says otherwise.
pub(super) const NAMESPACE: &str = "default";
/// Who collects Docker's endpoints.
const REQUESTER: &str = "cnm";
/// The next hops of one container: as many networks can it be in.
const NEXT_HOPS: std::ops::RangeInclusive<u8> = 1..=250;

impl Driver {
    fn network(&self, id: &str) -> Result<NetworkNote, Refusal> {
        let known = self.state().networks.get(id).cloned();
        known.ok_or_else(|| Refusal::unknown("Docker network", id, "remove it and create it again"))
    }

    pub(super) fn endpoint(&self, id: &str) -> Result<EndpointNote, Refusal> {
        let known = self.state().endpoints.get(id).cloned();
        known.ok_or_else(|| Refusal::unknown("endpoint", id, "disconnect the container and connect it again"))
    }

    pub(super) async fn create_endpoint(&self, request: CreateEndpoint) -> Result<CreateEndpointReply, Refusal> {
        self.network(&request.network_id)?;
        let given = [&request.interface.address, &request.interface.address_ipv6];
        let given = given.into_iter().filter(|text| !text.is_empty());
        let addresses = given.map(|text| bare_address(text)).collect::<Result<Vec<IpAddr>, Refusal>>()?;
        if addresses.is_empty() {
            return Err(Refusal::bad("the endpoint has no address: create the network with --ipam-driver routenet"));
        }
        let chosen = request.interface.mac_address.is_empty();
        let mac = if chosen { mac_of(&request.endpoint_id) } else { read_mac(&request.interface.mac_address)? };
        let reply = CreateEndpointReply { interface: CreatedInterface { mac_address: chosen.then(|| mac_text(mac)) } };
        if let Some(known) = self.state().endpoints.get(&request.endpoint_id) {
            if (&known.network_id, &known.addresses, known.mac) == (&request.network_id, &addresses, mac) {
                // The answer was lost: what has become known of it since stays.
                return Ok(reply);
            }
            if known.joined.is_some() {
                return Err(Refusal::bad(format!(
                    "endpoint {} is in a container already, with other addresses: disconnect the container first",
                    request.endpoint_id
                )));
            }
        }
        // Of two addresses that had other holders, what is stricter holds.
        let rests = {
            let state = self.state();
            let of = addresses.iter().filter_map(|address| state.addresses.get(address)?.rests.clone());
            of.reduce(|one, other| Rest {
                at: one.at.max(other.at),
                until: one.until.max(other.until),
                labels: if one.labels == other.labels { one.labels } else { None },
            })
        };
        let note = EndpointNote {
            network_id: request.network_id,
            addresses,
            mac,
            joined: None,
            published: Vec::new(),
            who: None,
            rests,
        };
        self.save(vec![Change::Endpoint(request.endpoint_id, Some(note))]).await?;
        Ok(reply)
    }

    pub(super) fn endpoint_info(&self, request: &OfEndpoint) -> Result<InfoReply, Refusal> {
        let note = self.endpoint(&request.endpoint_id)?;
        let mut value = std::collections::BTreeMap::new();
        if let Some(joined) = &note.joined {
            value.insert("routenet.interface".to_string(), joined.key.host_interface().to_string().into());
        }
        let ports = note.published.iter().map(ToString::to_string).collect::<Vec<_>>();
        value.insert("routenet.ports".to_string(), ports.into());
        Ok(InfoReply { value })
    }

    pub(super) async fn join(&self, request: OfEndpoint) -> Result<JoinReply, Refusal> {
        let mut note = self.endpoint(&request.endpoint_id)?;
        let network = self.network(&note.network_id)?;
        let earlier = note.joined.clone();
        let repeated = earlier.is_some();
        let joined = match earlier {
            Some(joined) => joined,
            None => self.place(&network, &request)?,
        };
        let reservations = {
            let state = self.state();
            note.addresses.iter().filter_map(|address| Some(state.addresses.get(address)?.key.clone())).collect()
        };
        if !repeated {
            // Before there is anything to find again.
            note.joined = Some(joined.clone());
            self.save(vec![Change::Endpoint(request.endpoint_id.clone(), Some(note.clone()))]).await?;
        }
        let attach = AttachRequest {
            key: joined.key.clone(),
            identity: Identity {
                namespace: NAMESPACE.to_string(),
                name: joined.key.container_id.clone(),
                labels: None,
            },
            netns: joined.sandbox.clone(),
            plug: Plug::HandedOver { next_hop: joined.next_hop },
            addresses: note.addresses.clone(),
            reservations,
            mac: Some(note.mac),
            mtu: network.mtu,
            published: Vec::new(),
            requester: Some(REQUESTER.to_string()),
        };
        if let Err(error) = self.0.hosts.workloads.attach(attach).await {
            if !repeated {
                note.joined = None;
                self.save(vec![Change::Endpoint(request.endpoint_id, Some(note))]).await?;
                return Err(error.into());
            }
            // The first Join may have done its work, and only its answer was lost. The note stays: by it Leave finds what
            // stands.
            let stands = error.kind == Failed::InterfaceExists
                && self.0.hosts.workloads.attached(REQUESTER).await.contains(&joined.key);
            if !stands {
                return Err(error.into());
            }
        }
        self.save(note.addresses.iter().map(|address| Change::Address(*address, None)).collect()).await?;
        self.identify(request.endpoint_id);
        Ok(answer(&joined, &network, &note.addresses))
    }

    /// Where the endpoint will stand: in the container that the sandbox is of, by a next hop of its own.
    fn place(&self, network: &NetworkNote, request: &OfEndpoint) -> Result<Joined, Refusal> {
        let sandbox = request.sandbox_key.rsplit('/').next().unwrap_or_default();
        if sandbox.is_empty() {
            return Err(Refusal::bad("Join names no sandbox (SandboxKey)"));
        }
        let state = self.state();
        let others = state.endpoints.values().filter_map(|other| other.joined.as_ref());
        let taken: Vec<u8> =
            others.filter(|other| other.sandbox == request.sandbox_key).map(|other| other.next_hop).collect();
        let next_hop = NEXT_HOPS.into_iter().find(|number| !taken.contains(number));
        let next_hop = next_hop.ok_or_else(|| Refusal::bad("the container is in as many networks as it can be"))?;
        let ifname = InterfaceName::new(format!("eth{}", next_hop - 1));
        let key = EndpointKey {
            network: network.network.clone(),
            container_id: sandbox.to_string(),
            ifname: ifname.map_err(|error| Refusal::bad(error.to_string()))?,
        };
        Ok(Joined { key, sandbox: request.sandbox_key.clone(), next_hop })
    }

    pub(super) async fn leave(&self, request: OfEndpoint) -> Result<Nothing, Refusal> {
        // Unknown: an earlier run was told already, or the state was lost; there is nothing to take away either way.
        self.unplug(&request.endpoint_id).await?;
        Ok(Nothing {})
    }

    /// After Leave, or without one where Join failed; once more is no error.
    pub(super) async fn delete_endpoint(&self, request: OfEndpoint) -> Result<Nothing, Refusal> {
        self.forget_endpoint(&request.endpoint_id).await?;
        Ok(Nothing {})
    }

    /// Takes the endpoint out of the kernel and releases its addresses.
    async fn unplug(&self, id: &str) -> Result<(), Refusal> {
        let joined = self.state().endpoints.get(id).and_then(|note| note.joined.clone());
        let Some(joined) = joined else { return Ok(()) };
        self.0.hosts.workloads.detach(&joined.key).await?;
        let _turn = self.0.amending.lock().await;
        // Asked anew: meanwhile it may have become known who it was.
        let Some(mut note) = self.state().endpoints.get(id).cloned() else { return Ok(()) };
        note.joined = None;
        let at = now();
        let rest = match note.who.take() {
            Some(who) => Rest { at, until: at + self.0.config.cooldown.as_secs() + 1, labels: Some(who.labels) },
            // It was never open, and nobody else has heard of it: only who was before it counts.
            None => Rest { at, ..note.rests.clone().unwrap_or_default() },
        };
        let last = note.addresses.iter().map(|address| Change::Last(*address, Some(rest.clone())));
        let mut changes: Vec<Change> = last.collect();
        note.published.clear();
        changes.push(Change::Endpoint(id.to_string(), Some(note)));
        self.save(changes).await
    }

    pub(super) async fn forget_endpoint(&self, id: &str) -> Result<(), Refusal> {
        self.unplug(id).await?;
        let _turn = self.0.amending.lock().await;
        self.save(vec![Change::Endpoint(id.to_string(), None)]).await
    }
}

/// What Docker is to do inside the container: take the link, and route through the next hop, which is on it.
fn answer(joined: &Joined, network: &NetworkNote, addresses: &[IpAddr]) -> JoinReply {
    let (gateway4, gateway6) = next_hops(joined.next_hop);
    let mut reply = JoinReply {
        interface_name: messages::InterfaceName {
            src_name: joined.key.waiting_interface().to_string(),
            dst_prefix: "eth".to_string(),
        },
        gateway: String::new(),
        gateway_ipv6: String::new(),
        static_routes: Vec::new(),
        disable_gateway_service: true,
    };
    for address in addresses {
        let family = Family::of(*address);
        let gateway = match family {
            Family::V4 => IpAddr::V4(gateway4),
            Family::V6 => IpAddr::V6(gateway6),
        };
        reply.static_routes.push(StaticRoute {
            destination: Cidr::host(gateway).to_string(),
            route_type: CONNECTED,
            next_hop: None,
        });
        // What is in this network is reached through it, also where another network has the default route.
        let of_family = network.prefixes.iter().filter(|prefix| prefix.family() == family);
        reply.static_routes.extend(of_family.map(|prefix| StaticRoute {
            destination: prefix.to_string(),
            route_type: BY_NEXT_HOP,
            next_hop: Some(gateway.to_string()),
        }));
        if !network.internal {
            match family {
                Family::V4 => reply.gateway = gateway.to_string(),
                Family::V6 => reply.gateway_ipv6 = gateway.to_string(),
            }
        }
    }
    reply
}

/// Locally administered, and the same for the same endpoint.
fn mac_of(endpoint_id: &str) -> [u8; 6] {
    let hash = u64::from_str_radix(&stable_hash(["cnm", endpoint_id], 10), 16).unwrap_or(0);
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn read_mac(text: &str) -> Result<[u8; 6], Refusal> {
    let bytes: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let mac = <[u8; 6]>::try_from(bytes).ok().filter(|mac| mac[0] & 1 == 0);
    mac.ok_or_else(|| Refusal::bad(format!("`{text}` is no MAC address of a single interface")))
}
