//! BGPFilters with BIRD at the other end: what passes both ways, the attributes that BIRD sees in its own table, and
//! changes that cost no session.

use std::collections::BTreeMap;

use routenet_core::bgp::filter::{Direction, Filters};
use routenet_core::bgp::speaker::{FilterQuestion, SpeakerConfig};
use routenet_core::model::yaml::{read_documents, render_errors};
use routenet_core::model::{ImportPolicy, Object};

use crate::bird::Bird;
use crate::rig::{LIMIT, Neighbor, OUR_AS, THEIR_AS, THEIRS, Us, between, cidr, speaker};
use crate::support::wait_for;

const OWN: [&str; 3] = ["10.65.1.0/26", "10.65.2.0/26", "fd65:1::/64"];
const FOREIGN: [&str; 4] = ["198.51.100.0/24", "198.51.101.0/24", "198.51.101.128/25", "2001:db8:51::/48"];

/// Our side, with one filter for its neighbour.
fn config(their_as: u32, import: ImportPolicy, spec: &str) -> SpeakerConfig {
    let text = format!("apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {{name: f}}\nspec:{spec}");
    let mut objects = read_documents("f.yaml", &text).unwrap_or_else(|errors| panic!("{}", render_errors(&errors)));
    let Object::BGPFilter(filter) = objects.remove(0).value else { panic!("no BGPFilter") };
    let mut config = speaker(0, their_as);
    for peer in config.peers.values_mut() {
        peer.import = import;
        peer.filters = Filters::new(&["f".to_string()], |_| Some(filter.clone()), |_| None);
    }
    config
}

/// What BIRD has of us: of each prefix its attributes, by the names that BIRD has for them.
fn attributes(bird: &Bird) -> BTreeMap<String, BTreeMap<String, String>> {
    let listing = bird.ask("show route protocol routenet all");
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut prefix = None;
    for line in listing.lines() {
        if !line.starts_with([' ', '\t']) {
            prefix = line.split_whitespace().next().filter(|word| word.contains('/')).map(str::to_string);
        } else if let (Some(prefix), Some((name, value))) = (&prefix, line.trim().split_once(": ")) {
            found.entry(prefix.clone()).or_default().insert(name.to_string(), value.trim().to_string());
        }
    }
    found
}

fn of(bird: &Bird, prefix: &str, name: &str) -> String {
    attributes(bird).get(prefix).and_then(|found| found.get(name)).cloned().unwrap_or_default()
}

fn prefixes(us: &Us) -> Vec<String> {
    us.learned().keys().map(|prefix| prefix.to_string()).collect()
}

#[test]
fn bird_what_is_told_passes_the_filter_and_carries_what_it_adds() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &[]);
        let first = "
  exportV4:
  - {action: Reject, matchOperator: Equal, cidr: 10.65.2.0/26}
  - action: Accept
    operations:
    - {addCommunity: {value: '65001:100'}}
    - {addCommunity: {value: '65001:1:2'}}
    - {addCommunity: {value: 'rt:65001:9'}}
    - {setMED: {value: 77}}
    - {prependASPath: {prefix: [65001, 65001]}}
";
        let us = Us::start(config(THEIR_AS, ImportPolicy::All, first), false);
        us.announce(&OWN);
        wait_for("the routes at BIRD", LIMIT, || bird.learned().len() == 2);
        assert!(!attributes(&bird).contains_key(OWN[1]), "rejected");
        assert_eq!(of(&bird, OWN[0], "BGP.as_path"), "65001 65001 65001");
        assert_eq!(of(&bird, OWN[0], "BGP.community"), "(65001,100)");
        assert_eq!(of(&bird, OWN[0], "BGP.large_community"), "(65001, 1, 2)");
        assert_eq!(of(&bird, OWN[0], "BGP.ext_community"), "(rt, 65001, 9)");
        assert_eq!(of(&bird, OWN[0], "BGP.med"), "77");
        assert_eq!(of(&bird, OWN[2], "BGP.as_path"), "65001", "the rules are for IPv4");
        assert_eq!(of(&bird, OWN[2], "BGP.community"), "");

        let sessions = us.peer(THEIRS[0]).sessions;
        let second = "
  exportV4:
  - {action: Reject, matchOperator: Equal, cidr: 10.65.1.0/26}
  - {action: Accept, operations: [{setCommunities: {values: [no-export, '65001:200']}}]}
  exportV6:
  - {action: Reject, prefixLength: {min: 64}}
";
        us.peering.configure(config(THEIR_AS, ImportPolicy::All, second));
        wait_for("the other route alone", LIMIT, || bird.learned().keys().eq([&cidr(OWN[1])]));
        assert_eq!(of(&bird, OWN[1], "BGP.community"), "(65001,200) (65535,65281)");
        assert_eq!((of(&bird, OWN[1], "BGP.med"), of(&bird, OWN[1], "BGP.as_path")), (String::new(), "65001".into()));
        assert_eq!(us.peer(THEIRS[0]).sessions, sessions, "a change of a filter is soft");
        assert!(us.established(THEIRS[0]) && bird.established());
    });
}

