use super::super::yaml::read_documents;
use super::*;

fn pool(name: &str, cidr: &str) -> Object {
    pool_with(name, cidr, "26")
}

fn pool_with(name: &str, cidr: &str, block_size: &str) -> Object {
    object(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {{name: {name}}}, \
         spec: {{cidr: \"{cidr}\", blockSize: {block_size}}}}}"
    ))
}

fn network(name: &str, pools: &str) -> Object {
    object(&format!(
        "{{apiVersion: routenet/v1, kind: Network, metadata: {{name: {name}}}, spec: {{pools: [{pools}]}}}}"
    ))
}

fn peer(name: &str, spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
    ))
}

fn object(text: &str) -> Object {
    read_documents("t.yaml", text).expect("a good object").remove(0).value
}

fn problems(existing: &[Object], changed: &[Object], deleted: &[ObjectKey]) -> Vec<String> {
    check_objects(existing, changed, deleted).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::global(kind, name)
}

#[test]
fn overlapping_pools_are_refused_and_both_are_named() {
    let existing = [pool("a", "10.65.0.0/16")];
    let expected =
        ["IPPool b: spec.cidr: 10.65.128.0/20 overlaps 10.65.0.0/16 of IPPool a (choose a cidr that lies apart)"];
    assert_eq!(problems(&existing, &[pool("b", "10.65.128.0/20")], &[]), expected);
    let expected =
        ["IPPool b: spec.cidr: 10.64.0.0/10 overlaps 10.65.0.0/16 of IPPool a (choose a cidr that lies apart)"];
    assert_eq!(problems(&existing, &[pool("b", "10.64.0.0/10")], &[]), expected);
    assert_eq!(problems(&[], &[pool("a", "10.65.0.0/16"), pool("b", "10.65.0.0/16")], &[]).len(), 1);
    assert_eq!(problems(&existing, &[pool("b", "10.66.0.0/16"), pool_with("c", "fd00::/64", "122")], &[]), [""; 0]);
    // In the place of the one that goes.
    assert_eq!(problems(&existing, &[pool("b", "10.65.0.0/16")], &[key(Kind::IPPool, "a")]), [""; 0]);
}

#[test]
fn a_pool_keeps_its_cidr_and_block_size() {
    let existing = [pool("a", "10.65.0.0/16")];
    let mend = "(make a pool of another name, move the networks to it, then delete this one)";
    assert_eq!(
        problems(&existing, &[pool("a", "10.66.0.0/16")], &[]),
        [format!(
            "IPPool a: spec.cidr: cannot change from 10.65.0.0/16 to 10.66.0.0/16: blocks are cut from it {mend}"
        )]
    );
    assert_eq!(
        problems(&existing, &[pool_with("a", "10.65.0.0/16", "24")], &[]),
        [format!("IPPool a: spec.blockSize: cannot change from 26 to 24: blocks are cut by it {mend}")]
    );
    assert_eq!(problems(&existing, &existing, &[]), [""; 0]);
}

#[test]
fn a_network_has_its_pools_as_long_as_it_lives() {
    let existing = [pool("pool-a", "10.65.0.0/16"), network("blue", "pool-a")];
    assert_eq!(problems(&[], &existing, &[]), [""; 0], "both at once");
    assert_eq!(
        problems(&existing, &[network("red", "pol-a")], &[]),
        ["Network red: spec.pools[0]: there is no IPPool pol-a (did you mean pool-a?)"]
    );
    assert_eq!(
        problems(&existing, &[], &[key(Kind::IPPool, "pool-a")]),
        [
            "IPPool pool-a: cannot be deleted: Network blue draws from it (delete the network first, or take the pool out \
          of its spec.pools)"
        ]
    );
    assert_eq!(problems(&existing, &[], &[key(Kind::IPPool, "pool-a"), key(Kind::Network, "blue")]), [""; 0]);
    assert_eq!(problems(&existing, &[], &[key(Kind::IPPool, "absent")]), [""; 0]);
}

#[test]
fn one_neighbour_is_given_once() {
    let existing = [peer("a", "peerIP: 192.0.2.1, asNumber: 1")];
    assert_eq!(
        problems(&existing, &[peer("b", "peerIP: 192.0.2.1, asNumber: 1")], &[]),
        ["BGPPeer b: spec.peerIP: BGPPeer a has the same peerIP for the same nodes (delete one of them)"]
    );
    assert_eq!(problems(&existing, &[peer("b", "peerIP: 192.0.2.1, asNumber: 1, node: n")], &[]), [""; 0]);
}

#[test]
fn a_problem_finds_the_line_of_its_object() {
    let text = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: a}, spec: {cidr: 10.0.0.0/8}}\n---\n\
                {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: b}, spec: {cidr: 10.65.0.0/16}}\n";
    let objects = read_documents("pools.yaml", text).expect("good objects");
    let values: Vec<Object> = objects.iter().map(|object| object.value.clone()).collect();
    let invalid = check_objects(&[], &values, &[]).expect_err("an overlap");
    assert_eq!(
        invalid[0].locate(&objects).expect("found").to_string(),
        "pools.yaml:3: IPPool b: spec.cidr: 10.65.0.0/16 overlaps 10.0.0.0/8 of IPPool a (choose a cidr that lies apart)"
    );
    assert_eq!(invalid[0].locate(&objects[..1]), None);
}

fn policy(name: &str, tier: &str) -> Object {
    object(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: {name}}}, spec: {{tier: {tier}}}}}"
    ))
}

fn tier(name: &str) -> Object {
    object(&format!(
        "{{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {{name: {name}}}, spec: {{order: 10, defaultAction: Pass}}}}"
    ))
}

#[test]
fn a_policy_lies_in_a_tier_that_is_there_as_long_as_it_does() {
    for known in ["default", "kube-admin", "kube-baseline"] {
        assert_eq!(problems(&[], &[policy("p", known)], &[]), [""; 0], "{known} is built in");
    }
    assert_eq!(problems(&[], &[policy("p", "security"), tier("security")], &[]), [""; 0]);
    assert_eq!(
        problems(&[tier("security")], &[policy("p", "securty")], &[]),
        ["GlobalNetworkPolicy p: spec.tier: there is no Tier securty (did you mean security?)"]
    );
    let existing = [tier("security"), policy("p", "security")];
    assert_eq!(
        problems(&existing, &[], &[key(Kind::Tier, "security")]),
        [
            "Tier security: cannot be deleted: GlobalNetworkPolicy p lies in it (delete the policy first, or move it to another tier)"
        ]
    );
    assert_eq!(problems(&existing, &[policy("p", "default")], &[key(Kind::Tier, "security")]), [""; 0]);
}
