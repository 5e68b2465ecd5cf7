//! What a node says of itself reaches the store, goes away again, and comes back after an outage.

use std::time::Duration;

use routenet::agent::publisher::Publisher;
use routenet::store::{ClusterStore, Write};
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{Attachment, Fact, NodeCondition};

use super::fixture::{Host, LIMIT, Place, Plan, key, no_connections, node, pool, until};

fn condition(problems: u32) -> Fact {
    Fact::Condition(NodeCondition {
        node: node("h1"),
        at: 1,
        version: "1".into(),
        problems: vec![],
        endpoints: problems,
        blocks: vec![],
        peers_established: 0,
        peers_configured: 0,
        mesh_in_place: None,
    })
}

async fn published(store: &dyn ClusterStore) -> Vec<String> {
    store.range("/endpoints/h1/").await.unwrap().0.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn endpoints_come_go_and_come_back() {
    let place = Place::new();
    let store = place.store();
    let plan = Plan::new(&[pool("p", "10.0.0.0/24", 26)]);
    plan.write_to(&*store).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), Duration::ZERO).await;
    let publisher = Publisher::spawn(store.clone(), host.allocator.clone(), no_connections());
    publisher.publish(&condition(0));
    host.attach(&plan, &key("one")).await;
    host.attach(&plan, &key("two")).await;
    until("both are published", async || published(&*store).await.len() == 2).await;

    let path = StoreKey::Endpoint(node("h1"), key("one")).path();
    let mut endpoint = host.allocator.endpoint(&key("one")).unwrap();
    endpoint.labels.insert("role".into(), "new".into());
    endpoint.attachment = Some(Attachment::new("/run/netns/x", [2; 6], 1500));
    host.allocator.update(endpoint).await.unwrap();
    until("new labels are published, and how it is plugged in is not", async || {
        let value = store.get(&path).await.unwrap().unwrap().value;
        let Ok(Fact::Endpoint(seen)) = keys::decode_fact(&path, &value) else { panic!("an endpoint") };
        seen.labels.contains_key("role") && seen.attachment.is_none()
    })
    .await;

    host.allocator.release(&key("one")).await.unwrap();
    until("it is withdrawn and acknowledged", async || {
        let acknowledged = host.journal.load().unwrap().released.iter().all(|it| it.acknowledged.is_some());
        acknowledged && published(&*store).await == [StoreKey::Endpoint(node("h1"), key("two")).path()]
    })
    .await;

    publisher.publish(&condition(7));
    let (entries, _) = store.range("/endpoints/").await.unwrap();
    let wipe = entries.into_iter().map(|entry| Write::Delete { key: entry.key });
    let wipe = wipe.chain([Write::Delete { key: "/conditions/h1".into() }]).collect();
    store.transact(vec![], wipe).await.unwrap();
    publisher.read_back();
    until("all is published again", async || {
        published(&*store).await.len() == 1 && store.get("/conditions/h1").await.unwrap().is_some()
    })
    .await;
    publisher.withdraw(StoreKey::Condition(node("h1")));
    until("the condition is withdrawn", async || store.get("/conditions/h1").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn an_outage_is_told_and_made_up_for() {
    let place = Place::new();
    let store = place.store();
    let plan = Plan::new(&[pool("p", "10.0.0.0/24", 26)]);
    plan.write_to(&*store).await;
    let host = Host::start(store.clone(), "h1", &place.state("h1"), Duration::ZERO).await;
    let publisher = Publisher::spawn(store.clone(), host.allocator.clone(), no_connections());
    host.attach(&plan, &key("one")).await;
    until("it is published", async || published(&*store).await.len() == 1).await;

    place.take_away().await;
    host.attach(&plan, &key("two")).await;
    host.allocator.release(&key("one")).await.unwrap();
    let mut status = publisher.status();
    let failing = status.wait_for(|status| status.failing.is_some());
    let why = tokio::time::timeout(LIMIT, failing).await.unwrap().unwrap().failing.clone().unwrap();
    assert!(why.contains("the store cannot be reached"), "{why}");
    assert_eq!(host.journal.load().unwrap().released[0].acknowledged, None, "not yet to be given out again");

    place.bring_back().await;
    let two = StoreKey::Endpoint(node("h1"), key("two")).path();
    until("the store has caught up", async || published(&*store).await == [two.clone()]).await;
    tokio::time::timeout(LIMIT, status.wait_for(|status| status.failing.is_none())).await.unwrap().unwrap();
    until("the withdrawal is acknowledged", async || host.journal.load().unwrap().released[0].acknowledged.is_some())
        .await;
}
