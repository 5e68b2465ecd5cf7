use super::super::yaml::read_documents;
use super::*;

fn object(text: &str) -> Object {
    read_documents("t.yaml", text).expect("a good object").remove(0).value
}

#[test]
fn a_row_has_a_cell_for_each_column() {
    let pool =
        object("{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: a}, spec: {cidr: 10.65.0.0/16}}");
    assert_eq!(columns(Kind::IPPool, false), ["NAME", "CIDR", "BLOCK SIZE", "DISABLED"]);
    assert_eq!(row(&pool, false), ["a", "10.65.0.0/16", "26", "no"]);
    assert_eq!(row(&pool, true), ["a", "10.65.0.0/16", "26", "no", "all()", "yes"]);
    assert_eq!(row(&pool, true).len(), columns(Kind::IPPool, true).len());

    let policy = object(
        "{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: a, namespace: n}, spec: {order: 10}}",
    );
    assert_eq!(row(&policy, true), ["n", "a", "10", "all()", "Ingress", "0", "0"]);
    assert_eq!(row(&policy, true).len(), columns(Kind::NetworkPolicy, true).len());
}

#[test]
fn a_neighbour_of_a_link_is_shown_by_it() {
    for (place, shown) in [
        ("interface: eth0", "eth0"),
        ("peerIP: fe80::1%eth1", "fe80::1%eth1"),
        ("peerIP: 192.0.2.1", "192.0.2.1"),
        ("peerIP: '192.0.2.1:1179'", "192.0.2.1:1179"),
    ] {
        let peer = object(&format!(
            "{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: a}}, spec: {{{place}, asNumber: 65000}}}}"
        ));
        assert_eq!(row(&peer, false)[1], shown);
    }
}
