//! Addresses for endpoints: by the journal inside own blocks, by the store beyond.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use routenet::agent::allocator::{AllocateError, Request};
use routenet::agent::publisher::Publisher;
use routenet::store::{ClusterStore, NoneStore, StoreError, TxnOutcome, Write};
use routenet_core::ipam::IpamError;
use routenet_core::model::config::StaticCluster;
use routenet_core::model::keys::StoreKey;
use routenet_core::model::{Block, Fact, Labels, Object, Pool};

use super::fixture::{Host, Place, Plan, blocks, endpoint, key, let_go, no_connections, node, pool, put, until};

const NO_REST: Duration = Duration::ZERO;

fn plan(cidr: &str, size: u8) -> Plan {
    Plan::new(&[pool("p", cidr, size)])
}

async fn cluster(plan: &Plan) -> (Place, Arc<dyn ClusterStore>) {
    let place = Place::new();
    let store = place.store();
    plan.write_to(&*store).await;
    (place, store)
}

async fn error(host: &Host, plan: &Plan, id: &str) -> AllocateError {
    host.allocator.allocate(&plan.request(&key(id))).await.unwrap_err()
}

#[tokio::test]
async fn an_endpoint_has_the_same_addresses_however_often_it_asks() {
    let plan = Plan::new(&[pool("p", "10.0.0.0/24", 26), pool("q", "fd00::/64", 122)]);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let first = host.attach(&plan, &key("one")).await;
    assert_eq!(first.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    assert_eq!(host.attach(&plan, &key("one")).await, first);
    assert_ne!(host.attach(&plan, &key("two")).await, first);
    drop(host);
    let host = Host::start(store, "h1", &place.state("h1"), NO_REST).await;
    assert_eq!(host.attach(&plan, &key("one")).await, first, "also after a restart");
    assert_eq!(host.allocator.holder(first[0]), Some(key("one")));
    assert!(host.allocator.release(&key("one")).await.unwrap());
    assert!(!host.allocator.release(&key("one")).await.unwrap(), "a second release finds nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_different_addresses_of_as_few_blocks_as_hold_them() {
    let plan = plan("10.0.0.0/22", 26);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let (host, plan) = (&host, &plan);
    let ids: Vec<String> = (0..150).map(|number| format!("c{number}")).collect();
    let addresses = futures::future::join_all(ids.iter().map(async |id| host.attach(plan, &key(id)).await)).await;
    let different: BTreeSet<IpAddr> = addresses.into_iter().flatten().collect();
    assert_eq!(different.len(), 150);
    assert_eq!(blocks(&*store).await.len(), 3, "64 addresses each");
    assert_eq!(host.own_blocks().len(), 3);
}

#[tokio::test]
async fn inside_an_own_block_the_store_is_not_needed() {
    let plan = plan("10.0.0.0/24", 30);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    host.attach(&plan, &key("one")).await;
    drop(host);
    place.take_away().await;
    let host = Host::start_apart(store, "h1", &place.state("h1"), NO_REST);
    for id in ["two", "three", "four"] {
        host.attach(&plan, &key(id)).await;
    }
    let error = error(&host, &plan, "five").await;
    assert!(error.try_again(), "{error}");
    assert!(matches!(&error, AllocateError::Claim(StoreError::Away(_))), "{error}");
    assert!(error.to_string().contains("a block must be claimed: the store cannot be reached: "), "{error}");
}

#[tokio::test]
async fn a_full_pool_is_named_and_frees_itself_by_release() {
    let plan = plan("10.0.0.0/30", 31);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let mut last = Vec::new();
    for id in ["a", "b", "c", "d"] {
        last = host.attach(&plan, &key(id)).await;
    }
    let full = error(&host, &plan, "e").await;
    let text = full.to_string();
    assert!(text.contains("IPPool p (10.0.0.0/30): 2 of 2 blocks of /31 are claimed"), "{text}");
    assert!(!full.try_again());
    host.allocator.release(&key("d")).await.unwrap();
    let cooling = error(&host, &plan, "e").await;
    assert!(
        matches!(&cooling, AllocateError::Ipam(IpamError::Cooling { resting: 1, ready_in: None, .. })),
        "{cooling}"
    );
    assert!(cooling.try_again());
    let _publisher = Publisher::spawn(store, host.allocator.clone(), no_connections());
    let request = key("e");
    until("the withdrawal is acknowledged", async || {
        host.allocator.allocate(&plan.request(&request)).await.is_ok_and(|addresses| addresses == last)
    })
    .await;
}

#[tokio::test]
async fn the_cooldown_runs_from_the_acknowledgement_and_over_a_restart() {
    let plan = plan("10.0.0.0/32", 32);
    let (place, store) = cluster(&plan).await;
    let hour = Duration::from_secs(3600);
    let host = Host::start(store.clone(), "h1", &place.state("h1"), hour).await;
    host.attach(&plan, &key("one")).await;
    host.allocator.release(&key("one")).await.unwrap();
    let publisher = Publisher::spawn(store.clone(), host.allocator.clone(), no_connections());
    let ready_in = async |host: &Host| match error(host, &plan, "two").await {
        AllocateError::Ipam(IpamError::Cooling { ready_in, .. }) => ready_in,
        other => panic!("{other}"),
    };
    until("the withdrawal is acknowledged", async || ready_in(&host).await.is_some()).await;
    drop((publisher, host));
    let_go(&place.state("h1")).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), hour).await;
    assert!(ready_in(&host).await.is_some_and(|wait| wait <= hour));
    drop(host);
    let host = Host::start(store, "h1", &place.state("h1"), NO_REST).await;
    host.attach(&plan, &key("two")).await;
}

