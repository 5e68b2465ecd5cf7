//! Several paths of a prefix (RFC 7911) with BIRD and FRR, both ways, beside a neighbour that is told one.

use std::collections::BTreeSet;

use routenet_core::bgp::speaker::RouteDetail;
use routenet_core::model::Cidr;
use routenet_core::model::peering::{AddPaths, SentPaths};

use crate::bird::Bird;
use crate::frr::Frr;
use crate::rig::{
    COMMUNITY, LIMIT, MED, Namespace, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, Told, Us, add, among, cidr, ip,
    speaker, theirs,
};
use crate::support::{run, wait_for};

/// The other neighbour's, which announces what we announce, too.
const OTHER_AS: u32 = 65003;
const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
/// What the neighbour has two paths to.
const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];

/// One that tells and takes several paths.
trait Several: Neighbor {
    fn all(&self) -> Vec<(Cidr, Told)>;
    /// Of its two paths to what it announces, this many less.
    fn withdraw_second(&self);
}

impl Several for Bird {
    fn all(&self) -> Vec<(Cidr, Told)> {
        self.paths()
    }

    fn withdraw_second(&self) {
        self.ask("disable second4");
        self.ask("disable second6");
    }
}

impl Several for Frr {
    fn all(&self) -> Vec<(Cidr, Told)> {
        self.paths()
    }

    fn withdraw_second(&self) {
        for family in ["ipv4", "ipv6"] {
            self.configure(&format!("address-family {family} unicast\nno redistribute kernel"));
        }
    }
}

fn bird(namespace: Namespace, channel: &str) -> Bird {
    let second = |number: usize| {
        let family = ["4", "6"][number];
        format!(
            "protocol static second{family} {{\n  ipv{family};\n  route {} blackhole {{ bgp_path.prepend(65099); }};\n}}\n",
            FOREIGN[number]
        )
    };
    Bird::in_channels(namespace, 0, THEIR_AS, &FOREIGN, "", channel, &(second(0) + &second(1)))
}

fn frr(namespace: Namespace, families: &str) -> Frr {
    for prefix in FOREIGN {
        namespace.run("ip", &["route", "add", "blackhole", prefix]);
    }
    Frr::beside(namespace, 0, THEIR_AS, &FOREIGN, "", families)
}

/// Our side with two neighbours: the one that may have several paths, and the other one.
fn us(add_paths: AddPaths) -> Us {
    let mut config = speaker(0, THEIR_AS);
    add(&mut config, "them", 0, 0, THEIR_AS).options.add_paths = add_paths;
    add(&mut config, "others", 1, 0, OTHER_AS);
    let us = Us::start(config, false);
    us.announce(&OWN);
    us
}

fn of<'a>(all: &'a [(Cidr, Told)], prefix: &str) -> Vec<&'a Told> {
    all.iter().filter(|(known, _)| *known == cidr(prefix)).map(|(_, told)| told).collect()
}

/// What we have of the neighbour's routes to this prefix.
fn learned(us: &Us, prefix: &str) -> Vec<RouteDetail> {
    let from_them = |detail: &RouteDetail| detail.route.from.as_ref().is_some_and(|(_, name)| name == "them");
    us.route(prefix).into_iter().filter(from_them).collect()
}

fn capabilities(us: &Us, address: &str) -> BTreeSet<String> {
    us.peer(address).capabilities.into_iter().filter_map(|word| Some(word.strip_prefix("add-paths-")?.into())).collect()
}

