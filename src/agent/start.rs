//! From a configuration to a running agent, and its end. Called by `routenetd`.
//!
//! The order matters: what may be refused (journal, socket, name) comes before anything is written; nothing is written
//! to the kernel before the store, or the snapshot, was read; the whole of what is wanted is in the kernel before the
//! socket answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routenet_core::bgp::speaker::SpeakerConfig;
use routenet_core::desired::{ChainKey, Desired, FactDelta, Hook, Settings};
use routenet_core::model::config::{DockerConfig, NodeConfig, StoreConfig};
use routenet_core::model::{Fact, Family, Node, Object};
use tracing::{error, info, warn};

use super::allocator::{Allocator, AllocatorConfig};
use super::answers::Answers;
use super::attach::{LocalWorkloads, WorkloadMtu};
use super::cluster::ClusterView;
use super::engine::{Engine, Hands};
use super::followers;
use super::health::{Health, SILENCE, epoch_seconds};
use super::local_api::Server;
use super::local_api::access::AccessRules;
use super::mesh::Mesh;
use super::neighbours::LastLook;
use super::networks::LocalNetworks;
use super::notes::JournalNotes;
use super::peering::{Peering, PeeringConfig};
use super::publisher::Publisher;
use super::signals::{Asked, Signals};
use super::sync::{ClusterChange, ClusterSync, SyncState};
use super::underlay::{Underlay, UnderlayMtu, Unresolved};
use super::{Agent, tunnels, underlay};
use crate::frontend::cnm;
use crate::plane::interfaces::{self, Addresses};
use crate::plane::iptables::Backend;
use crate::plane::link::LinkPlane;
use crate::plane::route::RoutePlane;
use crate::plane::rules::{RulesConfig, RulesPlane};
use crate::plane::tunnel::TunnelPlane;
use crate::plane::{PlaneError, conntrack, reach, sysctl};
use crate::store::{ClusterStore, EmbeddedStore, EtcdStore, Journal, NoneStore, Snapshot, StoreError};

/// Why the agent cannot run; each text says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plane(#[from] PlaneError),
    #[error(transparent)]
    Socket(#[from] super::local_api::SocketError),
    #[error(transparent)]
    Docker(#[from] cnm::SocketError),
}

/// Between two attempts to bring the frame of the chains into the kernel.
const RULES_RETRY: Duration = Duration::from_secs(1);
/// Between two looks for the host's addresses.
const ADDRESS_RETRY: Duration = Duration::from_millis(100);

/// Runs the agent until SIGTERM or SIGINT; `read`: the node's file as it is now, or what is wrong with it, for SIGHUP.
/// Whatever ends it, links, routes and chains stay as they are.
pub async fn run(config: NodeConfig, read: impl Fn() -> Result<NodeConfig, String>) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Refused)?;
    let access = AccessRules::from_config(&config.api).map_err(StartError::Refused)?;
    let journal = Arc::new(Journal::open(&config.paths.state.join("journal.db"))?);
    let server = Server::bind(&config.paths.socket, access).await?;
    let answers = Answers::waiting_for("the host's addresses are being looked for");
    let serving = tokio::spawn(server.serve(Arc::new(answers.clone())));

    let starting = start(config, journal, &answers);
    let outcome = tokio::select! {
        outcome = starting => outcome,
        () = signals.stop() => {
            info!("stopped before the start was done");
            serving.abort();
            let _ = serving.await;
            return Ok(());
        }
    };
    let (agent, none) = match outcome {
        Ok(started) => started,
        Err(error) => {
            serving.abort();
            let _ = serving.await;
            return Err(error);
        }
    };
    let serving_docker = serve_docker(&agent).await?;
    answers.ready(agent.clone());
    info!(node = %agent.config.node, socket = %agent.config.paths.socket.display(), "ready");
    loop {
        match signals.next().await {
            Asked::Stop => break,
            Asked::Reload => agent.reload(none.as_deref(), read()),
        }
    }
    // Without a NOTIFICATION: neighbours keep the routes until we are back (RFC 4724).
    agent.hands.peering.stop().await;
    if let Some(serving) = serving_docker {
        serving.abort();
        let _ = serving.await;
    }
    serving.abort();
    let _ = serving.await;
    info!("stopped; links, routes and rules stay");
    Ok(())
}

