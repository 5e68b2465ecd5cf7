use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Isolation, NetworkName};

fn pool(name: &str, cidr: &str, block_size: u8) -> Pool {
    Pool {
        name: PoolName::new(name).unwrap(),
        cidr: cidr.parse().unwrap(),
        block_size,
        disabled: false,
        node_selector: String::new(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    }
}

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn claimed(cidr: Cidr, pool: &Pool, owner: &str) -> Block {
    Block { cidr, pool: pool.name.clone(), owner: node(owner), epoch: 1 }
}

fn network(pools: &[&str]) -> Network {
    Network {
        name: NetworkName::new("web").unwrap(),
        pools: pools.iter().map(|name| PoolName::new(*name).unwrap()).collect(),
        isolation: Isolation::Network,
    }
}

#[test]
fn there_is_room_in_an_own_block_or_in_one_that_can_be_claimed() {
    let tiny = pool("tiny", "10.0.0.0/30", 31);
    let pools = BTreeMap::from([(tiny.name.clone(), tiny.clone())]);
    let fill = |held| BlockFill {
        cidr: "10.0.0.0/31".parse().unwrap(),
        pool: tiny.name.clone(),
        held,
        resting: 2 - held,
        size: 2,
    };
    let blocks = ["10.0.0.0/31", "10.0.0.2/31"].map(|cidr| claimed(cidr.parse().unwrap(), &tiny, "n1"));
    let check = |own: &[BlockFill], claimed: &[Block]| {
        check_room(&network(&["tiny"]), &pools, &Labels::new(), own, claimed, &[], &node("n1"))
    };
    assert_eq!(check(&[], &blocks[..1]), Ok(()), "a block is left to claim");
    assert_eq!(check(&[fill(1)], &blocks), Ok(()), "what rests comes back");
    let error = check(&[fill(2)], &blocks).unwrap_err().to_string();
    assert!(error.contains("IPPool tiny (10.0.0.0/30): 2 of 2 blocks of /31 are claimed"), "{error}");
    let error = check_room(&network(&["other"]), &pools, &Labels::new(), &[], &[], &[], &node("n1")).unwrap_err();
    assert!(matches!(error, IpamError::NoPool { .. }), "{error}");
}

#[test]
fn the_networks_order_holds_and_refusals_are_told() {
    let mut disabled = pool("b", "10.1.0.0/24", 26);
    disabled.disabled = true;
    let mut elsewhere = pool("c", "10.2.0.0/24", 26);
    elsewhere.node_selector = "rack == '2'".into();
    let pools: BTreeMap<PoolName, Pool> =
        [pool("a", "10.0.0.0/24", 26), disabled, elsewhere].into_iter().map(|pool| (pool.name.clone(), pool)).collect();
    let rack = |value: &str| Labels::from([("rack".to_string(), value.to_string())]);
    let names = |usable: Vec<&Pool>| usable.into_iter().map(|pool| pool.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(usable_pools(&network(&["c", "a"]), &pools, &rack("2")).unwrap()), ["c", "a"]);
    assert_eq!(names(usable_pools(&network(&["c", "a"]), &pools, &rack("1")).unwrap()), ["a"]);
    let IpamError::NoPool { refusals, .. } = usable_pools(&network(&["b", "c", "x"]), &pools, &rack("1")).unwrap_err()
    else {
        panic!("expected NoPool")
    };
    assert!(matches!(
        refusals.as_slice(),
        [PoolRefusal::Disabled(_), PoolRefusal::OtherNodes { .. }, PoolRefusal::Unknown(_)]
    ));
}

#[test]
fn a_pool_is_used_up_to_its_last_block_and_then_named_full() {
    let pool = pool("a", "10.0.0.0/24", 26);
    let mut blocks = Vec::new();
    for _ in 0..4 {
        let cidr = choose_block(&pool, &blocks, &[], &node("h1")).unwrap();
        blocks.push(claimed(cidr, &pool, "h1"));
    }
    let fill = choose_block(&pool, &blocks, &[], &node("h1")).unwrap_err();
    assert_eq!((fill.claimed, fill.blocks), (4, 4));
    assert_eq!(fill.to_string(), "IPPool a (10.0.0.0/24): 4 of 4 blocks of /26 are claimed");
}

#[test]
fn a_block_that_is_reserved_whole_is_not_claimed() {
    let pool = pool("a", "10.0.0.0/24", 26);
    let reserved = ["10.0.0.0/25", "10.0.0.128/27"].map(|cidr| cidr.parse().unwrap());
    for name in ["h1", "h2", "h3"] {
        let cidr = choose_block(&pool, &[], &reserved, &node(name)).unwrap();
        assert!(!reserved[0].covers(&cidr), "{cidr} of {name}");
    }
    let all = ["10.0.0.0/24".parse().unwrap()];
    assert!(choose_block(&pool, &[], &all, &node("h1")).is_err());
}

#[test]
fn nodes_begin_apart_and_come_back_to_their_own() {
    let pool = pool("a", "10.0.0.0/16", 26);
    let first: BTreeSet<Cidr> =
        (0..50).map(|n| choose_block(&pool, &[], &[], &node(&format!("h{n}"))).unwrap()).collect();
    assert!(first.len() >= 45, "only {} different blocks for 50 nodes", first.len());
    assert_eq!(choose_block(&pool, &[], &[], &node("h7")), choose_block(&pool, &[], &[], &node("h7")));
}

#[test]
fn a_huge_pool_and_a_pool_of_one_block_work() {
    let huge = pool("six", "fd00::/8", 122);
    let block = choose_block(&huge, &[], &[], &node("h1")).unwrap();
    assert!(huge.cidr.covers(&block) && block.length() == 122);
    let whole = pool("all", "::/0", 128);
    assert!(choose_block(&whole, &[], &[], &node("h1")).is_ok());
    let one = pool("one", "10.0.0.0/26", 26);
    assert_eq!(choose_block(&one, &[], &[], &node("h1")).unwrap(), one.cidr);
    assert_eq!(choose_block(&one, &[claimed(one.cidr, &one, "h2")], &[], &node("h1")).unwrap_err().blocks, 1);
}

#[test]
fn blocks_of_another_size_are_not_overlapped() {
    let pool = pool("a", "10.0.0.0/24", 26);
    let wide = claimed("10.0.0.0/25".parse().unwrap(), &pool, "h2");
    let narrow = claimed("10.0.0.200/32".parse().unwrap(), &pool, "h3");
    let block = choose_block(&pool, &[wide.clone(), narrow.clone()], &[], &node("h1")).unwrap();
    assert_eq!(block.to_string(), "10.0.0.128/26");
    let rest = claimed(block, &pool, "h1");
    let fill = choose_block(&pool, &[wide, narrow, rest], &[], &node("h1")).unwrap_err();
    assert_eq!((fill.claimed, fill.blocks), (4, 4));
}

proptest! {
    #[test]
    fn chosen_blocks_never_overlap_and_fill_the_pool(
        names in proptest::collection::vec("[a-z]{1,6}", 1..6),
        length in 20u8..=26,
        picks in proptest::collection::vec(0usize..6, 0..80),
    ) {
        let pool = pool("p", &Cidr::new("10.64.0.0".parse().unwrap(), length).unwrap().to_string(), 26);
        let total = 1usize << (26 - length);
        let mut blocks: Vec<Block> = Vec::new();
        for pick in picks {
            let owner = &names[pick % names.len()];
            match choose_block(&pool, &blocks, &[], &node(owner)) {
                Ok(cidr) => {
                    prop_assert!(pool.cidr.covers(&cidr));
                    prop_assert!(blocks.iter().all(|block| !block.cidr.overlaps(&cidr)));
                    blocks.push(claimed(cidr, &pool, owner));
                }
                Err(_) => prop_assert_eq!(blocks.len(), total),
            }
        }
    }
}