#[tokio::test]
async fn dual_stack_is_all_or_nothing() {
    let plan = Plan::new(&[pool("p", "10.0.0.0/24", 26), pool("q", "fd00::/128", 128)]);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store, "h1", &place.state("h1"), NO_REST).await;
    host.attach(&plan, &key("one")).await;
    let text = error(&host, &plan, "two").await.to_string();
    assert!(text.contains("no free IPv6 address"), "{text}");
    assert_eq!(host.journal.load().unwrap().allocations.len(), 2, "the IPv4 address was not kept");
    assert!(host.allocator.fill().iter().all(|block| block.held == 1));
}

#[tokio::test]
async fn an_address_can_be_asked_for_by_name() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let one = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let two = Host::start(store.clone(), "h2", &place.state("h2"), NO_REST).await;
    let ask = async |host: &Host, id: &str, address: &str| {
        let wanted: [IpAddr; 1] = [address.parse().unwrap()];
        let key = key(id);
        let request = Request { wanted: &wanted, ..plan.request(&key) };
        host.allocator.allocate(&request).await.map(|got| got == wanted).map_err(|error| error.to_string())
    };
    assert_eq!(ask(&one, "a", "10.0.0.77").await, Ok(true));
    assert_eq!(one.own_blocks(), ["10.0.0.64/26"], "its block was claimed for it");
    let text = ask(&one, "b", "10.0.0.77").await.unwrap_err();
    assert!(text.contains("10.0.0.77 cannot be given out: endpoint web/a/eth0 has it"), "{text}");
    let text = ask(&two, "c", "10.0.0.78").await.unwrap_err();
    assert!(text.contains("node h1 owns its block 10.0.0.64/26"), "{text}");
    assert!(text.contains("give it an IPPool of its own with blockSize: 32"), "{text}");
    let text = ask(&two, "c", "192.0.2.1").await.unwrap_err();
    assert!(text.contains("it lies in none of the pools that network web may use here"), "{text}");
}