/// Opens the plugin's socket, where Docker is served.
async fn serve_docker(agent: &Arc<Agent>) -> Result<Option<tokio::task::JoinHandle<()>>, StartError> {
    let (Some(driver), Some(config)) = (&agent.docker, &agent.config.docker) else { return Ok(None) };
    let server = cnm::Server::bind(&config.socket).await?;
    info!(socket = %config.socket.display(), "serving Docker");
    let driver = driver.clone();
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = server.serve(driver).await {
            error!(%error, "the socket for Docker is served no more");
        }
    })))
}

async fn start(
    config: NodeConfig,
    journal: Arc<Journal>,
    answers: &Answers,
) -> Result<(Arc<Agent>, Option<Arc<NoneStore>>), StartError> {
    let underlay = wait_for_underlay(&config, answers).await?;
    answers.now_waiting_for("the cluster store is being read");
    let (store, none) = open_store(&config)?;
    let snapshot = Snapshot::open(&config.paths.state.join("snapshot.db"))?;
    let mut sync = ClusterSync::spawn(store.clone(), snapshot, config.node.clone()).await;
    let cluster = Arc::new(ClusterView::default());
    sync.initial.changes.iter().for_each(|change| cluster.take(change));
    wait_for_facts(&mut sync, &cluster, &store, answers).await;

    let incarnation = journal.incarnation().to_string();
    refuse_a_second_agent(&cluster, &config, &incarnation)?;
    let allocator = start_allocator(&config, &store, &journal, &cluster).await?;

    let (mesh, speaker) = Mesh::start(&config, &underlay, &cluster);
    let node = own_node(&config, &underlay, &speaker, &incarnation);
    let mut desired = Desired::new(&settings(&config, &underlay, none.is_some()));
    desired.apply(&initial_facts(&sync.initial.changes, &allocator));
    desired.apply(&initial_ways(&cluster, &config));
    let interfaces = initial_interfaces();
    let held = interfaces.iter().map(|(name, held)| FactDelta::HostAddresses(name.clone(), Some(held.clone())));
    desired.apply(&held.collect::<Vec<_>>());
    answers.now_waiting_for("links, routes and rules are being compared with the kernel");
    let (hands, events) = bring_up(&config, &desired, &cluster, speaker).await?;

    let engine = Engine::spawn(desired, hands.clone());
    let publisher =
        Publisher::spawn(store.clone(), allocator.clone(), Arc::new(|addresses| conntrack::flush(addresses).map(drop)));
    publisher.publish(&Fact::Object(Object::Node(node.clone())));
    let mtu = config.workloads.mtu.unwrap_or(underlay.mtu);
    let workloads = Arc::new(LocalWorkloads::new(
        config.node.clone(),
        WorkloadMtu { given: config.workloads.mtu, underlay: underlay.mtu, outer_is_ipv4: underlay.ipv4.is_some() },
        allocator.clone(),
        cluster.clone(),
        engine.clone(),
        hands.links.clone(),
        hands.rules.clone(),
    ));
    let docker = match &config.docker {
        Some(docker) => Some(start_docker(&config, docker, &underlay, &store, &journal, &allocator, &workloads).await?),
        None => None,
    };
    let underlay_mtu = UnderlayMtu::follow(config.clone(), &underlay);
    let agent = Arc::new(Agent {
        config,
        node,
        incarnation,
        mtu,
        underlay_mtu,
        started: Instant::now(),
        store,
        cluster,
        allocator,
        engine,
        hands,
        workloads,
        docker,
        publisher,
        sync_status: sync.status.clone(),
        health: Health::default(),
        progress: Default::default(),
        mesh,
        neighbours: LastLook::default(),
        drained: false.into(),
        reload: Default::default(),
        store_state: Default::default(),
    });
    followers::spawn(&agent, sync, events, interfaces);
    Ok((agent, none))
}

