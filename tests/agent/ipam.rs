//! `routectl ipam`: whose an address is, whether all fits together, and what nobody will use again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use routenet::store::{ClusterStore, EmbeddedStore, EtcdStore, Journal, JournalWrite, Write};
use routenet_core::model::{EndpointKey, InterfaceName, NetworkName};
use serde_json::json;

use crate::etcd_server::{self, EtcdServer};
use crate::fixture::{Agent, CLUSTER, Output, Site, attach, cni, cni_with, established};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, run, wait_for};

/// Each test on both stores.
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $test() { super::$test(super::Kind::Embedded) })*
        }
        mod etcd {
            $(#[test] fn $test() { super::$test(super::Kind::Etcd) })*
        }
    };
}

on_both_stores!(
    an_address_says_whose_it_is_on_every_node,
    a_dead_node_is_given_away_and_a_living_one_is_not,
    a_silent_node_is_given_away_once_nobody_announces_its_workloads,
    a_reserved_address_is_given_only_to_who_names_it,
    a_static_address_is_given_by_either_way_of_asking_and_to_one_only,
    what_a_crash_left_held_is_named_and_released,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embedded,
    Etcd,
}

/// What the hosts of a test share.
struct Cluster {
    site: Site,
    hosts: Vec<Namespace>,
    server: Option<EtcdServer>,
}

impl Cluster {
    /// The store as somebody else than the agents sees it.
    fn store(&self) -> Arc<dyn ClusterStore> {
        match &self.server {
            Some(server) => Arc::new(EtcdStore::new(etcd_server::config(&[server.endpoint()]))),
            None => Arc::new(EmbeddedStore::new(&self.site.path("cluster.db"))),
        }
    }

    fn config(&self, number: usize, more: &str) -> String {
        let at = self.site.directory.path().display();
        let store = match &self.server {
            Some(server) => format!("type: etcd, endpoints: ['{}']", server.endpoint()),
            None => format!("type: embedded, path: {at}/cluster.db"),
        };
        format!(
            "node: h{number}\naddress: {{ipv4: 192.0.2.{number}, ipv6: '2001:db8::{number}'}}\nstore: {{{store}}}\n\
             paths: {{state: {at}/h{number}, socket: {at}/h{number}.sock}}\n{more}\n"
        )
    }

    fn start(&self, number: usize, more: &str) -> Agent {
        Agent::start_with(&self.site, &self.hosts[number - 1], number, &self.config(number, more))
    }
}

/// Hosts on one segment, and the store beside them, at 192.0.2.100 where it is a server.
fn cluster(kind: Kind, hosts: usize, test: impl FnOnce(Cluster) + Send + 'static) {
    in_fresh_netns(move || {
        let (site, hosts) = (Site::new(), segment(hosts));
        let server = (kind == Kind::Etcd).then(|| {
            run("ip", &["addr", "add", "192.0.2.100/24", "dev", "segment"]);
            EtcdServer::start_at(site.directory.path(), "192.0.2.100")
        });
        test(Cluster { site, hosts, server });
    });
}

/// Two of them with an agent each, and the cluster's pools and networks.
fn two_hosts(kind: Kind, test: impl FnOnce(&Cluster, Agent, Agent) + Send + 'static) {
    cluster(kind, 2, |cluster| {
        let (one, two) = (cluster.start(1, ""), cluster.start(2, ""));
        one.apply(CLUSTER);
        test(&cluster, one, two);
    });
}

fn wait_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(what)
}

fn why(agent: &Agent, address: &str) -> (String, String) {
    let reply = agent.routectl(&["ipam", "why", address, "-o", "json"]).json();
    let text = |field: &str| reply[field].as_str().unwrap_or_default().to_string();
    (text("state"), text("holder"))
}