#[test]
fn bird_what_it_tells_is_taken_by_prefix_community_and_path() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        bird.reconfigure(
            "export filter announced",
            "export filter { if source != RTS_STATIC then reject; bgp_med = 5; bgp_community.add((65002, 666)); \
             bgp_path.prepend(64999); accept; }",
        );
        // Without `import`: what no rule accepts is refused (RFC 8212).
        let first = "
  importV4:
  - {action: Reject, matchOperator: In, cidr: 198.51.101.0/24, prefixLength: {min: 25, max: 32}}
  - action: Accept
    communities: {values: ['65002:666']}
    asPath: '65002 64999'
    nextHops: [10.9.0.2]
    operations:
    - {setLocalPreference: {value: 250}}
    - {removeCommunity: {value: '65002:*'}}
    - {addCommunity: {value: '65001:7'}}
";
        let us = Us::start(config(THEIR_AS, ImportPolicy::None, first), false);
        us.announce(&[]);
        wait_for("all of them to come", LIMIT, || us.routes().len() == FOREIGN.len());
        assert_eq!(prefixes(&us), FOREIGN[..2]);
        let route = |prefix: &str| us.routes().into_iter().find(|route| route.prefix == cidr(prefix)).expect(prefix);
        let taken = route(FOREIGN[0]);
        assert_eq!((taken.local_pref, taken.med, taken.communities), (Some(250), Some(5), vec!["65001:7".to_string()]));
        assert_eq!(route(FOREIGN[2]).refused.as_deref(), Some("BGPFilter f, importV4[0] rejects it"));
        assert_eq!(route(FOREIGN[3]).refused.as_deref(), Some("the peer's import policy is `none`"));

        let sessions = us.peer(THEIRS[0]).sessions;
        let second = "
  importV4:
  - {action: Reject, communities: {matchOperator: NoneOf, values: ['65002:667']}}
  importV6:
  - {action: Accept, asPathPrefix: [65002]}
";
        us.peering.configure(config(THEIR_AS, ImportPolicy::None, second));
        wait_for("the other one alone", LIMIT, || prefixes(&us) == FOREIGN[3..]);
        assert_eq!(route(FOREIGN[0]).communities, ["65002:666"], "as it was received");
        us.peering.configure(config(THEIR_AS, ImportPolicy::All, "\n  importV4: []\n"));
        wait_for("all of them", LIMIT, || prefixes(&us).len() == FOREIGN.len());
        assert_eq!(us.peer(THEIRS[0]).sessions, sessions, "a change of a filter is soft");
    });
}

#[test]
fn bird_of_our_own_as_sees_the_local_preference() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, OUR_AS, &FOREIGN[..1]);
        let spec = "
  exportV4:
  - {action: Accept, peerType: iBGP, source: Own, operations: [{setLocalPreference: {value: 250}}, {setMED: {value: 3}}]}
  importV4:
  - {action: Reject, peerType: eBGP}
  - {action: Accept, operations: [{setLocalPreference: {value: 50}}]}
";
        let us = Us::start(config(OUR_AS, ImportPolicy::None, spec), false);
        us.announce(&OWN[..1]);
        wait_for("the routes", LIMIT, || bird.learned().len() == 1 && us.learned().len() == 1);
        assert_eq!((of(&bird, OWN[0], "BGP.local_pref"), of(&bird, OWN[0], "BGP.med")), ("250".into(), "3".into()));
        assert_eq!(us.routes().iter().find(|route| route.from.is_some()).and_then(|route| route.local_pref), Some(50));
    });
}

#[test]
fn bird_a_filter_that_is_not_there_closes_both_ways_and_what_a_prefix_meets_is_told() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN[..1]);
        let us = Us::start(config(THEIR_AS, ImportPolicy::All, "\n  importV4: []\n"), false);
        us.announce(&OWN[..1]);
        wait_for("the routes", LIMIT, || bird.learned().len() == 1 && us.learned().len() == 1);
        let sessions = us.peer(THEIRS[0]).sessions;
        let mut closed = speaker(0, THEIR_AS);
        for peer in closed.peers.values_mut() {
            peer.filters = Filters::new(&["gone".to_string()], |_| None, |_| None);
        }
        us.peering.configure(closed);
        wait_for("silence", LIMIT, || bird.learned().is_empty() && us.learned().is_empty());
        assert_eq!(us.peer(THEIRS[0]).sessions, sessions);
        let ask =
            |us: &Us, direction, prefix: &str| us.test_filter(FilterQuestion::new("them", direction, cidr(prefix)));
        for (direction, prefix) in [(Direction::Import, FOREIGN[0]), (Direction::Export, OWN[0])] {
            let answer = ask(&us, direction, prefix);
            assert!(!answer.accepted && answer.in_rib, "{answer:?}");
            assert_eq!(answer.why, "BGPFilter gone, which the peer names, is not there");
        }
        us.peering.configure(config(THEIR_AS, ImportPolicy::All, "\n  exportV4: [{action: Accept, source: Own}]\n"));
        wait_for("the routes again", LIMIT, || bird.learned().len() == 1 && us.learned().len() == 1);
        assert_eq!(ask(&us, Direction::Export, OWN[0]).why, "BGPFilter f, exportV4[0] accepts it");
    });
}
