//! Neighbours on links: found by router advertisements or named by a link-local address, with IPv4 routes by way of IPv6 next
//! hops (RFC 8950), with FRR and BIRD, and with a whole agent that sends packets that way.

use std::net::IpAddr;

use routenet_core::bgp::speaker::{PeerStatus, State};
use routenet_core::model::BgpTransport;
use routenet_core::model::peering::PeerOptions;
use routenet_core::model::scope::unscoped;
use serde_json::json;

use crate::bird::Bird;
use crate::fixture::{Agent, CLUSTER, Site, attach};
use crate::frr::Frr;
use crate::rig::{
    LIMIT, Namespace, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, Us, among, between, cidr, ip, link_local, link_peer,
    on_links, speaker,
};
use crate::support::{hosts, run, wait_for};

const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/48"];
const OWN: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];

/// The one neighbour on this interface, if there is one now.
fn on(us: &Us, interface: &str) -> Option<PeerStatus> {
    let index = nix::net::if_::if_nametoindex(interface).expect("an interface");
    us.status().peers.into_iter().find(|peer| unscoped(peer.address).1 == Some(index))
}

fn established(us: &Us, interface: &str) -> bool {
    on(us, interface).is_some_and(|peer| peer.state == State::Established)
}

fn waits(us: &Us, what: &str) -> bool {
    us.status().waiting.iter().any(|waiting| waiting.why.contains(what))
}

/// Our next hop in its table, of each of our prefixes.
fn told(neighbor: &dyn Neighbor) -> Vec<Option<IpAddr>> {
    let table = neighbor.table();
    OWN.map(|prefix| table.get(&cidr(prefix)).and_then(|told| told.next_hop)).into()
}

/// Both families pass both ways, each end by the other's link-local address.
fn both_families_pass(us: &mut Us, neighbor: &dyn Neighbor, near: &str) {
    us.announce(&OWN);
    let here = ip(&link_local(None, near));
    wait_for("our routes by our link-local address", LIMIT, || told(neighbor) == [Some(here); 2]);
    let there = on(us, near).expect("a neighbour").address;
    assert!(unscoped(there).1.is_some());
    wait_for("its routes by its link-local address", LIMIT, || {
        us.listen();
        FOREIGN.iter().all(|prefix| us.kernel.get(&cidr(prefix)) == Some(&vec![there]))
    });
}

#[test]
fn frr_is_found_on_a_link_and_comes_back_with_it() {
    between(|namespace| {
        let near = namespace.near.clone();
        let mut us = Us::start(on_links(&[link_peer(&near, None, THEIR_AS)]), false);
        wait_for("what it waits for", LIMIT, || waits(&us, "no router advertisement seen yet"));
        let frr = Frr::unnumbered(namespace, THEIR_AS, &FOREIGN, "");
        wait_for("the session", LIMIT, || established(&us, &near) && frr.established());
        let agreed = on(&us, &near).expect("a neighbour").capabilities;
        assert!(agreed.contains(&"extended-next-hop".to_string()), "{agreed:?}");
        both_families_pass(&mut us, &frr, &near);
        // Its kernel has it too.
        let in_kernel = || {
            let output = frr.command("ip").args(["route", "show", OWN[0]]).output().expect("ip");
            String::from_utf8_lossy(&output.stdout).contains("via inet6 fe80:")
        };
        wait_for("our IPv4 prefix in its kernel", LIMIT, in_kernel);

        run("ip", &["link", "set", &near, "down"]);
        wait_for("the end of it", LIMIT, || waits(&us, "is down") && us.status().peers.is_empty());
        us.listen();
        wait_for("no route by way of it", LIMIT, || {
            us.listen();
            us.kernel.is_empty()
        });
        run("ip", &["link", "set", &near, "up"]);
        wait_for("the session again", LIMIT, || established(&us, &near) && frr.established());
        both_families_pass(&mut us, &frr, &near);
    });
}

#[test]
fn frr_on_a_link_is_of_any_as_but_ours() {
    let external = |near: &str| {
        let mut link = link_peer(near, None, THEIR_AS);
        link.peer.as_number = None;
        Us::start(on_links(&[link]), false)
    };
    between(move |namespace| {
        let near = namespace.near.clone();
        let mut us = external(&near);
        let frr = Frr::unnumbered(namespace, THEIR_AS, &FOREIGN, "");
        wait_for("the session", LIMIT, || established(&us, &near) && frr.established());
        assert_eq!(on(&us, &near).expect("a neighbour").as_number, Some(THEIR_AS), "as its OPEN says");
        both_families_pass(&mut us, &frr, &near);
    });
    between(move |namespace| {
        let near = namespace.near.clone();
        let us = external(&near);
        let frr = Frr::unnumbered(namespace, OUR_AS, &FOREIGN, "");
        let why = || on(&us, &near).and_then(|peer| peer.last_error).map(|(_, why)| why).unwrap_or_default();
        wait_for("the refusal", LIMIT, || why().contains(&format!("its AS is {OUR_AS}, as ours")));
        assert!(!established(&us, &near) && !frr.established());
    });
}