fn an_address_says_whose_it_is_on_every_node(kind: Kind) {
    two_hosts(kind, |_, one, two| {
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        wait_for("h1 to hear of there", Duration::from_secs(10), || why(&one, &there.ipv4).0 == "used");
        assert!(why(&one, &there.ipv4).1.contains("default/there") && why(&one, &there.ipv4).1.contains("on h2"));
        assert!(why(&one, &here.ipv4).1.contains("default/here"));
        assert_eq!(why(&one, "192.0.2.2"), ("host".to_string(), "node h2".to_string()));
        assert!(why(&one, "198.51.100.1").0.starts_with("foreign"));
        assert!(why(&one, "10.66.9.9").0.starts_with("free: no node has claimed"));
        let text = one.routectl(&["ipam", "why", &here.ipv4]).stdout;
        assert!(text.contains("pool    blue4") && text.contains("node    h1"), "{text}");

        let refused = one.routectl(&["ipam", "release", &here.ipv4]);
        assert_eq!(refused.exit, 1);
        assert!(refused.stderr.contains("default/here") && refused.stderr.contains("--force"), "{}", refused.stderr);
        let elsewhere = one.routectl(&["ipam", "release", &there.ipv4]);
        assert!(elsewhere.exit == 1 && elsewhere.stderr.contains("routectl on h2"), "{}", elsewhere.stderr);
        assert_eq!(one.routectl(&["ipam", "release", "--force", &here.ipv4]).exit, 0);
        assert!(why(&one, &here.ipv4).0.starts_with("resting"));
        assert!(!there.pings(&here.ipv4), "it is gone");

        let check = two.routectl(&["ipam", "check"]);
        assert_eq!(check.exit, 0, "{}", check.stdout);
        assert!(check.stdout.starts_with("all fits together"));
    });
}

fn a_dead_node_is_given_away_and_a_living_one_is_not(kind: Kind) {
    two_hosts(kind, |cluster, one, mut two| {
        let lost = attach(&two, "lost", "blue", json!({}));
        wait_for("the sessions", Duration::from_secs(20), || established(&one) && established(&two));
        let living = one.routectl(&["ipam", "release-node", "h2"]);
        assert!(living.exit == 1 && living.stderr.contains("was heard"), "{}", living.stderr);
        let own = one.routectl(&["ipam", "release-node", "h1"]);
        assert!(own.exit == 1 && own.stderr.contains("the node that answers"), "{}", own.stderr);
        let nobody = one.routectl(&["ipam", "release-node", "h9"]);
        assert!(nobody.exit == 1 && nobody.stderr.contains("knows nothing"), "{}", nobody.stderr);

        two.kill();
        let forced = one.routectl(&["ipam", "release-node", "--force", "h2"]);
        assert_eq!(forced.exit, 0, "{}", forced.stderr);
        wait_for("h2's blocks to be gone", Duration::from_secs(10), || {
            !one.routectl(&["ipam", "show"]).stdout.contains("h2")
        });
        assert!(why(&one, &lost.ipv4).0.starts_with("free"));

        // Somebody takes the block, and the node comes back.
        let block = lost.ipv4.rsplit_once('.').map(|(net, _)| net.to_string()).expect("an address");
        let namespace = Namespace::new();
        let config = json!({"name": "blue", "args": {"cni": {"ips": [format!("{block}.{}", last(&lost.ipv4) ^ 1)]}}});
        let taken = cni(&one, "ADD", "taker", &namespace, config);
        assert_eq!(taken.exit, 0, "{}", taken.stdout);
        two.launch(&cluster.hosts[1]);
        wait_for("the quarantine to be told", Duration::from_secs(20), || {
            let status = two.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains("node h1 owns it now")
        });
        let check = two.routectl(&["ipam", "check"]);
        assert!(check.exit == 1 && check.stdout.contains("node h1"), "{}", check.stdout);
    });
}

fn a_silent_node_is_given_away_once_nobody_announces_its_workloads(kind: Kind) {
    cluster(kind, 2, |cluster| {
        // h1 keeps what h2 announced for as long as h2 says that a restart takes.
        let (one, mut two) = (cluster.start(1, ""), cluster.start(2, "bgp: {gracefulRestart: {restartTime: 3}}"));
        one.apply(CLUSTER);
        let lost = attach(&two, "lost", "blue", json!({}));
        let seen = |agent: &Agent| agent.routectl(&["bgp", "routes"]).stdout.contains(&lost.ipv4);
        wait_for("h1 to hear of its route", Duration::from_secs(20), || seen(&one));
        two.kill();
        // It has been silent for long enough, as if h1 had never heard it.
        let write = Write::Delete { key: "/conditions/h2".into() };
        wait_on(async { cluster.store().transact(Vec::new(), vec![write]).await.expect("the store answers") });
        let mut refused = one.routectl(&["ipam", "release-node", "h2"]);
        wait_for("h1 to have forgotten h2's last word", Duration::from_secs(2), || {
            let was_heard = refused.stderr.contains("was heard");
            if was_heard {
                refused = one.routectl(&["ipam", "release-node", "h2"]);
            }
            !was_heard
        });
        assert!(refused.exit == 1 && refused.stderr.contains("h2 still announces "), "{refused:?}");
        assert!(refused.stderr.contains("--force"), "{refused:?}");
        assert!(one.routectl(&["ipam", "show"]).stdout.contains("h2"), "nothing is released");

        wait_for("its routes to be gone", Duration::from_secs(20), || !seen(&one));
        let released = one.routectl(&["ipam", "release-node", "h2"]);
        assert_eq!(released.exit, 0, "{}", released.stderr);
        assert!(released.stdout.contains("/blocks/10.65."), "{}", released.stdout);
        wait_for("its blocks to be free", Duration::from_secs(10), || why(&one, &lost.ipv4).0.starts_with("free"));
    });
}