fn both_ways(them: &dyn Several, others: &dyn Neighbor) {
    let us = us(AddPaths { receive: true, send: SentPaths::All });
    wait_for("both sessions", LIMIT, || {
        us.established(THEIRS[0]) && us.established(&theirs(1)[0]) && them.established() && others.established()
    });
    let agreed = ["receive-ipv4-unicast", "receive-ipv6-unicast", "send-ipv4-unicast", "send-ipv6-unicast"];
    assert_eq!(capabilities(&us, THEIRS[0]), agreed.map(String::from).into());
    assert_eq!(capabilities(&us, &theirs(1)[0]), BTreeSet::new(), "of one that wants one path");

    // We tell both our own route and the other one's.
    wait_for("both of our paths there", LIMIT, || OWN.iter().all(|prefix| of(&them.all(), prefix).len() == 2));
    for (prefix, ours) in OWN.into_iter().zip(OURS) {
        let all = them.all();
        let paths = of(&all, prefix);
        let own = paths.iter().find(|path| path.as_path == [OUR_AS]).expect("our own");
        let other = paths.iter().find(|path| path.as_path == [OUR_AS, OTHER_AS]).expect("the other neighbour's");
        assert_eq!([own.next_hop, other.next_hop], [Some(ip(ours)); 2], "{prefix}");
        assert_eq!((own.communities.len(), other.communities.contains(COMMUNITY)), (0, true), "{prefix}: {paths:?}");
    }
    // It tells two of each, and we keep both.
    wait_for("both of its paths here", LIMIT, || FOREIGN.iter().all(|prefix| learned(&us, prefix).len() == 2));
    for (prefix, hop) in FOREIGN.into_iter().zip(THEIRS) {
        let paths = learned(&us, prefix);
        assert_eq!([paths[0].route.next_hop, paths[1].route.next_hop], [Some(ip(hop)); 2]);
        assert!(paths[0].path_id.is_some() && paths[0].path_id != paths[1].path_id, "{prefix}: {paths:?}");
        assert!(paths[0].told_as != paths[1].told_as, "{prefix}: {paths:?}");
        let announced: Vec<&RouteDetail> = paths.iter().filter(|path| path.route.med == Some(MED)).collect();
        assert!(announced.iter().any(|path| path.route.communities.contains(&COMMUNITY.to_string())), "{paths:?}");
        assert!(paths[0].route != paths[1].route, "they differ: {paths:?}");
    }
    // Who wants one path hears the best one. (Over the other link our IPv6 address of this one leads nowhere.)
    let prefix = FOREIGN[0];
    wait_for("the best one at the other neighbour", LIMIT, || others.table().contains_key(&cidr(prefix)));
    let best = us.route(prefix)[0].route.as_path.clone();
    let heard: Vec<String> = others.table()[&cidr(prefix)].as_path.iter().map(u32::to_string).collect();
    assert_eq!(heard.join(" "), format!("{OUR_AS} {best}"));
    in_a_dump(&us);

    // One of two goes, and the other one stays.
    let before = FOREIGN.map(|prefix| learned(&us, prefix));
    them.withdraw_second();
    wait_for("one path less", LIMIT, || FOREIGN.iter().all(|prefix| learned(&us, prefix).len() == 1));
    for (prefix, before) in FOREIGN.into_iter().zip(before) {
        let left = learned(&us, prefix).remove(0);
        assert!(
            before.iter().any(|known| (known.path_id, &known.route.as_path) == (left.path_id, &left.route.as_path))
        );
        assert!(left.route.communities.contains(&COMMUNITY.to_string()), "{prefix}: {left:?}");
    }
    us.withdraw(&OWN);
    wait_for("one of ours less", LIMIT, || OWN.iter().all(|prefix| of(&them.all(), prefix).len() == 1));
    for prefix in OWN {
        assert_eq!(of(&them.all(), prefix)[0].as_path, [OUR_AS, OTHER_AS]);
    }
    others.withdraw_all();
    wait_for("the other one, too", LIMIT, || OWN.iter().all(|prefix| of(&them.all(), prefix).is_empty()));
    let status = us.peer(THEIRS[0]);
    assert_eq!((status.malformed, status.sessions), (0, 1), "{status:?}");
    us.stop();
}

