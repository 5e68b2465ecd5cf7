//! Forged sources and unknown interfaces: closed, also with nobody at work.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use routenet::plane::iptables::Backend;
use routenet_core::desired::{ChainKey, Table};
use routenet_core::model::{EndpointKey, Family, InterfaceName, NetworkName};

use crate::support::{in_fresh_netns, wait_for};
use crate::world::{Listener, Place, World, block_on, ip};

const SECOND: Duration = Duration::from_secs(1);

/// A datagram from an address to an address, sent inside the place.
fn say(place: &Place, from: IpAddr, to: IpAddr, text: &str) {
    let text = text.to_string();
    place.run(move || {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).expect("an address of the place");
        socket.send_to(text.as_bytes(), SocketAddr::new(to, 80)).expect("the first hop takes it");
    });
}

fn heard(listener: &Listener, text: &str) -> bool {
    listener.seen.lock().expect("no echo panics").contains(text)
}

/// Whether what was said before is heard: the last word, by a way that is open, tells that all others had their time.
fn comes_through(listener: &Listener, text: &str, last: &str) -> bool {
    wait_for(&format!("the datagram `{last}`"), 5 * SECOND, || heard(listener, last));
    heard(listener, text)
}

fn a_workload_speaks_for_itself_only(backend: Backend) {
    in_fresh_netns(move || {
        let world = World::new(backend, false);
        let (client, guest, web) = (world.workload("client"), world.workload("guest"), world.workload("web"));
        for address in &guest.endpoint.addresses {
            client.place.ip(&format!("address add {address} dev lo"));
        }
        for (own, (others, to)) in
            client.endpoint.addresses.iter().zip(guest.endpoint.addresses.iter().zip(&web.endpoint.addresses))
        {
            say(&client.place, *others, *to, &format!("forged {to}"));
            say(&guest.place, *others, *to, &format!("true {to}"));
            say(&client.place, *own, *to, &format!("last {to}"));
            assert!(!comes_through(&web.listener, &format!("forged {to}"), &format!("last {to}")));
            wait_for("the datagram of the address's owner", 5 * SECOND, || heard(&web.listener, &format!("true {to}")));
        }
        // The kernel's own reverse path filter would come later: that our rule counted shows who dropped it.
        for family in Family::BOTH {
            let chain = ChainKey { family, table: Table::Raw, name: "rn-PREROUTING".into() };
            let counters = block_on(world.rules.counters(chain)).expect("the chain is there");
            assert!(counters.last().is_some_and(|rule| rule.packets > 0), "{family}: {counters:?}");
        }
    });
}

#[test]
fn a_forged_source_is_dropped_with_nft() {
    a_workload_speaks_for_itself_only(Backend::Nft);
}

#[test]
fn a_forged_source_is_dropped_with_legacy() {
    a_workload_speaks_for_itself_only(Backend::Legacy);
}

/// Whether a ping from a link-local source is answered.
fn pings_from_link_local(place: &Place, to: &str) -> bool {
    let to = to.to_string();
    place.run(move || {
        let output = std::process::Command::new("ping")
            .args(["-6", "-n", "-c", "1", "-W", "1", "-I", "fe80::77%eth0", &to])
            .output()
            .expect("ping (make deps)");
        output.status.success()
    })
}

#[test]
fn a_link_local_source_finds_its_neighbour_and_nothing_else() {
    in_fresh_netns(|| {
        let world = World::new(Backend::Nft, true);
        let (client, web) = (world.workload("client"), world.workload("web"));
        client.place.ip("address add fe80::77/64 dev eth0 nodad");
        let web6 = web.endpoint.addresses.iter().find(|a| a.is_ipv6()).expect("dual stack").to_string();
        assert!(!pings_from_link_local(&client.place, &web6), "never forwarded");
        assert!(!pings_from_link_local(&client.place, "2001:db8::1"), "nor heard by the host");
        let chain = ChainKey { family: Family::V6, table: Table::Raw, name: "rn-link-local".into() };
        let counters = block_on(world.rules.counters(chain)).expect("the chain is there");
        assert!(counters.last().is_some_and(|rule| rule.packets >= 2), "dropped by our rule: {counters:?}");
        let to = web.endpoint.addresses.iter().find(|a| a.is_ipv6()).copied().expect("dual stack");
        let from = client.endpoint.addresses.iter().find(|a| a.is_ipv6()).copied().expect("dual stack");
        say(&client.place, from, to, "true");
        wait_for("its own address goes on to pass", 5 * SECOND, || heard(&web.listener, "true"));
    });
}

#[test]
fn an_interface_that_nobody_knows_is_closed_and_stays_closed_when_nobody_works() {
    in_fresh_netns(|| {
        let world = World::new(Backend::Nft, true);
        let intruder = Place::new();
        let key = EndpointKey {
            network: NetworkName::new("blue").expect("a name"),
            container_id: "intruder".into(),
            ifname: InterfaceName::new("eth0").expect("a name"),
        };
        let interface = key.host_interface();
        ip(&format!("link add {interface} type veth peer name eth0 netns {}", intruder.netns));
        ip(&format!("link set {interface} up"));
        ip(&format!("address add 169.254.1.1/32 dev {interface}"));
        ip(&format!("route add 10.65.0.9 dev {interface} scope link"));
        intruder.ip("link set eth0 up");
        intruder.ip("address add 10.65.0.9/32 dev eth0");
        intruder.ip("route add 169.254.1.1 dev eth0 scope link");
        intruder.ip("route add default via 169.254.1.1");
        let own: IpAddr = "10.65.0.9".parse().expect("an address");
        let intruders = intruder.run(move || Listener::new(&[own]));
        let find = |name: &str| world.workloads.iter().find(|w| w.endpoint.name == name).expect("a workload");
        let (client, web) = (find("client"), find("web"));
        let (from, to) = (client.endpoint.addresses[0], web.endpoint.addresses[0]);
        let host: IpAddr = "192.0.2.1".parse().expect("an address");
        let check = |round: &str| {
            let last = format!("last {round}");
            say(&intruder, own, to, round);
            say(&intruder, own, host, round);
            say(&client.place, from, own, round);
            say(&client.place, from, to, &last);
            say(&client.place, from, host, &last);
            assert!(!comes_through(&web.listener, round, &last), "to a workload, {round}");
            assert!(!comes_through(&world.host_listener, round, &last), "to the host, {round}");
            assert!(!heard(&intruders, round), "from a workload, {round}");
        };
        check("with the planes at work");
        // Workers end with their last handle, and leave the kernel as it is.
        drop((world.rules, world.links));
        check("with nobody at work");
    });
}
