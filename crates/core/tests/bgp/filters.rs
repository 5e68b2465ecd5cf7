//! Filters of neighbours: what passes, what is changed on the way, and that a change of a filter costs no session.

use routenet_core::bgp::filter::{Direction, Filters};
use routenet_core::bgp::speaker::*;
use routenet_core::model::yaml::read_documents;
use routenet_core::model::{BgpFilter, ImportPolicy, Object};

use crate::world::{World, address, cidr};

/// The filter of this spec.
fn filter(name: &str, spec: &str) -> BgpFilter {
    let text = format!("apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    match read_documents("filter.yaml", &text).unwrap_or_else(|errors| panic!("{errors:?}")).remove(0).value {
        Object::BGPFilter(filter) => filter,
        other => panic!("{other:?}"),
    }
}

/// Gives the neighbour of `index` these filters, of which those without a spec are not there.
fn set(world: &mut World, index: usize, peer: usize, filters: &[(&str, Option<&str>)]) {
    let known: Vec<BgpFilter> = filters.iter().filter_map(|(name, spec)| Some(filter(name, (*spec)?))).collect();
    let names: Vec<String> = filters.iter().map(|(name, _)| name.to_string()).collect();
    let by_name = |name: &str| known.iter().find(|filter| filter.name == name).cloned();
    let config = &mut world.hosts[index].config;
    let found = Filters::new(&names, by_name, |name| (name == "s2").then(|| address(2)));
    config.peers.get_mut(&address(peer)).expect("a neighbour").filters = found;
    let config = Box::new(config.clone());
    world.handle(index, Input::Configure(config));
    world.settle();
}

fn set_import(world: &mut World, index: usize, peer: usize, import: ImportPolicy) {
    let config = &mut world.hosts[index].config;
    config.peers.get_mut(&address(peer)).expect("a neighbour").import = import;
    let config = Box::new(config.clone());
    world.handle(index, Input::Configure(config));
    world.settle();
}

fn route(world: &World, index: usize, prefix: &str) -> RouteStatus {
    let mut routes = world.speaker(index).routes().into_iter();
    routes.find(|route| route.prefix == cidr(prefix)).unwrap_or_else(|| panic!("no route to {prefix}"))
}

fn sessions(world: &World) -> Vec<u64> {
    let speakers = world.hosts.iter().filter_map(|host| host.speaker.as_ref());
    speakers.flat_map(|speaker| speaker.status(world.now)).map(|status| status.sessions).collect()
}

fn question(peer: &str, direction: Direction, prefix: &str) -> FilterQuestion {
    FilterQuestion::new(peer, direction, cidr(prefix))
}

#[test]
fn an_import_filter_refuses_and_changes_and_its_change_is_soft() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(0).len(), 3);
    let before = sessions(&world);

    let first = "{importV4: [{action: Reject, matchOperator: In, cidr: 10.2.0.0/16}, {action: Accept, \
                 matchOperator: In, cidr: 10.1.0.0/16, operations: [{setLocalPreference: {value: 300}}, \
                 {addCommunity: {value: '64512:7'}}, {prependASPath: {prefix: [64999]}}]}]}";
    set(&mut world, 0, 1, &[("f", Some(first))]);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2", "10.3.0.0/24 via 10.0.0.2"]);
    assert_eq!(route(&world, 0, "10.2.0.0/24").refused.as_deref(), Some("BGPFilter f, importV4[0] rejects it"));
    let changed = route(&world, 0, "10.1.0.0/24");
    assert_eq!((changed.local_pref, changed.as_path.as_str()), (Some(300), "64999 64513"));
    assert_eq!(changed.communities, ["64512:7"]);
    assert_eq!(world.status(0, 1).accepted, 2);

    // Another filter works on what was received, not on what the first one made of it.
    set(
        &mut world,
        0,
        1,
        &[("f", Some("{importV4: [{action: Accept, operations: [{setLocalPreference: {value: 50}}]}]}"))],
    );
    assert_eq!(world.kernel(0).len(), 3);
    let changed = route(&world, 0, "10.1.0.0/24");
    assert_eq!((changed.local_pref, changed.as_path.as_str()), (Some(50), "64513"));
    assert_eq!(changed.communities, [""; 0]);
    // What comes later meets it too.
    world.announce(1, &["10.4.0.0/24"]);
    world.settle();
    assert_eq!(route(&world, 0, "10.4.0.0/24").local_pref, Some(50));
    world.withdraw(1, &["10.4.0.0/24"]);
    world.settle();
    assert_eq!(world.kernel(0).len(), 3);

    set(&mut world, 0, 1, &[]);
    assert_eq!(route(&world, 0, "10.1.0.0/24").local_pref, None);
    assert_eq!(sessions(&world), before, "no session was reset");
}

#[test]
fn what_a_filter_accepts_needs_no_import_and_what_it_leaves_open_does() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::None);
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.seconds(5);
    assert!(world.kernel(0).is_empty(), "RFC 8212");
    set(&mut world, 0, 1, &[("f", Some("{importV4: [{action: Accept, matchOperator: In, cidr: 10.1.0.0/16}]}"))]);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"]);
    set_import(&mut world, 0, 1, ImportPolicy::All);
    assert_eq!(world.kernel(0).len(), 2, "and with `import: all` the rest passes, as in Calico");
}