async fn start_allocator(
    config: &NodeConfig,
    store: &Arc<dyn ClusterStore>,
    journal: &Arc<Journal>,
    cluster: &ClusterView,
) -> Result<Arc<Allocator>, StartError> {
    let settings = AllocatorConfig {
        node: config.node.clone(),
        labels: config.labels.clone(),
        cooldown: Duration::from_secs(config.workloads.address_cooldown.into()),
    };
    let allocator = Arc::new(Allocator::start(store.clone(), journal.clone(), settings)?);
    allocator.set_reserved(cluster.reserved());
    if let Err(error) = allocator.reconcile().await {
        warn!(%error, "own blocks cannot be compared with the store yet");
    }
    Ok(allocator)
}

/// The driver for Docker's networks; its socket is another matter, and opened when the agent stands.
async fn start_docker(
    config: &NodeConfig,
    docker: &DockerConfig,
    underlay: &Underlay,
    store: &Arc<dyn ClusterStore>,
    journal: &Arc<Journal>,
    allocator: &Arc<Allocator>,
    workloads: &Arc<LocalWorkloads>,
) -> Result<cnm::Driver, StartError> {
    const FRONT_END: &str = "cnm";
    let own = underlay.ipv4.map(IpAddr::V4).into_iter().chain(underlay.ipv6.map(IpAddr::V6)).collect();
    let notes = journal.load()?.notes.into_iter();
    let notes: Vec<(String, String)> =
        notes.filter(|(front_end, ..)| front_end == FRONT_END).map(|(_, name, text)| (name, text)).collect();
    let hosts = cnm::Hosts {
        workloads: workloads.clone(),
        networks: Arc::new(LocalNetworks::new(config.node.clone(), own, store.clone(), allocator.clone())),
        notes: Arc::new(JournalNotes::new(FRONT_END, journal.clone())),
    };
    let driver = cnm::CnmConfig {
        api: docker.api.clone(),
        bases: docker.address_pools.iter().map(|pool| (pool.base, pool.size)).collect(),
        cooldown: Duration::from_secs(config.workloads.address_cooldown.into()),
    };
    cnm::Driver::start(driver, hosts, &notes).await.map_err(StartError::Refused)
}

/// The store, and the same again where it is the node's own file, which can be read again.
type Opened = (Arc<dyn ClusterStore>, Option<Arc<NoneStore>>);

fn open_store(config: &NodeConfig) -> Result<Opened, StartError> {
    match &config.store {
        StoreConfig::Embedded { path } => Ok((Arc::new(EmbeddedStore::new(path)), None)),
        StoreConfig::Etcd(etcd) => Ok((Arc::new(EtcdStore::new(etcd.clone())), None)),
        StoreConfig::None(cluster) => {
            let store = Arc::new(NoneStore::new(&config.node, cluster)?);
            Ok((store.clone(), Some(store)))
        }
    }
}

/// The host's addresses may come after the agent. Ending for want of them would cost a container its links, since those
/// go with it when it is started anew.
async fn wait_for_underlay(config: &NodeConfig, answers: &Answers) -> Result<Underlay, StartError> {
    let mut told = String::new();
    loop {
        let why = match underlay::resolve(config).await {
            Ok(underlay) => return Ok(underlay),
            Err(Unresolved::Refused(why)) => return Err(StartError::Refused(why)),
            Err(Unresolved::Missing(why)) => why,
        };
        if why != told {
            warn!(%why, "no address yet: waiting");
            answers.now_waiting_for(format!("it waits for the host's address: {why}"));
            told = why;
        }
        tokio::time::sleep(ADDRESS_RETRY).await;
    }
}