/// An interface that is deleted and made anew has another index.
#[test]
fn a_link_that_is_made_anew_has_its_neighbour_again() {
    between(|namespace| {
        let near = namespace.near.clone();
        let us = Us::start(on_links(&[link_peer(&near, None, THEIR_AS)]), false);
        let frr = Frr::unnumbered(namespace, THEIR_AS, &FOREIGN, "");
        wait_for("the session", LIMIT, || established(&us, &near));
        let before = on(&us, &near).expect("a neighbour").address;
        run("ip", &["link", "delete", &near]);
        wait_for("what it waits for", LIMIT, || waits(&us, &format!("there is no interface {near}")));
        frr.rejoin();
        wait_for("the session again", LIMIT, || established(&us, &near) && frr.established());
        let after = on(&us, &near).expect("a neighbour").address;
        assert_ne!(unscoped(before).1, unscoped(after).1, "another index");
    });
}

#[test]
fn bird_named_by_its_link_local_address() {
    for as_number in [OUR_AS, THEIR_AS] {
        between(move |namespace| {
            let (near, theirs) = (namespace.near.clone(), link_local(Some(&namespace), "them0"));
            let bird = Bird::on_link(namespace, as_number, &FOREIGN, "", "extended next hop on;");
            let mut us = Us::start(on_links(&[link_peer(&near, Some(&theirs), as_number)]), false);
            wait_for("the session", LIMIT, || established(&us, &near) && bird.established());
            both_families_pass(&mut us, &bird, &near);
        });
    }
}