fn what_a_crash_left_held_is_named_and_released(kind: Kind) {
    cluster(kind, 1, |cluster| {
        let docker = |on: bool| {
            let at = cluster.site.directory.path().display();
            let docker = format!("docker: {{socket: {at}/plugin.sock, api: {at}/docker.sock}}");
            if on { docker } else { String::new() }
        };
        let mut agent = cluster.start(1, &docker(false));
        agent.apply(CLUSTER);
        let first = attach(&agent, "first", "blue", json!({}));
        let net = first.ipv4.rsplit_once('.').map(|(net, _)| net.to_string()).expect("an address");
        let [reserved, joining] = [1, 2].map(|other| format!("{net}.{}", last(&first.ipv4) ^ other));

        // Killed between RequestAddress' two commits, and between those of Join.
        agent.kill();
        {
            let key = |id: &str, ifname: &str| EndpointKey {
                network: NetworkName::new("blue").expect("a name"),
                container_id: id.to_string(),
                ifname: InterfaceName::new(ifname).expect("a name"),
            };
            let journal = Journal::open(&cluster.site.path("h1/journal.db")).expect("the agent has let go of it");
            let hold = |key, address: &str| JournalWrite::Allocate {
                key,
                addresses: vec![address.parse().expect("an address")],
            };
            let held = vec![hold(key("reserved-1", "reserved"), &reserved), hold(key("joining", "eth0"), &joining)];
            wait_on(journal.record(held)).expect("written");
        }
        agent.launch(&cluster.hosts[0]);
        let mut check = agent.routectl(&["ipam", "check"]);
        wait_for("the agent to have started", Duration::from_secs(20), || {
            let answers = check.stdout.contains("were looked at");
            if !answers {
                check = agent.routectl(&["ipam", "check"]);
            }
            answers
        });
        for (address, key) in [(&reserved, "blue/reserved-1/reserved"), (&joining, "blue/joining/eth0")] {
            assert_eq!(why(&agent, address).0, "held");
            assert!(check.stdout.contains(&format!("{address} is held for {key}")), "{}", check.stdout);
        }
        assert_eq!(check.exit, 1);

        // DEL finds it by its key, though there is no endpoint.
        let workload = Namespace::new();
        let deleted = cni(&agent, "DEL", "joining", &workload, json!({"name": "blue"}));
        assert_eq!(deleted.exit, 0, "{}", deleted.stdout);
        assert!(why(&agent, &joining).0.starts_with("resting"), "{:?}", why(&agent, &joining));

        // Docker's driver collects at its start what it never told Docker of.
        agent.terminate();
        let agent = cluster.start(1, &docker(true));
        wait_for("nothing to be held for nobody", Duration::from_secs(20), || {
            agent.routectl(&["ipam", "check"]).stdout.starts_with("all fits together")
        });
        assert!(why(&agent, &reserved).0.starts_with("resting"), "{:?}", why(&agent, &reserved));
    });
}

fn last(address: &str) -> u8 {
    address.rsplit_once('.').and_then(|(_, last)| last.parse().ok()).expect("an IPv4 address")
}

fn a_reserved_address_is_given_only_to_who_names_it(kind: Kind) {
    two_hosts(kind, |_, one, _two| {
        let reservation = |cidrs: &str| {
            let yaml = format!(
                "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {{name: printers}}\nspec: {{reservedCIDRs: [{cidrs}]}}\n"
            );
            one.try_apply(&yaml)
        };
        let refused = reservation("10.66.0.0/33");
        assert!(refused.exit == 1 && refused.stderr.contains("spec.reservedCIDRs[0]"), "{}", refused.stderr);

        let first = attach(&one, "first", "blue", json!({}));
        let net = first.ipv4.rsplit_once('.').map(|(net, _)| net.to_string()).expect("an address");
        let block = last(&first.ipv4) & 0xc0;
        let free = first_free(block, &first.ipv4);
        let kept = format!("{net}.{free}");
        assert_eq!(reservation(&format!("{kept}/32")).exit, 0);
        wait_for("the reservation to be known", Duration::from_secs(10), || {
            why(&one, &kept).0.contains("reserved by IPReservation printers")
        });
        let second = attach(&one, "second", "blue", json!({}));
        assert_ne!(second.ipv4, kept);

        let workload = Namespace::new();
        let asking = json!({"name": "blue", "args": {"cni": {"ips": [kept]}}});
        let named = cni(&one, "ADD", "named", &workload, asking);
        assert!(named.exit == 0 && named.stdout.contains(&kept), "{}", named.stdout);
        let listed = one.routectl(&["get", "reservations"]).stdout;
        assert!(listed.contains("printers") && listed.contains(&kept), "{listed}");
    });
}

