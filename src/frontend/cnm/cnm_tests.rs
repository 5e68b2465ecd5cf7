use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use async_trait::async_trait;
use routenet_core::model::{
    Attachment, Endpoint, EndpointKey, Isolation, Labels, Network, NetworkName, NodeName, Pool, PoolName,
};

use super::*;
use crate::frontend::{AttachRequest, Failed, NetworkRequest, Plug, PoolRequest, Reserved, Revision};

/// An agent that remembers what it was asked.
#[derive(Default)]
struct Fake {
    attached: Mutex<Vec<AttachRequest>>,
    detached: Mutex<Vec<EndpointKey>>,
    left: Mutex<Vec<String>>,
    /// What an earlier run joined and did not note.
    lost: Mutex<Vec<String>>,
    reserved: Mutex<BTreeSet<EndpointKey>>,
    notes: Mutex<BTreeMap<String, String>>,
    refuses: Mutex<bool>,
}

#[async_trait]
impl Workloads for Fake {
    async fn attach(&self, request: AttachRequest) -> Result<Endpoint, AttachError> {
        if *self.refuses.lock().unwrap() {
            return Err(AttachError::new(Failed::PoolFull, "no address is left", "add a pool"));
        }
        if self.attached("cnm").await.contains(&request.key) {
            return Err(AttachError::new(Failed::InterfaceExists, "attached already", "detach it first"));
        }
        let endpoint = Endpoint {
            key: request.key.clone(),
            node: NodeName::new("h1").unwrap(),
            namespace: request.identity.namespace.clone(),
            name: request.identity.name.clone(),
            labels: Labels::new(),
            service_account: None,
            profiles: None,
            ports: Vec::new(),
            addresses: request.addresses.clone(),
            interface: None,
            attachment: Some(Attachment::new(request.netns.clone(), [2; 6], 1500)),
        };
        self.attached.lock().unwrap().push(request);
        Ok(endpoint)
    }

    async fn revise(&self, _: &EndpointKey, _: Revision) -> Result<(), AttachError> {
        Ok(())
    }

    async fn detach(&self, key: &EndpointKey) -> Result<(), AttachError> {
        self.detached.lock().unwrap().push(key.clone());
        Ok(())
    }

    async fn check(&self, key: &EndpointKey, _: &str) -> Result<Endpoint, AttachError> {
        Err(AttachError::new(Failed::Unknown, key.to_string(), "attach it"))
    }

    async fn attached(&self, _: &str) -> Vec<EndpointKey> {
        let detached = self.detached.lock().unwrap().clone();
        let attached = self.attached.lock().unwrap().iter().map(|request| request.key.clone()).collect::<Vec<_>>();
        attached.into_iter().filter(|key| !detached.contains(key)).collect()
    }

    async fn ready(&self, _: &NetworkName) -> Result<(), AttachError> {
        Ok(())
    }
}

#[async_trait]
impl Networks for Fake {
    async fn join_pool(&self, request: &PoolRequest) -> Result<Pool, AttachError> {
        let cidr = request.cidr.unwrap_or_else(|| request.bases[0].0);
        Ok(Pool {
            name: PoolName::new(format!("p-{}", cidr.length())).unwrap(),
            cidr,
            block_size: 26,
            disabled: false,
            node_selector: "all()".into(),
            unreachable_route: true,
            encapsulation: Default::default(),
            nat_outgoing: false,
        })
    }

    async fn leave_pool(&self, name: &PoolName) -> Result<(), AttachError> {
        self.left.lock().unwrap().push(format!("pool {name}"));
        Ok(())
    }

    async fn join_network(&self, request: &NetworkRequest) -> Result<(Network, Vec<Pool>), AttachError> {
        let name = request.name.clone().unwrap_or_else(|| NetworkName::new("net").unwrap());
        Ok((Network { name, pools: request.pools.clone(), isolation: Isolation::Network }, Vec::new()))
    }

    async fn leave_network(&self, name: &NetworkName) -> Result<(), AttachError> {
        self.left.lock().unwrap().push(format!("network {name}"));
        Ok(())
    }