/// Nothing is written to the kernel before the facts are known, from the store or from the snapshot.
async fn wait_for_facts(
    sync: &mut ClusterSync,
    cluster: &ClusterView,
    store: &Arc<dyn ClusterStore>,
    answers: &Answers,
) {
    loop {
        let state = sync.status.borrow().state.clone();
        let SyncState::Waiting(why) = state else { return };
        warn!(%why, "no facts yet, neither from the store nor from an earlier run: waiting");
        answers.now_waiting_for(format!("it waits for the store {}: {why}", store.describe()));
        let Some(batch) = sync.batches.recv().await else { return };
        batch.changes.iter().for_each(|change| cluster.take(change));
        sync.initial.changes.extend(batch.changes);
    }
}

/// Two agents with one name would take each other's blocks: the later one does not start.
fn refuse_a_second_agent(cluster: &ClusterView, config: &NodeConfig, incarnation: &str) -> Result<(), StartError> {
    let known = cluster.read();
    let Some(other) = known.nodes.get(&config.node).filter(|node| node.incarnation != incarnation) else {
        return Ok(());
    };
    let Some((_, condition)) = known.conditions.get(&config.node) else { return Ok(()) };
    let age = epoch_seconds(std::time::SystemTime::now()).saturating_sub(condition.at);
    if age >= SILENCE.as_secs() {
        warn!(node = %config.node, "another incarnation of this node was here; it is silent, its place is taken over");
        return Ok(());
    }
    let address = Family::BOTH.iter().find_map(|family| other.address(*family));
    let address = address.map_or("an unknown address".to_string(), |address| address.to_string());
    Err(StartError::Refused(format!(
        "node name `{}` is in use: another agent, at {address}, was heard {age} s ago; \
         give this one another `node:` name, or stop the other one and wait {} s",
        config.node,
        SILENCE.as_secs()
    )))
}

fn own_node(config: &NodeConfig, underlay: &Underlay, speaker: &SpeakerConfig, incarnation: &str) -> Node {
    Node {
        name: config.node.clone(),
        labels: config.labels.clone(),
        ipv4: underlay.ipv4,
        ipv6: underlay.ipv6,
        as_number: speaker.as_number,
        router_id: speaker.router_id,
        bgp_port: config.bgp.listen.first().map_or(179, |address| address.port()),
        mesh: config.bgp.mesh,
        incarnation: incarnation.to_string(),
    }
}

fn settings(config: &NodeConfig, underlay: &Underlay, networks_by_pool: bool) -> Settings {
    Settings {
        node: config.node.clone(),
        address4: underlay.ipv4,
        address6: underlay.ipv6,
        subnets: underlay.subnets.clone(),
        underlay_mtu: underlay.mtu,
        vxlan_port: config.tunnels.vxlan_port,
        announce: config.bgp.announce,
        mark_mask: config.iptables.mark_mask,
        workload_to_host: config.workloads.to_host,
        log_rules: config.log_rules.clone(),
        failsafe: config.failsafe.clone(),
        networks_by_pool,
    }
}

/// What the store, or the snapshot, says; and what the journal says of this node.
fn initial_facts(changes: &[ClusterChange], allocator: &Allocator) -> Vec<FactDelta> {
    let cluster = changes.iter().filter_map(|change| match change {
        ClusterChange::Fact(fact) => Some(fact.clone()),
        _ => None,
    });
    let blocks: BTreeSet<_> = allocator.own_blocks().borrow().clone();
    let blocks = blocks.into_iter().map(|block| FactDelta::OwnBlock(block, true));
    let endpoints = allocator.endpoints().into_iter().map(|endpoint| FactDelta::Endpoint {
        node: endpoint.node.clone(),
        key: endpoint.key.clone(),
        endpoint: Some(endpoint),
    });
    let tunnels = tunnels::held(allocator).map(|(kind, address)| FactDelta::TunnelAddress(kind, address, true));
    cluster.chain(blocks).chain(endpoints).chain(tunnels).collect()
}