/// By the eyes of bgpdump: both of the neighbour's paths, and our own and the other neighbour's route.
fn in_a_dump(us: &Us) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("table.mrt");
    std::fs::write(&file, us.dump()).expect("a file");
    let text = run("bgpdump", &["-m", "-v", file.to_str().expect("a path in UTF-8")]);
    for (prefix, source) in FOREIGN.iter().map(|prefix| (prefix, THEIRS[0])).chain([(&OWN[0], &*theirs(1)[0])]) {
        let of_source =
            text.lines().filter(|line| line.contains(&format!("|{source}|")) && line.contains(&format!("|{prefix}|")));
        assert_eq!(of_source.count(), if source == THEIRS[0] { 2 } else { 1 }, "{prefix} of {source}:\n{text}");
    }
}

#[test]
fn bird_both_ways() {
    among(|[first, second]| {
        both_ways(&bird(first, "add paths on;"), &Bird::new(second, 0, OTHER_AS, &OWN));
    });
}

#[test]
fn frr_both_ways() {
    among(|[first, second]| {
        let us = first.ours[0].clone();
        let families = format!("  neighbor {us} addpath-tx-all-paths\n  redistribute kernel\n");
        both_ways(&frr(first, &families), &Bird::new(second, 0, OTHER_AS, &OWN));
    });
}

/// BIRD offers one direction, or none: what it offers holds, the other one is as without.
#[test]
fn bird_one_way_or_none() {
    for (channel, send, paths) in [
        ("add paths rx;", SentPaths::All, [2, 1]),
        ("add paths rx;", SentPaths::None, [1, 1]),
        ("add paths tx;", SentPaths::All, [1, 2]),
        ("", SentPaths::All, [1, 1]),
    ] {
        among(move |[first, second]| {
            let (them, others) = (bird(first, channel), Bird::new(second, 0, OTHER_AS, &OWN));
            let us = us(AddPaths { receive: true, send });
            let counts = || [of(&them.paths(), OWN[1]).len(), learned(&us, FOREIGN[1]).len()];
            wait_for("what was agreed on", LIMIT, || {
                others.established() && us.peer(&theirs(1)[0]).accepted == 2 && counts() == paths
            });
            for prefix in OWN {
                let all = them.paths();
                assert!(
                    of(&all, prefix).iter().any(|path| path.as_path == [OUR_AS]),
                    "the best is one of them: {all:?}"
                );
            }
            assert_eq!(us.peer(THEIRS[0]).malformed, 0);
            us.stop();
        });
    }
}

/// So many of the best: a third path is not told until one of the two goes.
#[test]
fn bird_hears_the_best_two() {
    among(|[first, second, third]| {
        let them = bird(first, "add paths rx;");
        let others = [Bird::new(second, 0, OTHER_AS, &OWN), Bird::new(third, 0, OTHER_AS + 1, &OWN)];
        let mut config = speaker(0, THEIR_AS);
        let best = AddPaths { receive: false, send: SentPaths::Best(2) };
        add(&mut config, "them", 0, 0, THEIR_AS).options.add_paths = best;
        add(&mut config, "others", 1, 0, OTHER_AS);
        add(&mut config, "third", 2, 0, OTHER_AS + 1);
        let us = Us::start(config, false);
        us.announce(&OWN);
        let paths = |prefix: &str| -> BTreeSet<Vec<u32>> {
            of(&them.paths(), prefix).into_iter().map(|path| path.as_path.clone()).collect()
        };
        let all_three = || OWN.iter().all(|prefix| us.route(prefix).len() == 3);
        wait_for("three routes here", LIMIT, || others.iter().all(|other| other.established()) && all_three());
        let two = BTreeSet::from([vec![OUR_AS], vec![OUR_AS, OTHER_AS]]);
        wait_for("two of them there", LIMIT, || OWN.iter().all(|prefix| paths(prefix) == two));
        others[0].withdraw_all();
        let next = BTreeSet::from([vec![OUR_AS], vec![OUR_AS, OTHER_AS + 1]]);
        wait_for("the third in the place of the second", LIMIT, || OWN.iter().all(|prefix| paths(prefix) == next));
        us.stop();
    });
}
