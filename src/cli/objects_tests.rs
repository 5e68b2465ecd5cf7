use serde_json::json;

use super::super::tests::said;
use super::*;

fn pool() -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": { "name": "pool-a" },
        "spec": { "cidr": "10.65.0.0/16", "blockSize": 26 },
    })
}

fn network() -> Value {
    json!({
        "apiVersion": "routenet/v1", "kind": "Network", "metadata": { "name": "blue" },
        "spec": { "pools": ["pool-a"], "isolation": "network" },
    })
}

#[test]
fn get_prints_a_table_of_the_kind_that_was_asked_for() {
    let (asked, answer) = said("get pools", json!({ "objects": [pool()] }));
    assert_eq!(asked, json!({ "op": "get", "kind": "ippool", "name": null, "namespace": null }));
    assert_eq!(
        answer,
        Answer::good("NAME    CIDR          BLOCK SIZE  DISABLED\npool-a  10.65.0.0/16  26          no\n".to_string())
    );
    let (_, answer) = said("get gnp", json!({ "objects": [] }));
    assert_eq!(answer.text, "no GlobalNetworkPolicy objects\n");
}

#[test]
fn get_all_prints_a_table_a_kind() {
    let (asked, answer) = said("get all", json!({ "objects": [network(), pool()] }));
    assert_eq!(asked["kind"], "all");
    let expected = "IPPool\nNAME    CIDR          BLOCK SIZE  DISABLED\npool-a  10.65.0.0/16  26          no\n\n\
                    Network\nNAME  POOLS   ISOLATION\nblue  pool-a  network\n";
    assert_eq!(answer.text, expected);
}

#[test]
fn a_name_without_a_namespace_means_the_default_one() {
    let (asked, _) = said("get np allow-web", json!({ "objects": [] }));
    assert_eq!(asked["namespace"], "default");
    let (asked, _) = said("get np", json!({ "objects": [] }));
    assert_eq!(asked["namespace"], Value::Null);
    let (asked, _) = said("get np allow-web -n shop", json!({ "objects": [] }));
    assert_eq!(asked["namespace"], "shop");
    let (asked, _) = said("get gnp deny-db", json!({ "objects": [] }));
    assert_eq!(asked["namespace"], Value::Null);
}

#[test]
fn what_get_prints_as_yaml_or_json_can_be_applied_again() {
    for words in ["get all -o yaml", "get all -o json"] {
        let (_, answer) = said(words, json!({ "objects": [pool(), network()] }));
        let read = read_documents("again.yaml", &answer.text).expect("good objects");
        assert_eq!(read.len(), 2, "{words}");
    }
    let (_, answer) = said("get pool pool-a -o json", json!({ "objects": [pool()] }));
    assert_eq!(serde_json::from_str::<Value>(&answer.text).expect("JSON"), pool());
}

#[test]
fn apply_sends_each_file_with_its_name_and_says_what_became_of_each_object() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("pools.yaml");
    std::fs::write(&file, "text").expect("a file");
    let changes = json!({ "changes": [
        { "kind": "IPPool", "namespace": null, "name": "pool-a", "outcome": "created" },
        { "kind": "NetworkPolicy", "namespace": "shop", "name": "allow-web", "outcome": "unchanged" },
    ] });
    let (asked, answer) = said(&format!("apply -f {}", file.display()), changes);
    assert_eq!(asked, json!({ "op": "apply", "documents": [{ "file": file, "text": "text" }] }));
    assert_eq!(answer.text, "IPPool pool-a created\nNetworkPolicy shop/allow-web unchanged\n");
}

#[test]
fn delete_names_what_is_to_go() {
    let changes =
        json!({ "changes": [{ "kind": "NetworkPolicy", "namespace": "shop", "name": "a", "outcome": "deleted" }] });
    let (asked, answer) = said("delete np a b -n shop", changes);
    let names = json!([
        { "kind": "networkpolicy", "namespace": "shop", "name": "a" },
        { "kind": "networkpolicy", "namespace": "shop", "name": "b" },
    ]);
    assert_eq!(asked, json!({ "op": "delete", "documents": [], "names": names }));
    assert_eq!(answer.text, "NetworkPolicy shop/a deleted\n");
    let (asked, _) = said("delete gnp a", json!({ "changes": [] }));
    assert_eq!(asked["names"], json!([{ "kind": "globalnetworkpolicy", "namespace": null, "name": "a" }]));
}