#[tokio::test]
async fn in_a_pool_of_single_addresses_an_address_moves_between_nodes() {
    let plan = plan("10.0.0.0/28", 32);
    let (place, store) = cluster(&plan).await;
    let one = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let two = Host::start(store.clone(), "h2", &place.state("h2"), NO_REST).await;
    let wanted: [IpAddr; 1] = ["10.0.0.5".parse().unwrap()];
    let key = key("mover");
    let request = Request { wanted: &wanted, ..plan.request(&key) };
    assert_eq!(one.allocator.allocate(&request).await.unwrap(), wanted);
    let text = two.allocator.allocate(&request).await.unwrap_err().to_string();
    assert!(text.contains("node h1 owns its block 10.0.0.5/32"), "{text}");
    let _publisher = Publisher::spawn(store, one.allocator.clone(), no_connections());
    one.allocator.release(&key).await.unwrap();
    until("its block is given back, though it is the last one", async || {
        !one.allocator.give_back_empty_blocks().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(two.allocator.allocate(&request).await.unwrap(), wanted);
}

#[tokio::test]
async fn empty_blocks_go_back_after_two_looks_but_never_the_last() {
    let plan = plan("10.0.0.0/28", 30);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let _publisher = Publisher::spawn(store.clone(), host.allocator.clone(), no_connections());
    for id in ["a", "b", "c", "d", "e"] {
        host.attach(&plan, &key(id)).await;
    }
    assert_eq!(host.own_blocks().len(), 2);
    assert_eq!(host.allocator.give_back_empty_blocks().await.unwrap(), []);
    host.allocator.release(&key("e")).await.unwrap();
    until("one block is given back", async || !host.allocator.give_back_empty_blocks().await.unwrap().is_empty()).await;
    for id in ["a", "b", "c", "d"] {
        host.allocator.release(&key(id)).await.unwrap();
    }
    until("all is acknowledged", async || {
        host.journal.load().unwrap().released.iter().all(|released| released.acknowledged.is_some())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(host.allocator.give_back_empty_blocks().await.unwrap(), [], "the last one stays");
    }
    assert_eq!(blocks(&*store).await.len(), 1);

    let pool = plan.pools.values().next().unwrap().clone();
    let gone = Write::Delete { key: StoreKey::of(&Fact::Object(Object::IPPool(pool))).path() };
    store.transact(vec![], vec![gone]).await.unwrap();
    assert_eq!(host.allocator.give_back_empty_blocks().await.unwrap().len(), 1, "unless its pool was deleted");
    assert_eq!(blocks(&*store).await, []);
}

#[tokio::test]
async fn a_claim_that_ended_half_way_is_taken_up() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let block = Block {
        cidr: "10.0.0.128/26".parse().unwrap(),
        pool: pool("p", "10.0.0.0/24", 26).name,
        owner: node("h1"),
        epoch: 1,
    };
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    assert!(host.own_blocks().is_empty());
    store.transact(vec![], vec![put(&Fact::Block(block))]).await.unwrap();
    let addresses = host.attach(&plan, &key("one")).await;
    assert_eq!(addresses, ["10.0.0.128".parse::<IpAddr>().unwrap()]);
    assert_eq!(blocks(&*store).await.len(), 1, "no second one was claimed");
}

#[tokio::test]
async fn a_block_given_to_another_node_is_quarantined() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let before = host.attach(&plan, &key("one")).await;
    let mut stolen = blocks(&*store).await.remove(0);
    stolen.owner = node("h2");
    store.transact(vec![], vec![put(&Fact::Block(stolen.clone()))]).await.unwrap();
    host.allocator.observe_block(&stolen.cidr, Some(&stolen)).await.unwrap();
    assert!(host.own_blocks().is_empty(), "neither black-holed nor announced");
    let lost = host.allocator.lost_blocks();
    assert!(lost[&stolen.cidr].contains("node h2 owns it now"), "{lost:?}");
    let after = host.attach(&plan, &key("two")).await;
    assert!(!stolen.cidr.contains(after[0]), "nothing more is given out of it");
    assert_eq!(host.allocator.endpoint(&key("one")).unwrap().addresses, before, "what runs goes on");
    drop(host);
    let host = Host::start(store, "h1", &place.state("h1"), NO_REST).await;
    assert_eq!(host.allocator.lost_blocks().len(), 1, "found again at a start");
}

#[tokio::test]
async fn a_machine_that_finds_its_block_with_another_one_of_its_name_gives_nothing_more_out_of_it() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let old = Host::start(store.clone(), "h1", &place.state("old"), NO_REST).await;
    let before = old.attach(&plan, &key("one")).await;
    let given_away = blocks(&*store).await.remove(0);
    // `ipam release-node`, and a new machine under the old one's name: it walks the pool in the same order.
    let gone = Write::Delete { key: StoreKey::Block(given_away.cidr).path() };
    store.transact(vec![], vec![gone]).await.unwrap();
    let new = Host::start(store.clone(), "h1", &place.state("new"), NO_REST).await;
    assert_eq!(new.attach(&plan, &key("two")).await, before, "the same block from its beginning");
    let claimed = blocks(&*store).await.remove(0);
    assert_eq!(claimed.cidr, given_away.cidr);
    assert_ne!(claimed.epoch, given_away.epoch);

    // By the watch, and at a start.
    old.allocator.observe_block(&claimed.cidr, Some(&claimed)).await.unwrap();
    assert!(old.allocator.lost_blocks()[&claimed.cidr].starts_with("another machine with the name h1 has claimed it"));
    drop(old);
    let_go(&place.state("old")).await;
    let old = Host::start(store.clone(), "h1", &place.state("old"), NO_REST).await;
    assert_eq!(old.allocator.lost_blocks().len(), 1);
    let other = old.attach(&plan, &key("three")).await;
    assert!(!claimed.cidr.contains(other[0]), "it claims another one");
    assert!(new.attach(&plan, &key("four")).await.iter().all(|address| claimed.cidr.contains(*address)));

    // What is empty is forgotten, and left to who has it.
    let _publisher = Publisher::spawn(store.clone(), old.allocator.clone(), no_connections());
    assert!(old.allocator.release(&key("one")).await.unwrap());
    until("the quarantine ends", async || {
        old.allocator.give_back_empty_blocks().await.unwrap();
        old.allocator.lost_blocks().is_empty()
    })
    .await;
    old.allocator.reconcile().await.unwrap();
    new.allocator.reconcile().await.unwrap();
    assert!(!old.own_blocks().contains(&claimed.cidr.to_string()), "{:?}", old.own_blocks());
    assert_eq!(new.own_blocks(), [claimed.cidr.to_string()]);
    assert!(blocks(&*store).await.contains(&claimed));
}