/// `runtimeConfig.ips` and `CNI_ARGS IP=`, as podman sends it; who asks by neither takes what comes.
fn a_static_address_is_given_by_either_way_of_asking_and_to_one_only(kind: Kind) {
    cluster(kind, 2, |cluster| {
        let [one, two] = [1, 2].map(|number| cluster.start(number, "workloads: {addressCooldown: 1}"));
        one.apply(CLUSTER);
        let add = |agent: &Agent, id: &str, workload: &Namespace, args: &str, ips: &[&str]| {
            let mut config = json!({"name": "blue"});
            if !ips.is_empty() {
                config["runtimeConfig"] = json!({"ips": ips});
            }
            cni_with(agent, args, "ADD", id, &workload.path(), config)
        };
        let addresses = |added: &Output| {
            assert_eq!(added.exit, 0, "{}", added.stdout);
            let ips = added.json()["ips"].as_array().cloned().unwrap_or_default();
            ips.iter().filter_map(|ip| ip["address"].as_str().map(str::to_string)).collect::<Vec<_>>()
        };
        let refusal = |refused: &Output| (refused.exit != 0, refused.json()["code"].as_u64());
        let podman = "IgnoreUnknown=1;K8S_POD_NAME=argued;IP=10.65.200.7,fd65::77";
        let [argued, configured] = [Namespace::new(), Namespace::new()];
        let given = addresses(&add(&one, "argued", &argued, podman, &[]));
        assert_eq!(given, ["10.65.200.7/32", "fd65::77/128"]);
        let given = addresses(&add(&two, "configured", &configured, "", &["10.65.201.7/16", "fd65:0:0:0:1::77/64"]));
        assert_eq!(given, ["10.65.201.7/32", "fd65::1:0:0:77/128"]);
        let other = attach(&two, "other", "blue", json!({}));
        for address in ["10.65.200.7", "fd65::77", "10.65.201.7", "fd65::1:0:0:77"] {
            other.reaches(address);
        }
        wait_for("h2 to hear of argued", Duration::from_secs(20), || why(&two, "10.65.200.7").1.contains("argued"));

        // What another has, on this node or the other, what lies in another node's block, and what no pool has.
        for (agent, address, reason) in [
            (&one, "10.65.200.7", "argued"),
            (&two, "10.65.200.8", "h1"),
            (&one, "10.65.201.8", "h2"),
            (&one, "10.99.0.1", "none of the pools"),
        ] {
            for (args, ips) in [(format!("IgnoreUnknown=1;IP={address}"), &[][..]), (String::new(), &[address])] {
                let refused = add(agent, "again", &Namespace::new(), &args, ips);
                assert_eq!(refusal(&refused), (true, Some(104)), "{args} {ips:?}: {}", refused.stdout);
                assert!(refused.stdout.contains(reason), "{args} {ips:?}: {}", refused.stdout);
            }
        }
        let bad = add(&one, "bad", &Namespace::new(), "IP=10.65.200", &[]);
        assert_eq!(refusal(&bad), (true, Some(4)), "{}", bad.stdout);

        // It is the next one's once its holder is gone and it has rested, and nothing else is held.
        let deleted = cni(&one, "DEL", "argued", &argued, json!({"name": "blue"}));
        assert_eq!(deleted.exit, 0, "{}", deleted.stdout);
        let next = Namespace::new();
        let take = || add(&one, "next", &next, "IP=10.65.200.7", &["fd65::77"]);
        let mut taken = take();
        wait_for("the addresses to be free again", Duration::from_secs(30), || {
            let early = refusal(&taken) == (true, Some(11));
            if early {
                taken = take();
            }
            !early
        });
        assert_eq!(addresses(&taken), ["10.65.200.7/32", "fd65::77/128"]);
        other.reaches("10.65.200.7");
        for agent in [&one, &two] {
            let check = agent.routectl(&["ipam", "check"]);
            assert!(check.exit == 0 && check.stdout.starts_with("all fits together"), "{check:?}");
        }
    });
}

/// The lowest last number of the block that is not the address's.
fn first_free(block: u8, address: &str) -> u8 {
    if last(address) == block { block + 1 } else { block }
}