    async fn leave_others(
        &self,
        networks: &BTreeSet<NetworkName>,
        pools: &BTreeSet<PoolName>,
    ) -> Result<(), AttachError> {
        if *self.refuses.lock().unwrap() {
            return Err(AttachError::new(Failed::TryAgain, "the store is away", "repeat it"));
        }
        let is_known =
            |name: &String| networks.iter().any(|n| n.as_str() == name) || pools.iter().any(|p| p.as_str() == name);
        let lost = std::mem::take(&mut *self.lost.lock().unwrap());
        self.left.lock().unwrap().extend(lost.into_iter().filter(|name| !is_known(name)));
        Ok(())
    }

    async fn reserve(&self, pool: &PoolName, address: Option<IpAddr>) -> Result<Reserved, AttachError> {
        let key = reservation(pool.as_str(), "reserved");
        self.reserved.lock().unwrap().insert(key.clone());
        let address = address.unwrap_or_else(|| "10.9.0.5".parse().unwrap());
        let rested = self.left.lock().unwrap().is_empty();
        Ok(Reserved { key, address, rested })
    }

    async fn unreserve(&self, key: &EndpointKey) -> Result<(), AttachError> {
        self.reserved.lock().unwrap().remove(key);
        self.left.lock().unwrap().push(format!("reservation in {}", key.network));
        Ok(())
    }

    fn reservations(&self) -> Vec<EndpointKey> {
        self.reserved.lock().unwrap().iter().cloned().collect()
    }
}

fn reservation(pool: &str, id: &str) -> EndpointKey {
    EndpointKey {
        network: NetworkName::new(pool).unwrap(),
        container_id: id.into(),
        ifname: routenet_core::model::InterfaceName::new("reserved").unwrap(),
    }
}

#[async_trait]
impl Notes for Fake {
    async fn write(&self, notes: Vec<(String, Option<String>)>) -> Result<(), AttachError> {
        let mut known = self.notes.lock().unwrap();
        for (name, text) in notes {
            match text {
                Some(text) => known.insert(name, text),
                None => known.remove(&name),
            };
        }
        Ok(())
    }
}

async fn driver_of(fake: &Arc<Fake>) -> Driver {
    let config = CnmConfig {
        api: "/nowhere/docker.sock".into(),
        bases: vec![("10.208.0.0/20".parse().unwrap(), 20)],
        cooldown: Duration::from_secs(30),
    };
    let hosts = Hosts { workloads: fake.clone(), networks: fake.clone(), notes: fake.clone() };
    let notes: Vec<(String, String)> =
        fake.notes.lock().unwrap().iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    Driver::start(config, hosts, &notes).await.unwrap()
}

async fn call(driver: &Driver, path: &str, body: Value) -> Result<Value, String> {
    driver.call(path, body.to_string().as_bytes()).await.map_err(|refusal| refusal.message)
}

async fn network(driver: &Driver) {
    call(driver, "/IpamDriver.RequestPool", json!({ "Pool": "10.9.0.0/16", "V6": false, "Options": null }))
        .await
        .unwrap();
    let data = json!({ "NetworkID": "n1", "IPv4Data": [{ "Pool": "10.9.0.0/16" }], "IPv6Data": null });
    call(driver, "/NetworkDriver.CreateNetwork", data).await.unwrap();
}

/// Up to Join; answers what that said.
async fn joined(driver: &Driver, id: &str, sandbox: &str) -> Result<Value, String> {
    call(driver, "/IpamDriver.RequestAddress", json!({ "PoolID": "routenet/p-16", "Address": "" })).await?;
    let created = json!({ "NetworkID": "n1", "EndpointID": id, "Interface": { "Address": "10.9.0.5/32" } });
    call(driver, "/NetworkDriver.CreateEndpoint", created).await?;
    let join = json!({ "NetworkID": "n1", "EndpointID": id, "SandboxKey": sandbox });
    call(driver, "/NetworkDriver.Join", join).await
}

