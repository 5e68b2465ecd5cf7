use std::path::Path;

use super::*;
use routenet_core::model::config::StoreConfig;
use routenet_core::model::{Endpoint, EndpointKey, InterfaceName, Labels, NetworkName, Pool, PoolName};

fn node() -> NodeName {
    NodeName::new("h1").unwrap()
}

fn cluster(policies: Option<&Path>) -> StaticCluster {
    let pool = Pool {
        name: PoolName::new("p").unwrap(),
        cidr: "10.0.0.0/16".parse().unwrap(),
        block_size: 26,
        disabled: false,
        node_selector: String::new(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    };
    StaticCluster {
        pools: vec![pool],
        blocks: vec!["10.0.1.0/26".parse().unwrap()],
        policies: policies.map(Path::to_path_buf),
        ..StaticCluster::default()
    }
}

fn policy(name: &str, selector: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: {name}\nspec:\n  selector: \
         {selector}\n  ingress:\n  - action: Deny\n"
    )
}

fn reload(store: &NoneStore, directory: &Path) -> Result<(), StoreError> {
    store.read_again(&cluster(Some(directory))).map(|reading| store.commit(reading))
}

async fn policies(store: &NoneStore) -> Vec<String> {
    let (entries, _) = store.range("/objects/globalnetworkpolicy/").await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn the_nodes_file_is_the_cluster_and_its_blocks_are_its_own() {
    let store = NoneStore::new(&node(), &cluster(None)).unwrap();
    let entry = store.get("/blocks/10.0.1.0-26").await.unwrap().unwrap();
    let Ok(Fact::Block(block)) = keys::decode_fact(&entry.key, &entry.value) else { panic!("a block") };
    assert_eq!((block.owner, block.pool.as_str()), (node(), "p"));
    assert!(store.get("/objects/ippool/p").await.unwrap().is_some());
    assert!(!store.writable());

    let stray = StaticCluster { blocks: vec!["10.9.0.0/26".parse().unwrap()], ..cluster(None) };
    let text = NoneStore::new(&node(), &stray).err().unwrap().to_string();
    assert!(text.contains("`store.blocks`: 10.9.0.0/26 lies in none of this file's pools"), "{text}");
}

#[tokio::test]
async fn a_node_publishes_its_own_and_nothing_else() {
    let store = NoneStore::new(&node(), &cluster(None)).unwrap();
    let put = |key: &str| vec![Write::Put { key: key.into(), value: b"{}".to_vec() }];
    let endpoint = Fact::Endpoint(Endpoint {
        key: EndpointKey {
            network: NetworkName::new("web").unwrap(),
            container_id: "c".into(),
            ifname: InterfaceName::new("eth0").unwrap(),
        },
        node: node(),
        namespace: "default".into(),
        name: "c".into(),
        labels: Labels::new(),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: vec![],
        interface: None,
        attachment: None,
    });
    let own = StoreKey::of(&endpoint).path();
    for key in [own.as_str(), "/conditions/h1", "/objects/node/h1"] {
        assert!(matches!(store.transact(vec![], put(key)).await, Ok(TxnOutcome::Committed(_))), "{key}");
    }
    for key in ["/objects/ippool/p", "/blocks/10.0.2.0-26", "/conditions/h2", "/objects/node/h2", "/endpoints/h2/x"] {
        let text = store.transact(vec![], put(key)).await.unwrap_err().to_string();
        assert!(text.contains(key) && text.contains("this node has no store"), "{text}");
    }
    assert_eq!(
        store.transact(vec![Check { key: own.clone(), revision: 0 }], put(&own)).await,
        Ok(TxnOutcome::Conflict(vec![own]))
    );
}

#[tokio::test]
async fn the_directory_is_read_again_and_watchers_hear_the_difference() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("a.yaml"), policy("a", "all()")).unwrap();
    std::fs::write(file("b.yml"), policy("b", "all()")).unwrap();
    std::fs::write(file("notes.txt"), "not: [yaml").unwrap();
    let store = NoneStore::new(&node(), &cluster(Some(directory.path()))).unwrap();
    assert_eq!(policies(&store).await.len(), 2);

    let (_, revision) = store.range("/").await.unwrap();
    let mut events = store.watch(revision).await.unwrap();
    std::fs::remove_file(file("b.yml")).unwrap();
    std::fs::write(file("c.yaml"), policy("c", "all()")).unwrap();
    reload(&store, directory.path()).unwrap();
    let Some(WatchEvent::Changes { changes, .. }) = events.recv().await else { panic!("changes") };
    let heard: Vec<(&str, bool)> = changes.iter().map(|(key, value)| (key.as_str(), value.is_some())).collect();
    assert_eq!(heard, [("/objects/globalnetworkpolicy/c", true), ("/objects/globalnetworkpolicy/b", false)]);
}

#[tokio::test]
async fn peers_are_taken_over_and_another_directory_waits() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), policy("a", "all()")).unwrap();
    let store = NoneStore::new(&node(), &cluster(Some(directory.path()))).unwrap();
    let text = "node: h1\naddress: {ipv4: 192.0.2.1}\nstore:\n  type: none\n  peers: [{name: tor, address: 192.0.2.2, as: 1}]\n";
    let config = routenet_core::model::config::read("node.yaml", text).unwrap();
    let StoreConfig::None(read) = config.store else { panic!("no store") };
    let elsewhere = StaticCluster { peers: read.peers, ..cluster(Some(Path::new("/nowhere"))) };
    store.commit(store.read_again(&elsewhere).unwrap());
    let peers = async || store.range("/objects/bgppeer/").await.unwrap().0.len();
    assert_eq!((policies(&store).await.len(), peers().await), (1, 1));
    reload(&store, directory.path()).unwrap();
    assert_eq!((policies(&store).await.len(), peers().await), (1, 0));
}

#[tokio::test]
async fn a_wrong_file_is_named_and_the_last_good_state_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("a.yaml"), policy("a", "all()")).unwrap();
    let store = NoneStore::new(&node(), &cluster(Some(directory.path()))).unwrap();
    std::fs::write(file("b.yaml"), policy("b", "\"app = 'x'\"")).unwrap();
    std::fs::write(file("c.yaml"), policy("a", "all()")).unwrap();
    let text = reload(&store, directory.path()).unwrap_err().to_string();
    assert!(text.contains("b.yaml:6: GlobalNetworkPolicy b"), "{text}");
    std::fs::remove_file(file("b.yaml")).unwrap();
    let text = reload(&store, directory.path()).unwrap_err().to_string();
    assert!(
        text.contains("c.yaml:1: GlobalNetworkPolicy a: defined already in") && text.contains("a.yaml:1"),
        "{text}"
    );
    std::fs::write(
        file("c.yaml"),
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: q\nspec:\n  cidr: 10.7.0.0/16\n",
    )
    .unwrap();
    let text = reload(&store, directory.path()).unwrap_err().to_string();
    assert!(text.contains("c.yaml:1: IPPool q: IPPool has no place in the policies directory"), "{text}");
    assert_eq!(policies(&store).await, ["/objects/globalnetworkpolicy/a"]);

    let missing = directory.path().join("none");
    let text = NoneStore::new(&node(), &cluster(Some(&missing))).err().unwrap().to_string();
    assert!(text.contains("/none: No such file") && text.contains("`store.policies`"), "{text}");
}

#[tokio::test]
async fn a_watcher_from_an_unknown_revision_reads_again() {
    let store = NoneStore::new(&node(), &cluster(None)).unwrap();
    let mut events = store.watch(999).await.unwrap();
    assert_eq!(events.recv().await, Some(WatchEvent::Resync));
}