#[test]
fn an_export_filter_holds_back_and_changes_what_is_told() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    world.hosts[1].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(1));
    world.start();
    world.announce(0, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.announce(2, &["10.3.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(1).len(), 3);
    let before = sessions(&world);
    let spec = "{exportV4: [{action: Reject, source: Own, matchOperator: Equal, cidr: 10.2.0.0/24}, {action: Accept, \
                sourcePeers: [s2], operations: [{setMED: {value: 7}}, {setCommunities: {values: ['64512:9']}}, \
                {prependASPath: {prefix: [64512, 64512]}}]}]}";
    set(&mut world, 0, 1, &[("f", Some(spec))]);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1", "10.3.0.0/24 via 10.0.0.1"]);
    let told = route(&world, 1, "10.3.0.0/24");
    assert_eq!((told.as_path.as_str(), told.med), ("64512 64512 64512 64514", Some(7)));
    assert_eq!(told.communities, ["64512:9"]);
    assert_eq!((route(&world, 1, "10.1.0.0/24").med, route(&world, 1, "10.1.0.0/24").as_path), (None, "64512".into()));
    assert_eq!(world.kernel(2).len(), 2, "the other neighbour is told all");

    set(&mut world, 0, 1, &[]);
    assert_eq!(world.kernel(1).len(), 3);
    assert_eq!(route(&world, 1, "10.3.0.0/24").as_path, "64512 64514");
    assert_eq!(sessions(&world), before, "no session was reset");
}

#[test]
fn a_filter_that_is_not_there_closes_the_neighbour_both_ways() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.announce(0, &["10.0.0.0/24"]);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(5);
    assert_eq!((world.kernel(0).len(), world.kernel(1).len()), (1, 1));
    let before = sessions(&world);
    set(&mut world, 0, 1, &[("there", Some("{importV4: [{action: Accept}]}")), ("gone", None)]);
    assert!(world.kernel(0).is_empty() && world.kernel(1).is_empty());
    assert_eq!(world.status(0, 1).config.filters.missing(), ["gone"]);
    let why = route(&world, 0, "10.1.0.0/24").refused;
    assert_eq!(why.as_deref(), Some("a BGPFilter that the peer names is not there"));
    let answer = world.speaker(0).test_filter(&question("s1", Direction::Export, "10.0.0.0/24")).unwrap();
    assert_eq!((answer.accepted, answer.why.as_str()), (false, "BGPFilter gone, which the peer names, is not there"));
    set(&mut world, 0, 1, &[("there", Some("{importV4: [{action: Accept}]}"))]);
    assert_eq!((world.kernel(0).len(), world.kernel(1).len()), (1, 1));
    assert_eq!(sessions(&world), before, "no session was reset");
}

fn attribute<'a>(answer: &'a FilterAnswer, name: &str) -> (Option<&'a str>, Option<&'a str>) {
    let line = answer.attributes.iter().find(|line| line.name == name).expect("an attribute");
    (line.before.as_deref(), line.after.as_deref())
}

#[test]
fn what_a_prefix_would_meet_is_told_rule_by_rule() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::None);
    world.start();
    world.announce(0, &["10.9.0.0/24"]);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(5);
    let spec = "{importV4: [{action: Reject, communities: {values: [no-export]}}, {action: Accept, \
                matchOperator: In, cidr: 10.1.0.0/16, operations: [{setLocalPreference: {value: 300}}]}], \
                exportV4: [{action: Accept, source: Own, operations: [{prependASPath: {prefix: [64512]}}]}]}";
    set(&mut world, 0, 1, &[("f", Some(spec))]);
    let ask = |question: &FilterQuestion| world.speaker(0).test_filter(question).unwrap();

    let import = question("s1", Direction::Import, "10.1.0.0/24");
    let answer = ask(&import);
    assert!(answer.accepted && answer.in_rib && answer.from == "s1");
    assert_eq!(answer.why, "BGPFilter f, importV4[1] accepts it");
    let asked: Vec<_> = answer.rules.iter().map(|line| (line.rule.as_str(), line.mismatch.as_deref())).collect();
    assert_eq!(asked, [("BGPFilter f, importV4[0]", Some("communities")), ("BGPFilter f, importV4[1]", None)]);
    assert_eq!(attribute(&answer, "local preference"), (None, Some("300")), "from what was received");
    assert_eq!(attribute(&answer, "AS path"), (Some("64513"), Some("64513")));

    let tagged = FilterQuestion { communities: Some(vec!["no-export".parse().unwrap()]), ..import.clone() };
    let answer = ask(&tagged);
    assert_eq!((answer.accepted, answer.why.as_str()), (false, "BGPFilter f, importV4[0] rejects it"));
    let looped = FilterQuestion { as_path: Some(vec![64513, 64512]), ..import };
    assert_eq!(ask(&looped).why, "our own AS is in its AS_PATH");
    let unknown = ask(&question("10.0.0.2", Direction::Import, "10.7.0.0/24"));
    assert_eq!((unknown.accepted, unknown.in_rib), (false, false));
    assert_eq!(unknown.why, "the peer's import policy is `none`");

    let own = ask(&question("s1", Direction::Export, "10.9.0.0/24"));
    assert!(own.accepted && own.from == "here");
    assert_eq!(attribute(&own, "AS path"), (None, Some("64512 64512")));
    assert_eq!(attribute(&own, "next hop"), (None, Some("10.0.0.1")));
    let of_another = FilterQuestion { from: Some("s2".into()), ..question("s1", Direction::Export, "10.9.0.0/24") };
    let answer = ask(&of_another);
    assert_eq!((answer.accepted, answer.from.as_str()), (false, "s2"));
    assert_eq!(answer.why, "it was learned, and `import` of this eBGP neighbour is not `all` (RFC 8212)");
    let nobody = world.speaker(0).test_filter(&question("s7", Direction::Export, "10.9.0.0/24"));
    assert_eq!(nobody.unwrap_err(), "no neighbour \"s7\": this node has s1, s2");
}
