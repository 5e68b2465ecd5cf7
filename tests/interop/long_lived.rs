//! Long-lived graceful restart (RFC 9494) with others: they keep ours beyond the restart time, we keep theirs, and a third
//! one hears of it; and what a real kernel forwards meanwhile.

use std::time::Duration;

use routenet_core::bgp::speaker::SpeakerConfig;

use crate::bird::Bird;
use crate::fixture::{Agent, CLUSTER, Site, established};
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::rig::{
    LIMIT, Namespace, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, Us, add, among, between, cidr, speaker, theirs,
};
use crate::support::hosts::Namespace as Host;
use crate::support::ping::ContinuousPing;
use crate::support::{run, wait_for};

const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];
/// LLGR_STALE, in the words of each.
const STALE: [&str; 2] = ["65535:6", "llgr-stale"];
/// The restart time, in seconds, of who is to be away.
const RESTART: u16 = 3;

fn config(restart_time: u16, long_lived_time: u32) -> SpeakerConfig {
    SpeakerConfig { restart_time, long_lived_time, ..speaker(0, THEIR_AS) }
}

fn up(neighbor: &dyn Neighbor, config: SpeakerConfig, restarting: bool, announced: &[&str]) -> Us {
    let us = Us::start(config, restarting);
    us.announce(announced);
    wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    us
}

fn agreed(us: &Us) -> bool {
    us.peer(THEIRS[0]).capabilities.iter().any(|word| word == "long-lived-graceful-restart")
}

/// How many of our routes its table has, and how many of them are marked as stale.
fn kept(neighbor: &dyn Neighbor) -> (usize, usize) {
    let table = neighbor.table();
    let stale = table.values().filter(|told| STALE.iter().any(|word| told.communities.contains(*word)));
    (table.len(), stale.count())
}

/// How many of its routes we have, and how many of them are the last choice.
fn we_have(us: &Us) -> (usize, usize) {
    let best = us.routes().into_iter().filter(|route| route.best && route.from.is_some());
    let stale: Vec<bool> = best.map(|route| route.communities.iter().any(|one| one == STALE[0])).collect();
    (stale.len(), stale.iter().filter(|stale| **stale).count())
}

fn they_keep_ours(neighbor: &dyn Neighbor) {
    let us = up(neighbor, config(RESTART, 600), false, &OWN);
    assert!(agreed(&us), "{:?}", us.peer(THEIRS[0]).capabilities);
    wait_for("our routes", LIMIT, || kept(neighbor) == (2, 0));
    us.stop();
    wait_for("the restart time to be over", LIMIT, || kept(neighbor) == (2, 2));
    assert!(!neighbor.established());

    let us = up(neighbor, config(RESTART, 600), true, &OWN[..1]);
    wait_for("what we no longer announce to go", LIMIT, || kept(neighbor) == (1, 0));
    assert!(neighbor.learned().contains_key(&cidr(OWN[0])));
    us.stop();
}

/// Where it is off here, its own is no reason to keep ours.
fn they_keep_nothing_where_it_is_off(neighbor: &dyn Neighbor) {
    let us = up(neighbor, config(RESTART, 0), false, &OWN);
    wait_for("our routes", LIMIT, || kept(neighbor) == (2, 0));
    assert!(!agreed(&us));
    us.stop();
    wait_for("the end of the restart time, which is the end", LIMIT, || kept(neighbor) == (0, 0));
}

fn we_keep_theirs(neighbor: &mut dyn Neighbor) {
    let mut us = up(neighbor, config(120, 3600), false, &OWN);
    assert!(agreed(&us), "{:?}", us.peer(THEIRS[0]).capabilities);
    wait_for("its routes", LIMIT, || we_have(&us) == (2, 0));
    neighbor.kill();
    wait_for("the end of the session", LIMIT, || !us.established(THEIRS[0]));
    assert!(us.peer(THEIRS[0]).stale.is_some_and(|stale| !stale.long_lived), "in its restart time");
    wait_for("the restart time to be over", LIMIT, || we_have(&us) == (2, 2));
    let stale = us.peer(THEIRS[0]).stale.expect("kept");
    assert!(stale.long_lived && stale.left <= Duration::from_secs(600), "no longer than it wants: {stale:?}");
    us.listen();
    assert_eq!(us.kernel.len(), 2);

    neighbor.start();
    wait_for("the second session", LIMIT, || us.peer(THEIRS[0]).sessions == 2);
    wait_for("End-of-RIB", LIMIT, || us.peer(THEIRS[0]).stale.is_none());
    assert_eq!(we_have(&us), (2, 0), "told again");
    us.listen();
    assert_eq!(us.kernel.len(), 2);
    us.stop();
}