/// Where the kernel does not tell, host endpoints by expectedIPs wait for the next look.
fn initial_interfaces() -> Addresses {
    interfaces::look().unwrap_or_else(|error| {
        warn!(%error, "the addresses of this host's interfaces cannot be read");
        Addresses::new()
    })
}

/// How the kernel reaches the other nodes: known before the first route is compared, so that none changes over and back.
fn initial_ways(cluster: &ClusterView, config: &NodeConfig) -> Vec<FactDelta> {
    let hops = tunnels::next_hops(cluster, config);
    let found = reach::look(&hops).inspect_err(|error| warn!(%error, "the ways to other nodes cannot be looked up"));
    found.unwrap_or_default().into_iter().map(|(hop, off_link)| FactDelta::OffLink(hop, off_link)).collect()
}

/// Planes and speaker, with the whole of what is wanted.
async fn bring_up(
    config: &NodeConfig,
    desired: &Desired,
    cluster: &ClusterView,
    speaker: SpeakerConfig,
) -> Result<(Hands, tokio::sync::mpsc::Receiver<super::peering::PeeringEvent>), StartError> {
    let backend = Backend::detect(config.iptables.backend)?;
    let rules = RulesPlane::spawn(RulesConfig::new(backend))?;
    let links = LinkPlane::spawn()?;
    let (routes, tunnels) = (RoutePlane::spawn()?, TunnelPlane::spawn()?);
    for said in sysctl::enable_forwarding(&Family::BOTH)? {
        info!("{said}");
    }
    let state = desired.state();
    // What is not closed must not be opened: without the frame of the chains no link is made. One policy's chain that
    // the kernel refuses is another matter: its endpoints are closed, and the plane tries again.
    while let Err(error) = rules.start(state.sets.clone(), state.chains.clone(), state.hooks.clone()).await {
        error!(%error, "rules are not all in the kernel");
        if is_framed(&rules, &state.hooks).await {
            break;
        }
        tokio::time::sleep(RULES_RETRY).await;
    }
    if let Err(error) = links.start(state.links).await {
        warn!(%error, "not every link is as it should be; it is tried again");
    }
    if let Err(error) = tunnels.start(state.tunnels).await {
        warn!(%error, "not every tunnel is as it should be; it is tried again");
    }
    // Own routes too: neighbours that told us nothing still send to our workloads.
    let restarting = !routes.read_ours().await?.is_empty();
    if let Err(error) = routes.start(state.routes, true).await {
        warn!(%error, "not every route is as it should be; it is tried again");
    }
    let (peering, events) = Peering::spawn(PeeringConfig {
        listen: config.bgp.listen.clone(),
        restarting,
        resolve: true,
        stations: config.bgp.stations.clone(),
        name: config.node.to_string(),
        speaker,
    })
    .map_err(|error| StartError::Refused(format!("the BGP speaker cannot be started: {error}")))?;
    peering.set_pools(cluster.read().pools.values().map(|pool| pool.cidr).collect());
    let own: BTreeMap<_, _> = state.announcements.into_iter().map(|prefix| (prefix, true)).collect();
    peering.originate(own.into_iter().collect());
    Ok((Hands { rules, links, tunnels, routes, peering }, events))
}

/// Whether every chain that a hook jumps to is in the kernel, with rules.
async fn is_framed(rules: &RulesPlane, hooks: &BTreeSet<Hook>) -> bool {
    for hook in hooks {
        let chain = ChainKey { family: hook.family, table: hook.table, name: hook.chain.clone() };
        if rules.counters(chain).await.map_or(true, |rules| rules.is_empty()) {
            return false;
        }
    }
    true
}