#[tokio::test]
async fn the_way_of_a_container() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    let reply = joined(&driver, "e1", "/var/run/docker/netns/abc").await.unwrap();
    assert_eq!(reply["Gateway"], "169.254.1.1");
    assert_eq!(reply["StaticRoutes"][0], json!({ "Destination": "169.254.1.1/32", "RouteType": 1 }));
    assert_eq!(reply["InterfaceName"]["DstPrefix"], "eth");
    let request = fake.attached.lock().unwrap()[0].clone();
    assert_eq!((request.key.container_id.as_str(), request.plug), ("abc", Plug::HandedOver { next_hop: 1 }));
    assert_eq!(request.identity.labels, None, "closed until Docker says who it is");
    assert_eq!(request.reservations.len(), 1);

    let second = joined(&driver, "e2", "/var/run/docker/netns/abc").await.unwrap();
    assert_eq!(second["Gateway"], "169.254.1.2", "one container needs another next hop for each network");

    call(&driver, "/NetworkDriver.Leave", json!({ "NetworkID": "n1", "EndpointID": "e1" })).await.unwrap();
    for _ in 0..2 {
        let deleted = json!({ "NetworkID": "n1", "EndpointID": "e1" });
        call(&driver, "/NetworkDriver.DeleteEndpoint", deleted).await.unwrap();
    }
    assert_eq!(fake.detached.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn docker_is_told_what_the_driver_is_and_what_it_did() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    // Without a body, as Docker asks.
    let ask = async |path: &str| driver.call(path, b"").await.map_err(|refusal| refusal.message).unwrap();
    assert_eq!(ask("/Plugin.Activate").await, json!({ "Implements": ["NetworkDriver", "IpamDriver"] }));
    assert_eq!(
        ask("/NetworkDriver.GetCapabilities").await,
        json!({ "Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": true })
    );
    assert_eq!(
        ask("/IpamDriver.GetCapabilities").await,
        json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false })
    );
    for method in ["DiscoverNew", "DiscoverDelete"] {
        let node = json!({ "DiscoveryType": 1, "DiscoveryData": { "Address": "192.0.2.2", "Self": false } });
        assert_eq!(call(&driver, &format!("/NetworkDriver.{method}"), node).await.unwrap(), json!({}));
    }

    network(&driver).await;
    joined(&driver, "e1", "/var/run/docker/netns/abc").await.unwrap();
    let of = json!({ "NetworkID": "n1", "EndpointID": "e1" });
    let host_interface = fake.attached.lock().unwrap()[0].key.host_interface().to_string();
    assert_eq!(
        call(&driver, "/NetworkDriver.EndpointOperInfo", of).await.unwrap(),
        json!({ "Value": { "routenet.interface": host_interface, "routenet.ports": [] } })
    );
}

#[tokio::test]
async fn all_is_known_after_a_restart() {
    let fake = Arc::new(Fake::default());
    let before = driver_of(&fake).await;
    network(&before).await;
    joined(&before, "e1", "/var/run/docker/netns/abc").await.unwrap();
    drop(before);
    let after = driver_of(&fake).await;
    call(&after, "/NetworkDriver.Leave", json!({ "NetworkID": "n1", "EndpointID": "e1" })).await.unwrap();
    assert_eq!(fake.detached.lock().unwrap()[0].container_id, "abc");
}

#[tokio::test]
async fn what_was_reserved_and_never_noted_is_released_at_the_next_start() {
    let fake = Arc::new(Fake::default());
    let before = driver_of(&fake).await;
    network(&before).await;
    call(&before, "/IpamDriver.RequestAddress", json!({ "PoolID": "routenet/p-16", "Address": "" })).await.unwrap();
    drop(before);
    // Killed between the two.
    fake.reserved.lock().unwrap().insert(reservation("killed", "reserved-1"));
    let after = driver_of(&fake).await;
    assert_eq!(fake.reservations(), [reservation("p-16", "reserved")], "what Docker was told of stays");
    assert_eq!(*fake.left.lock().unwrap(), ["reservation in killed"]);
    assert_eq!(after.noted_keys(), BTreeSet::from([reservation("p-16", "reserved")]));
}

#[tokio::test]
async fn a_pool_may_be_released_before_or_after_its_network() {
    for pool_first in [true, false] {
        let fake = Arc::new(Fake::default());
        let driver = driver_of(&fake).await;
        network(&driver).await;
        let pool = ("/IpamDriver.ReleasePool", json!({ "PoolID": "routenet/p-16" }));
        let network = ("/NetworkDriver.DeleteNetwork", json!({ "NetworkID": "n1" }));
        let calls = if pool_first { [pool, network] } else { [network, pool] };
        for (path, body) in calls {
            call(&driver, path, body).await.unwrap();
        }
        assert_eq!(*fake.left.lock().unwrap(), ["network net", "pool p-16"], "pool first: {pool_first}");
        assert!(fake.notes.lock().unwrap().is_empty(), "nothing is remembered");
    }
}