/// The same neighbour with us where it is off.
fn we_keep_nothing_where_it_is_off(neighbor: &mut dyn Neighbor) {
    let us = up(neighbor, config(120, 0), false, &OWN);
    assert!(!agreed(&us));
    wait_for("its routes", LIMIT, || we_have(&us) == (2, 0));
    neighbor.kill();
    wait_for("the end of the session", LIMIT, || !us.established(THEIRS[0]));
    assert_eq!(we_have(&us).0, 2, "in its restart time");
    wait_for("the end of the restart time, which is the end", LIMIT, || we_have(&us) == (0, 0));
    assert_eq!(us.peer(THEIRS[0]).stale, None);
    us.stop();
}

fn bird(namespace: Namespace, as_number: u32, announced: &[&str], stale_time: u32) -> Bird {
    let more =
        format!("graceful restart time {RESTART}; long lived graceful restart on; long lived stale time {stale_time};");
    Bird::with(namespace, 0, as_number, announced, &more)
}

fn frr(namespace: Namespace, as_number: u32, announced: &[&str], stale_time: u32) -> Frr {
    let more = format!(
        " bgp graceful-restart restart-time {RESTART}\n bgp long-lived-graceful-restart stale-time {stale_time}\n"
    );
    Frr::beside(namespace, 0, as_number, announced, &more, "")
}