/// The negative: without the capability on either side IPv6 passes, and IPv4 does not; and nobody objects to anything.
#[test]
fn bird_without_extended_next_hops_hears_of_no_ipv4_route() {
    for (channel, options) in [
        ("", PeerOptions::default()),
        ("extended next hop on;", PeerOptions { classic_next_hop: true, ..PeerOptions::default() }),
    ] {
        between(move |namespace| {
            let (near, theirs) = (namespace.near.clone(), link_local(Some(&namespace), "them0"));
            // With an address on the link it would have an IPv4 next hop to tell.
            namespace.run("ip", &["-4", "address", "flush", "dev", "them0"]);
            let bird = Bird::on_link(namespace, THEIR_AS, &FOREIGN, "", channel);
            let mut link = link_peer(&near, Some(&theirs), THEIR_AS);
            link.peer.options = options;
            let us = Us::start(on_links(&[link]), false);
            wait_for("the session", LIMIT, || established(&us, &near) && bird.established());
            us.announce(&OWN);
            wait_for("our IPv6 route", LIMIT, || told(&bird)[1].is_some());
            wait_for("its IPv6 route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[1])));
            assert_eq!(told(&bird)[0], None);
            assert!(!us.learned().contains_key(&cidr(FOREIGN[0])));
            let peer = on(&us, &near).expect("a neighbour");
            assert_eq!((peer.sessions, peer.malformed), (1, 0), "{:?}", peer.last_error);
        });
    }
}

/// A password, GTSM and BFD over link-local addresses.
#[test]
fn bird_on_a_link_with_all_that_protects_and_watches() {
    between(|namespace| {
        let (near, theirs) = (namespace.near.clone(), link_local(Some(&namespace), "them0"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "open sesame\n").expect("a file");
        let mut link = link_peer(&near, Some(&theirs), THEIR_AS);
        link.peer.transport = BgpTransport { ttl_security: Some(1), password_file: Some(path.display().to_string()) };
        link.peer.bfd = Some(Default::default());
        let more = "password \"open barley\"; ttl security on; bfd on;";
        let bird = Bird::on_link_with_bfd(namespace, THEIR_AS, &FOREIGN, more, "extended next hop on;");
        let mut us = Us::start(on_links(&[link]), false);
        wait_for("an attempt", LIMIT, || on(&us, &near).is_some_and(|peer| peer.last_error.is_some()));
        assert!(!established(&us, &near), "another password is none");
        bird.reconfigure("open barley", "open sesame");
        wait_for("the session", LIMIT, || established(&us, &near) && bird.established());
        both_families_pass(&mut us, &bird, &near);
        wait_for("BFD", LIMIT, || {
            let report = us.status().bfd;
            report.sessions.iter().any(|(it, session)| it.interface != 0 && session.state.to_string() == "Up")
        });
    });
}

/// Two links, fe80::1 at the far end of both: two neighbours, and ECMP over two links.
#[test]
fn one_address_at_the_far_end_of_two_links_is_two_neighbours() {
    among(|namespaces: [Namespace; 2]| {
        for namespace in &namespaces {
            namespace.run("ip", &["-6", "address", "flush", "dev", "them0", "scope", "link"]);
            namespace.run("ip", &["address", "add", "fe80::1/64", "dev", "them0", "nodad"]);
        }
        let mut near = namespaces.iter().map(|namespace| namespace.near.clone());
        let near = [near.next().expect("two"), near.next().expect("two")];
        let mut config =
            on_links(&[link_peer(&near[0], Some("fe80::1"), THEIR_AS), link_peer(&near[1], Some("fe80::1"), THEIR_AS)]);
        config.address4 = None;
        let neighbors =
            namespaces.map(|namespace| Bird::on_link(namespace, THEIR_AS, &FOREIGN, "", "extended next hop on;"));
        let mut us = Us::start(config, false);
        us.announce(&OWN);
        for (near, bird) in near.iter().zip(&neighbors) {
            wait_for("the session", LIMIT, || established(&us, near) && bird.established());
            let here = ip(&link_local(None, near));
            wait_for("our routes by that link", LIMIT, || told(bird) == [Some(here); 2]);
        }
        let hops: Vec<IpAddr> = near.iter().map(|near| on(&us, near).expect("a neighbour").address).collect();
        wait_for("both ways", LIMIT, || {
            us.listen();
            us.kernel.get(&cidr(FOREIGN[0])) == Some(&hops)
        });
        neighbors[0].withdraw_all();
        wait_for("the other one's", LIMIT, || {
            us.listen();
            us.kernel.get(&cidr(FOREIGN[0])) == Some(&vec![hops[1]])
        });
    });
}

/// RFC 8950 between global addresses: a node without an IPv4 address passes IPv4 on.
#[test]
fn frr_over_global_addresses_of_ipv6_alone() {
    between(|namespace| {
        let frr = Frr::with(namespace, 1, THEIR_AS, &FOREIGN, &["capability extended-nexthop"]);
        let mut config = speaker(1, THEIR_AS);
        config.address4 = None;
        let us = Us::start(config, false);
        wait_for("the session", LIMIT, || us.established(THEIRS[1]) && frr.established());
        us.announce(&OWN);
        wait_for("our routes", LIMIT, || told(&frr) == [Some(ip(OURS[1])); 2]);
        let by = |prefix: &str| us.learned().get(&cidr(prefix)).map(|(hop, _)| *hop);
        wait_for("its routes", LIMIT, || FOREIGN.map(by) == [Some(ip(THEIRS[1])); 2]);
    });
}

/// No IPv4 address on the link, at either end: a workload's packets take it all the same.
#[test]
fn an_agent_sends_ipv4_by_way_of_an_unnumbered_link() {
    between(|namespace| {
        let (near, far) = (OURS[0].to_string(), THEIRS[0].to_string());
        run("ip", &["-4", "address", "flush", "dev", &namespace.near]);
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", &format!("{near}/32"), "dev", "lo"]);
        namespace.run("ip", &["-4", "address", "flush", "dev", "them0"]);
        namespace.run("ip", &["address", "add", &format!("{far}/32"), "dev", "lo"]);
        let interface = namespace.near.clone();
        let loopback = format!("{far}/32");
        let frr = Frr::unnumbered(namespace, THEIR_AS, &[&loopback, FOREIGN[1]], "");
        let site = Site::new();
        let host = hosts::Namespace::present();
        let folder = site.directory.path().display();
        let configuration = format!(
            "node: h1\naddress: {{ipv4: {near}}}\nstore: {{type: embedded, path: {folder}/cluster.db}}\n\
             paths: {{state: {folder}/h1, socket: {folder}/h1.sock}}\n\
             bgp:\n  as: {OUR_AS}\n  connectRetry: 1\n  peers:\n  - {{interface: {interface}, as: {THEIR_AS}, import: all}}\n"
        );
        let agent = Agent::start_with(&site, &host, 1, &configuration);
        agent.apply(CLUSTER);
        wait_for("the session", LIMIT, || frr.established());
        let workload = attach(&agent, "w", "blue", json!({}));
        let prefix = cidr(&format!("{}/32", workload.ipv4));
        wait_for("the workload in its table", LIMIT, || frr.table().contains_key(&prefix));
        wait_for("its loopback in our kernel", LIMIT, || {
            run("ip", &["route", "show", &far]).contains("via inet6 fe80:")
        });
        let ping = |from: &mut std::process::Command| from.status().expect("ping").success();
        wait_for("an answer through the link", LIMIT, || {
            let mut command = workload.namespace.command("ping");
            ping(command.args(["-n", "-c", "1", "-W", "1", &far]))
        });
        let neighbors = agent.routectl(&["bgp", "neighbors"]).stdout;
        assert!(neighbors.contains(&format!("%{interface}")), "{neighbors}");
        let routes = agent.routectl(&["bgp", "routes"]).stdout;
        assert!(routes.contains(&format!("%{interface}")), "{routes}");
    });
}