#[tokio::test]
async fn what_was_joined_and_never_noted_is_left_before_the_next_call_that_joins() {
    let fake = Arc::new(Fake::default());
    network(&driver_of(&fake).await).await;
    // Killed between joining and noting, beside what is noted.
    *fake.lost.lock().unwrap() = ["net", "lost", "p-16"].map(String::from).to_vec();
    *fake.refuses.lock().unwrap() = true;
    let driver = driver_of(&fake).await;
    let request = json!({ "Pool": "10.10.0.0/24" });
    let error = call(&driver, "/IpamDriver.RequestPool", request.clone()).await.unwrap_err();
    assert!(error.contains("the store is away"), "{error}");
    *fake.refuses.lock().unwrap() = false;
    call(&driver, "/IpamDriver.RequestPool", request).await.unwrap();
    assert_eq!(*fake.left.lock().unwrap(), ["lost"], "what is noted stays");
    *fake.lost.lock().unwrap() = vec!["joined by a call that goes on".to_string()];
    call(&driver, "/IpamDriver.RequestPool", json!({ "Pool": "10.11.0.0/25" })).await.unwrap();
    assert_eq!(fake.left.lock().unwrap().len(), 1, "once");
}

#[tokio::test]
async fn a_network_that_docker_never_heard_of_is_in_nobodys_way() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    // The answer to CreateNetwork was lost: Docker takes back what it had asked for before, and is asked again.
    let release = json!({ "PoolID": "routenet/p-16" });
    call(&driver, "/IpamDriver.ReleasePool", release.clone()).await.unwrap();
    let request = json!({ "Pool": "10.9.0.0/16" });
    call(&driver, "/IpamDriver.RequestPool", request.clone()).await.unwrap();
    assert_eq!(*fake.left.lock().unwrap(), ["network net", "pool p-16"]);
    let data = json!({ "NetworkID": "n2", "IPv4Data": [{ "Pool": "10.9.0.0/16" }] });
    call(&driver, "/NetworkDriver.CreateNetwork", data).await.unwrap();

    let used = json!({ "NetworkID": "n2", "EndpointID": "e1", "Interface": { "Address": "10.9.0.5/32" } });
    call(&driver, "/NetworkDriver.CreateEndpoint", used).await.unwrap();
    call(&driver, "/IpamDriver.ReleasePool", release).await.unwrap();
    let error = call(&driver, "/IpamDriver.RequestPool", request).await.unwrap_err();
    assert!(error.contains("belongs to the Docker network n2"), "with an endpoint it is not given up: {error}");
}

#[tokio::test]
async fn a_join_that_fails_is_followed_by_no_leave() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    *fake.refuses.lock().unwrap() = true;
    let error = joined(&driver, "e1", "/var/run/docker/netns/abc").await.unwrap_err();
    assert_eq!(error, "no address is left (add a pool)");
    call(&driver, "/NetworkDriver.DeleteEndpoint", json!({ "NetworkID": "n1", "EndpointID": "e1" })).await.unwrap();
    call(&driver, "/IpamDriver.ReleaseAddress", json!({ "PoolID": "p", "Address": "10.9.0.5" })).await.unwrap();
    assert_eq!(*fake.left.lock().unwrap(), ["reservation in p-16"]);
}

