use std::collections::BTreeSet;

use super::*;
use crate::model::Cidr;

fn context() -> CodecContext {
    CodecContext { four_octet_as: true, ibgp: true, families: vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST] }
}

fn attributes() -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: vec![AsSegment::Sequence(vec![65001, 4_200_000_001]), AsSegment::Set(vec![1, 2])],
        med: Some(7),
        local_pref: Some(100),
        atomic_aggregate: true,
        aggregator: Some((4_200_000_002, [192, 0, 2, 1].into())),
        communities: BTreeSet::from([0xffff_ff01, 65001 << 16 | 7]),
        extended_communities: BTreeSet::from([[0, 2, 0xfd, 0xe9, 0, 0, 0, 9]]),
        large_communities: BTreeSet::from([(65001, 1, 2)]),
        originator_id: Some([10, 0, 0, 1].into()),
        cluster_list: vec![[10, 0, 0, 2].into()],
        unknown: vec![(0xe0, 20, vec![1, 2, 3]), (0xe0, 99, vec![])],
    }
}

#[test]
fn what_is_encoded_is_decoded_equal() {
    let next_hops = ["192.0.2.9", "2001:db8::9"];
    for (prefixes, next_hop) in [
        (["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"], next_hops[0]),
        (["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"], next_hops[1]),
        (["2001:db8::/32", "2001:db8::1/128", "::/0"], next_hops[1]),
    ] {
        let prefixes: Vec<Cidr> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let next_hop = NextHop { address: next_hop.parse().unwrap(), link_local: None };
        let mut out = Vec::new();
        assert_eq!(encode_reach(&attributes(), &next_hop, &prefixes, &context(), &mut out), Ok(3));
        assert_eq!(message_length(&out), Ok(Some(out.len())));
        let expected = Update {
            reachable: prefixes.into_iter().map(|prefix| (prefix, next_hop)).collect(),
            attributes: Some(attributes()),
            ..Update::default()
        };
        assert_eq!(decode(&out, &context()), Ok(Message::Update(expected)));
    }
}