#[tokio::test]
async fn whoever_takes_a_lost_state_directorys_place_takes_its_blocks_for_good() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let old = Host::start(store.clone(), "h1", &place.state("old"), NO_REST).await;
    old.attach(&plan, &key("one")).await;
    let before = blocks(&*store).await.remove(0);
    // Begun anew, on an empty state directory, while the old one still runs somewhere.
    let new = Host::start(store.clone(), "h1", &place.state("new"), NO_REST).await;
    let after = blocks(&*store).await.remove(0);
    assert_eq!((new.own_blocks(), after.cidr), (vec![before.cidr.to_string()], before.cidr));
    assert_ne!(after.epoch, before.epoch);
    old.allocator.observe_block(&after.cidr, Some(&after)).await.unwrap();
    assert_eq!(old.allocator.lost_blocks().len(), 1);
    assert!(!after.cidr.contains(old.attach(&plan, &key("two")).await[0]));
}

#[tokio::test]
async fn a_store_that_forgot_the_blocks_is_told_again() {
    let plan = plan("10.0.0.0/24", 26);
    let (place, store) = cluster(&plan).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    host.attach(&plan, &key("one")).await;
    let claimed = blocks(&*store).await;
    let gone = Write::Delete { key: StoreKey::Block(claimed[0].cidr).path() };
    assert!(matches!(store.transact(vec![], vec![gone]).await, Ok(TxnOutcome::Committed(_))));
    host.allocator.observe_block(&claimed[0].cidr, None).await.unwrap();
    assert_eq!(blocks(&*store).await, claimed);
    assert_eq!(host.own_blocks().len(), 1);
}

#[tokio::test]
async fn a_lost_state_directory_gives_no_address_out_again() {
    for store_was_away in [false, true] {
        let plan = plan("10.0.0.0/30", 30);
        let (place, store) = cluster(&plan).await;
        let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
        let before = host.attach(&plan, &key("one")).await;
        let published = Fact::Endpoint(endpoint(&node("h1"), &key("one"), &before));
        store.transact(vec![], vec![put(&published)]).await.unwrap();
        drop(host);
        std::fs::remove_dir_all(place.state("h1")).unwrap();
        let host = if store_was_away {
            Host::start_apart(store, "h1", &place.state("h1"), NO_REST)
        } else {
            Host::start(store, "h1", &place.state("h1"), NO_REST).await
        };
        for id in ["two", "three", "four"] {
            assert_ne!(host.attach(&plan, &key(id)).await, before);
        }
        assert!(matches!(error(&host, &plan, "five").await, AllocateError::Ipam(IpamError::PoolFull { .. })));
        assert!(host.allocator.release(&key("one")).await.unwrap(), "and it is released by its handle");
    }
}

