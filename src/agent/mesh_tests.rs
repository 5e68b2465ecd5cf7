//! What a look at the mesh is given: when what others said counts.

use super::*;

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

fn condition(of: &str, at: u64, in_place: Option<&str>) -> NodeCondition {
    NodeCondition {
        node: name(of),
        at,
        version: String::new(),
        problems: Vec::new(),
        endpoints: 0,
        blocks: Vec::new(),
        peers_established: 0,
        peers_configured: 0,
        mesh_in_place: in_place.map(str::to_string),
    }
}

#[test]
fn what_others_said_counts_while_the_store_is_followed_and_takes_what_we_say() {
    let now = Instant::now() + Duration::from_secs(3600);
    let heard = |seconds: u64| now - Duration::from_secs(seconds);
    let look = |in_sync: bool, own: Option<u64>| {
        let mut conditions = BTreeMap::from([(name("b"), (heard(100), condition("b", 7, Some("plan"))))]);
        conditions.extend(own.map(|seconds| (name("a"), (heard(seconds), condition("a", 9, None)))));
        facts(in_sync, &name("a"), &conditions, BTreeMap::new(), true, now)
    };
    assert!(look(true, Some(11)).current);
    assert!(!look(false, Some(1)).current, "it is away");
    assert!(!look(true, Some(21)).current, "it takes nothing of us, nor of others");
    assert!(!look(true, None).current, "it has never taken anything of us");
    let said = look(false, None).said;
    assert_eq!(said, BTreeMap::from([("b".to_string(), Said { at: 7, in_place: Some("plan".to_string()) })]));
}
