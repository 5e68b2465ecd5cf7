use super::*;
use routenet_core::model::{InterfaceName, Labels, NetworkName, NodeName, PoolName};

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/journal.db");
    (directory, path)
}

fn key(id: &str) -> EndpointKey {
    EndpointKey {
        network: NetworkName::new("web").unwrap(),
        container_id: id.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    }
}

fn endpoint(id: &str, addresses: &[&str]) -> Endpoint {
    Endpoint {
        key: key(id),
        node: NodeName::new("h1").unwrap(),
        namespace: "default".into(),
        name: id.into(),
        labels: Labels::from([("app".into(), "web".into())]),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        interface: None,
        attachment: None,
    }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn block(cidr: &str) -> Block {
    Block {
        cidr: cidr.parse().unwrap(),
        pool: PoolName::new("p").unwrap(),
        owner: NodeName::new("h1").unwrap(),
        epoch: 1,
    }
}

fn allocate(id: &str, addresses: &[&str]) -> JournalWrite {
    JournalWrite::Allocate { key: key(id), addresses: ips(addresses) }
}

#[tokio::test]
async fn everything_comes_back_after_a_restart() {
    let (_directory, path) = scratch();
    let journal = Journal::open(&path).unwrap();
    assert!(journal.load().unwrap().is_blank());
    let incarnation = journal.incarnation().to_string();
    assert_eq!(incarnation.len(), 32);
    let one = endpoint("one", &["10.0.0.1", "fd00::1"]);
    let writes = vec![
        JournalWrite::PutBlock(block("10.0.0.0/26")),
        allocate("one", &["10.0.0.1", "fd00::1"]),
        JournalWrite::PutEndpoint(Box::new(one.clone())),
    ];
    journal.record(writes).await.unwrap();
    journal.record(vec![allocate("two", &["10.0.0.2"])]).await.unwrap();
    journal.record(vec![JournalWrite::Release { key: key("two"), at: Time::from_secs(10) }]).await.unwrap();
    let acknowledge = JournalWrite::Acknowledge { addresses: ips(&["10.0.0.2"]), at: Time::from_secs(11) };
    journal.record(vec![acknowledge]).await.unwrap();
    let before = journal.load().unwrap();
    drop(journal);

    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.incarnation(), incarnation);
    let state = journal.load().unwrap();
    assert_eq!(state, before);
    assert_eq!(state.endpoints, [one]);
    assert_eq!(state.blocks, [block("10.0.0.0/26")]);
    assert_eq!(state.allocations.len(), 2);
    let rested = Released {
        address: "10.0.0.2".parse().unwrap(),
        key: key("two"),
        released: Time::from_secs(10),
        acknowledged: Some(Time::from_secs(11)),
    };
    assert_eq!(state.released, [rested]);
}

#[tokio::test]
async fn an_address_has_one_owner_and_a_wrong_write_fails_alone() {
    let (_directory, path) = scratch();
    let journal = Journal::open(&path).unwrap();
    journal.record(vec![allocate("one", &["10.0.0.1"])]).await.unwrap();
    journal.record(vec![allocate("one", &["10.0.0.1"])]).await.expect("the same again is no error");
    let good = journal.submit(vec![allocate("two", &["10.0.0.2"])]);
    let wrong = journal.submit(vec![allocate("three", &["10.0.0.3", "10.0.0.1"])]);
    let also_good = journal.submit(vec![allocate("four", &["10.0.0.4"])]);
    good.await.unwrap();
    also_good.await.unwrap();
    let text = wrong.await.unwrap_err().to_string();
    assert!(text.contains("10.0.0.1 belongs to web/one/eth0, so web/three/eth0 cannot have it"), "{text}");
    let held: Vec<IpAddr> = journal.load().unwrap().allocations.into_iter().map(|(address, _)| address).collect();
    assert_eq!(held, ips(&["10.0.0.1", "10.0.0.2", "10.0.0.4"]), "nothing of the wrong one");
}

#[tokio::test]
async fn release_is_idempotent_and_a_block_goes_with_what_rested_in_it() {
    let (_directory, path) = scratch();
    let journal = Journal::open(&path).unwrap();
    journal.record(vec![JournalWrite::PutBlock(block("10.0.0.0/26")), allocate("one", &["10.0.0.1"])]).await.unwrap();
    journal.record(vec![JournalWrite::PutEndpoint(Box::new(endpoint("one", &["10.0.0.1"])))]).await.unwrap();
    for at in [5, 6] {
        journal.record(vec![JournalWrite::Release { key: key("one"), at: Time::from_secs(at) }]).await.unwrap();
    }
    let state = journal.load().unwrap();
    assert_eq!((state.endpoints.len(), state.allocations.len()), (0, 0));
    assert_eq!(state.released[0].released, Time::from_secs(5), "the second release found nothing");
    journal.record(vec![JournalWrite::RemoveBlock("10.0.0.0/26".parse().unwrap())]).await.unwrap();
    assert!(journal.load().unwrap().is_blank());
}

#[tokio::test]
async fn an_address_that_is_given_out_again_rests_no_more() {
    let (_directory, path) = scratch();
    let journal = Journal::open(&path).unwrap();
    journal.record(vec![allocate("one", &["10.0.0.1"])]).await.unwrap();
    journal.record(vec![JournalWrite::Release { key: key("one"), at: Time::from_secs(5) }]).await.unwrap();
    journal.record(vec![allocate("two", &["10.0.0.1"])]).await.unwrap();
    let state = journal.load().unwrap();
    assert_eq!((state.allocations.len(), state.released.len()), (1, 0));
}

#[test]
fn two_agents_cannot_have_one_journal() {
    let (_directory, path) = scratch();
    let first = Journal::open(&path).unwrap();
    let text = Journal::open(&path).unwrap_err().to_string();
    let pid = std::process::id();
    assert!(text.contains(&format!("journal.db is in use by another agent, process {pid}")), "{text}");
    assert!(text.contains("stop that one, or give this one another `paths.state`"), "{text}");
    drop(first);
    Journal::open(&path).expect("free again");
}

#[test]
fn a_journal_is_waited_for_where_its_agent_has_ended() {
    let (_directory, path) = scratch();
    let held = Journal::open(&path).unwrap();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    std::fs::write(path.with_extension("lock"), format!("{}\n", ended.id())).unwrap();
    let other = std::thread::spawn(move || Journal::open(&path).map(drop));
    // Time enough for a refusal; without one the answer comes with the lock's end.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!other.is_finished());
    drop(held);
    other.join().unwrap().expect("free again");
}

#[test]
fn a_damaged_journal_is_refused_and_kept() {
    let (_directory, path) = scratch();
    drop(Journal::open(&path).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 2000].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let text = Journal::open(&path).unwrap_err().to_string();
    assert!(text.contains("journal.db") && text.contains("damaged") && text.contains("it was left as it is"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_cluster_store_is_no_journal() {
    let (_directory, path) = scratch();
    drop(Journal::open(&path).unwrap());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "application_id", 1).unwrap();
    drop(conn);
    let text = Journal::open(&path).unwrap_err().to_string();
    assert!(text.contains("is an SQLite file of something else, not a journal"), "{text}");
}