#[tokio::test]
async fn without_a_store_the_given_blocks_are_all_there_is() {
    let place = Place::new();
    let plan = plan("10.0.0.0/24", 31);
    let given = StaticCluster {
        pools: plan.pools.values().cloned().collect(),
        networks: vec![plan.network.clone()],
        blocks: vec!["10.0.0.8/31".parse().unwrap()],
        ..StaticCluster::default()
    };
    let store = Arc::new(NoneStore::new(&node("h1"), &given).unwrap());
    let host = Host::start(store.clone(), "h1", &place.state("h1"), NO_REST).await;
    let _publisher = Publisher::spawn(store, host.allocator.clone(), no_connections());
    assert_eq!(host.attach(&plan, &key("a")).await, ["10.0.0.8".parse::<IpAddr>().unwrap()]);
    let last = host.attach(&plan, &key("b")).await;
    let text = error(&host, &plan, "c").await.to_string();
    assert!(text.contains("IPPool p (10.0.0.0/24): 1 of 1 blocks of /31 are claimed"), "{text}");
    host.allocator.release(&key("b")).await.unwrap();
    let request = key("c");
    until("the cooldown alone is waited for", async || {
        host.allocator.allocate(&plan.request(&request)).await.is_ok_and(|addresses| addresses == last)
    })
    .await;
}

#[tokio::test]
async fn a_network_draws_from_its_pools_in_turn_as_far_as_they_are_for_this_node() {
    let selected = |selector: &str, pool: Pool| Pool { node_selector: selector.to_string(), ..pool };
    let mut plan = Plan::new(&[
        selected("rack == 'b'", pool("a-other-rack", "10.1.0.0/30", 30)),
        Pool { disabled: true, ..pool("b-disabled", "10.2.0.0/30", 30) },
        selected("rack == 'a'", pool("c-first", "10.3.0.0/31", 31)),
        pool("d-second", "10.4.0.0/31", 31),
        pool("e-six", "fd00::/120", 122),
    ]);
    let (place, store) = cluster(&plan).await;
    let labels = Labels::from([("rack".to_string(), "a".to_string())]);
    let start = async |labels: &Labels| {
        Host::start_labelled(store.clone(), "h1", &place.state("h1"), NO_REST, labels.clone()).await
    };
    let host = start(&labels).await;
    let pool_of = |addresses: &[IpAddr]| {
        assert_eq!(addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false], "one of each family");
        plan.pools.values().find(|pool| pool.cidr.contains(addresses[0])).map(|pool| pool.name.to_string())
    };
    let mut drawn = Vec::new();
    for id in ["1", "2", "3"] {
        drawn.extend(pool_of(&host.attach(&plan, &key(id)).await));
    }
    assert_eq!(drawn, ["c-first", "c-first", "d-second"], "the first that may be used, then the next");

    // Disabled while it is in use: what has an address keeps it, and nobody gets another one.
    let used = host.attach(&plan, &key("3")).await;
    plan.pools.values_mut().filter(|pool| pool.name.as_str() == "d-second").for_each(|pool| pool.disabled = true);
    plan.write_to(&*store).await;
    assert_eq!(host.attach(&plan, &key("3")).await, used);
    let text = error(&host, &plan, "4").await.to_string();
    assert!(text.contains("no free IPv4 address") && text.contains("IPPool c-first (10.3.0.0/31): 1 of 1"), "{text}");
    assert!(!text.contains("d-second"), "{text}");
    drop(host);

    // Labels of no pool: each is named with its reason.
    plan.network.pools.retain(|pool| pool.as_str() != "e-six");
    let text = error(&start(&Labels::new()).await, &plan, "5").await.to_string();
    for refusal in [
        "IPPool a-other-rack is for other nodes (nodeSelector: rack == 'b')",
        "IPPool b-disabled is disabled",
        "IPPool c-first is for other nodes (nodeSelector: rack == 'a')",
        "IPPool d-second is disabled",
    ] {
        assert!(text.contains(refusal), "{text}");
    }
}