#[tokio::test]
async fn a_call_that_comes_again_after_its_answer_was_lost_is_answered_as_the_first_and_forgets_nothing() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    let create = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.5/32" } });
    let join = json!({ "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "/var/run/docker/netns/abc" });
    let created = call(&driver, "/NetworkDriver.CreateEndpoint", create.clone()).await.unwrap();
    let joined = call(&driver, "/NetworkDriver.Join", join.clone()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(call(&driver, "/NetworkDriver.CreateEndpoint", create.clone()).await.as_ref(), Ok(&created));
        assert_eq!(call(&driver, "/NetworkDriver.Join", join.clone()).await.as_ref(), Ok(&joined));
    }
    assert_eq!(fake.attached.lock().unwrap().len(), 1);

    let other = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.6/32" } });
    let error = call(&driver, "/NetworkDriver.CreateEndpoint", other).await.unwrap_err();
    assert!(error.contains("endpoint e1 is in a container already"), "{error}");
    *fake.refuses.lock().unwrap() = true;
    let error = call(&driver, "/NetworkDriver.Join", join).await.unwrap_err();
    assert_eq!(error, "no address is left (add a pool)", "another refusal is passed on");
    call(&driver, "/NetworkDriver.Leave", json!({ "NetworkID": "n1", "EndpointID": "e1" })).await.unwrap();
    assert_eq!(fake.detached.lock().unwrap().len(), 1, "Leave finds it after all that");
}

#[tokio::test]
async fn an_address_that_no_container_had_closes_nobody_and_one_that_a_container_had_does() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    let address: IpAddr = "10.9.0.5".parse().unwrap();
    let request = json!({ "PoolID": "routenet/p-16", "Address": "10.9.0.5" });
    let ask = async || {
        call(&driver, "/IpamDriver.RequestAddress", request.clone()).await.unwrap();
        driver.state().addresses[&address].rests.as_ref().map(|rest| rest.until)
    };
    assert_eq!(ask().await, None, "nobody had it");
    call(&driver, "/IpamDriver.ReleaseAddress", request.clone()).await.unwrap();
    assert_eq!(ask().await, Some(0), "given back unused, it is as it was");

    // Killed within Join: what was reserved is an endpoint's, and the note of the address is there yet.
    driver.0.state.lock().unwrap().last.clear();
    fake.reserved.lock().unwrap().clear();
    call(&driver, "/IpamDriver.ReleaseAddress", request.clone()).await.unwrap();
    let closed = ask().await.expect("who comes next waits");
    assert!(closed > now(), "{closed}");
    call(&driver, "/IpamDriver.ReleaseAddress", request.clone()).await.unwrap();
    assert_eq!(ask().await, Some(closed), "and asking twice does not shorten it");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words() {
    let fake = Arc::new(Fake::default());
    let driver = driver_of(&fake).await;
    network(&driver).await;
    let cases = [
        (
            "/IpamDriver.RequestPool",
            json!({ "Pool": "10.9.0.0/16" }),
            "subnet 10.9.0.0/16 belongs to the Docker network n1",
        ),
        ("/IpamDriver.RequestPool", json!({ "Pool": "10.9.0.1/16" }), "--subnet 10.9.0.1/16: "),
        (
            "/IpamDriver.RequestPool",
            json!({ "Pool": "10.8.0.0/16", "SubPool": "10.8.1.0/24" }),
            "--ip-range cannot be used",
        ),
        ("/IpamDriver.RequestPool", json!({ "Options": { "pool": "x" } }), "unknown --ipam-opt pool"),
        ("/IpamDriver.RequestAddress", json!({ "PoolID": "strange" }), "routenet knows no pool strange: "),
        (
            "/IpamDriver.RequestAddress",
            json!({ "PoolID": "routenet/p-16", "Address": "10.9.0.1", "Options": { "RequestAddressType": "com.docker.network.gateway" } }),
            "--gateway 10.9.0.1 cannot be used",
        ),
        (
            "/NetworkDriver.CreateNetwork",
            json!({ "NetworkID": "n2", "IPv4Data": [{ "Pool": "172.18.0.0/16" }] }),
            "create the network with --ipam-driver routenet",
        ),
        (
            "/NetworkDriver.CreateNetwork",
            json!({ "NetworkID": "n2", "Options": { "com.docker.network.generic": { "mtu": "9" } } }),
            "unknown option -o mtu: routenet knows ",
        ),
        ("/NetworkDriver.Join", json!({ "EndpointID": "e9", "SandboxKey": "/x" }), "routenet knows no endpoint e9: "),
        (
            "/NetworkDriver.CreateEndpoint",
            json!({ "NetworkID": "n9", "EndpointID": "e9" }),
            "routenet knows no Docker network n9: ",
        ),
        ("/NetworkDriver.AllocateNetwork", json!({}), "routenet has no method NetworkDriver.AllocateNetwork"),
    ];
    for (path, body, expected) in cases {
        let error = call(&driver, path, body.clone()).await.unwrap_err();
        assert!(error.contains(expected), "{path} {body}: {error}");
    }
    for (body, expected) in [("", "the call has no body: "), ("{\"Pool\": ", "the call cannot be read: ")] {
        let refusal = driver.call("/IpamDriver.RequestPool", body.as_bytes()).await.unwrap_err();
        assert!(refusal.status == 400 && refusal.message.starts_with(expected), "{refusal:?}");
    }
}