#[test]
fn bird_keeps_ours_as_long_as_that() {
    between(|namespace| they_keep_ours(&bird(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn frr_keeps_ours_as_long_as_that() {
    between(|namespace| they_keep_ours(&frr(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn gobgp_keeps_ours_as_long_as_that() {
    between(|namespace| they_keep_ours(&GoBgp::long_lived(namespace, THEIR_AS, &FOREIGN, RESTART, 600)));
}

#[test]
fn bird_keeps_ours_no_longer_than_the_restart_time_where_it_is_off() {
    between(|namespace| they_keep_nothing_where_it_is_off(&bird(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn frr_keeps_ours_no_longer_than_the_restart_time_where_it_is_off() {
    between(|namespace| they_keep_nothing_where_it_is_off(&frr(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn gobgp_keeps_ours_no_longer_than_the_restart_time_where_it_is_off() {
    between(|namespace| {
        they_keep_nothing_where_it_is_off(&GoBgp::long_lived(namespace, THEIR_AS, &FOREIGN, RESTART, 600))
    });
}

#[test]
fn we_keep_birds_as_long_as_that() {
    between(|namespace| we_keep_theirs(&mut bird(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn we_keep_frrs_as_long_as_that() {
    between(|namespace| we_keep_theirs(&mut frr(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn we_keep_gobgps_as_long_as_that() {
    between(|namespace| we_keep_theirs(&mut GoBgp::long_lived(namespace, THEIR_AS, &FOREIGN, RESTART, 600)));
}

#[test]
fn we_keep_birds_no_longer_than_its_restart_time_where_it_is_off() {
    between(|namespace| we_keep_nothing_where_it_is_off(&mut bird(namespace, THEIR_AS, &FOREIGN, 600)));
}

#[test]
fn what_bird_wants_kept_for_a_few_seconds_goes_after_them() {
    between(|namespace| {
        let mut neighbor = bird(namespace, THEIR_AS, &FOREIGN, 4);
        let us = up(&neighbor, config(120, 3600), false, &OWN);
        wait_for("its routes", LIMIT, || we_have(&us) == (2, 0));
        neighbor.kill();
        wait_for("the restart time to be over", LIMIT, || we_have(&us) == (2, 2));
        wait_for("the end of the stale time", LIMIT, || we_have(&us) == (0, 0));
        assert_eq!(us.peer(THEIRS[0]).stale, None);
        us.stop();
    });
}

/// What is stale of the first is told to the second as that, or not at all.
fn a_third_one_hears_of_it(third: impl FnOnce(Namespace) -> Box<dyn Neighbor> + Send + 'static, speaks: bool) {
    among(move |[first, second]| {
        let mut gone = bird(first, THEIR_AS, &FOREIGN[..1], 600);
        let third = third(second);
        let mut config = config(120, 3600);
        add(&mut config, "third", 1, 0, 65003);
        let us = Us::start(config, false);
        us.announce(&OWN[..1]);
        let told = cidr(FOREIGN[0]);
        let knows = || third.table().remove(&told);
        wait_for("both sessions", LIMIT, || us.established(THEIRS[0]) && us.established(&theirs(1)[0]));
        wait_for("the route at the far end", LIMIT, || knows().is_some());
        gone.kill();
        wait_for("the restart time to be over", LIMIT, || we_have(&us) == (1, 1));
        if speaks {
            let marked = || knows().is_some_and(|told| STALE.iter().any(|word| told.communities.contains(*word)));
            wait_for("the mark at the far end", LIMIT, marked);
        } else {
            wait_for("the withdrawal at the far end", LIMIT, || knows().is_none());
            assert!(third.learned().contains_key(&cidr(OWN[0])), "nothing else goes");
        }
        us.stop();
    });
}

#[test]
fn frr_hears_of_what_is_stale_where_it_speaks_it() {
    a_third_one_hears_of_it(|namespace| Box::new(frr(namespace, 65003, &[], 600)), true);
}

#[test]
fn bird_hears_of_what_is_stale_where_it_speaks_it() {
    a_third_one_hears_of_it(|namespace| Box::new(bird(namespace, 65003, &[], 600)), true);
}

#[test]
fn bird_loses_what_is_stale_where_it_does_not() {
    let off = "long lived graceful restart off;";
    a_third_one_hears_of_it(|namespace| Box::new(Bird::with(namespace, 0, 65003, &[], off)), false);
}

/// A whole agent beside a BIRD that is killed and stays away: packets go on past its restart time, or stop with it.
fn the_kernel_forwards(long_lived: u32) {
    between(move |namespace| {
        let mut neighbor = bird(namespace, THEIR_AS, &["10.65.255.0/26"], 600);
        let there = "10.65.255.1";
        let added = neighbor.command("ip").args(["address", "add", &format!("{there}/32"), "dev", "lo"]).status();
        assert!(added.expect("ip").success());
        let site = Site::new();
        let path = site.directory.path().display();
        let config = format!(
            "node: h1\naddress: {{ipv4: {}, ipv6: '{}'}}\nstore: {{type: embedded, path: {path}/cluster.db}}\n\
             paths: {{state: {path}/h1, socket: {path}/h1.sock}}\n\
             bgp:\n  as: {OUR_AS}\n  connectRetry: 1\n  gracefulRestart: {{longLivedTime: {long_lived}}}\n  peers:\n  \
             - {{name: them, address: {}, as: {THEIR_AS}, import: all}}\n",
            OURS[0], OURS[1], THEIRS[0]
        );
        let agent = Agent::start_with(&site, &Host::present(), 1, &config);
        agent.apply(CLUSTER);
        let kernel_has = || run("ip", &["route", "show", "proto", "83"]).contains("10.65.255.0/26");
        wait_for("the session", LIMIT, || established(&agent) && neighbor.established());
        wait_for("its prefix in our kernel", LIMIT, kernel_has);
        let ping = ContinuousPing::start(std::process::Command::new("ping"), there);
        neighbor.kill();
        if long_lived > 0 {
            let says = |words: &str| agent.routectl(&["bgp", "neighbor", "them"]).stdout.contains(words);
            wait_for("the restart time to be over", LIMIT, || says("as the last choice (RFC 9494)"));
            let route = agent.routectl(&["bgp", "route", there]).stdout;
            assert!(route.contains("65535:6 (LLGR_STALE)") && route.contains("stale"), "{route}");
            assert!(kernel_has());
            // Some more packets, all of them beyond the restart time.
            let more = run("ping", &["-n", "-q", "-i", "0.01", "-c", "50", there]);
            assert!(more.contains(" 0% packet loss"), "{more}");
            let (sent, received) = ping.stop();
            assert_eq!(sent, received, "packets were lost");
        } else {
            wait_for("the restart time to be over", LIMIT, || !kernel_has());
            let reaches = || Host::present().succeeds("ping", &["-n", "-c", "1", "-W", "1", there]);
            assert!(!reaches(), "there is no way left");
            let (sent, received) = ping.stop();
            assert!(received > 0, "{sent} sent, {received} received");
        }
    });
}

#[test]
fn the_kernel_goes_on_forwarding_beyond_the_restart_time() {
    the_kernel_forwards(3600);
}

#[test]
fn without_it_the_kernel_forwards_for_the_restart_time() {
    the_kernel_forwards(0);
}
