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
