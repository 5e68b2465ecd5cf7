//! An order has all keys, each once, and neighbours far from each other.

use routenet_core::model::Cidr;

use super::*;

fn keys(count: u32) -> Vec<RouteKey> {
    let prefix = |number: u32| Cidr::host(std::net::Ipv4Addr::from(number).into());
    (0..count).map(|number| RouteKey { dst: prefix(number), metric: 0 }).collect()
}

#[test]
fn all_keys_are_there_once() {
    for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 1024, 1025] {
        let mut spread = spread(keys(count));
        spread.sort_unstable();
        assert_eq!(spread, keys(count), "{count}");
    }
}

#[test]
fn a_part_is_of_everywhere() {
    let all = keys(1000);
    let order = spread(all.clone());
    for part in [8, 64, 256] {
        let mut some: Vec<usize> =
            order[..part].iter().map(|key| all.binary_search(key).expect("one of them")).collect();
        some.sort_unstable();
        let widest = some.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some(4 * 1000 / part), "{part}: {widest:?}");
    }
}
