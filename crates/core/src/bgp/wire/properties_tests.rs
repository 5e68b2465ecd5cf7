//! For all bytes: an answer. For all messages of ours: what we meant, within 4096 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::test_support::*;
use super::*;
use crate::model::Cidr;

fn contexts() -> impl Strategy<Value = CodecContext> {
    let families = prop::sample::subsequence(vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST], 0..=2);
    let ids = prop::sample::subsequence(vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST], 0..=2);
    (any::<bool>(), any::<bool>(), any::<bool>(), families, ids).prop_map(
        |(four_octet_as, ibgp, extended_next_hop, families, ids)| CodecContext {
            four_octet_as,
            ibgp,
            families,
            extended_next_hop,
            path_ids: PathIds { received: ids.clone(), sent: ids },
        },
    )
}

fn both_families() -> impl Strategy<Value = CodecContext> {
    contexts().prop_map(|context| CodecContext { families: ebgp().families, ..context })
}

fn v4_prefix() -> impl Strategy<Value = Cidr> {
    (any::<u32>(), 0..=32_u8).prop_map(|(address, length)| Cidr::new(Ipv4Addr::from(address).into(), length).unwrap())
}

fn v6_prefix() -> impl Strategy<Value = Cidr> {
    (any::<u128>(), 0..=128_u8).prop_map(|(address, length)| Cidr::new(Ipv6Addr::from(address).into(), length).unwrap())
}

/// Prefixes of one family, all of which a peer may announce.
/// With path identifiers, which get lost where there are none.
fn prefixes_of_one_family() -> impl Strategy<Value = Vec<Nlri>> {
    let many = 1..1200;
    prop_oneof![vec(v4_prefix(), many.clone()), vec(v6_prefix(), many)]
        .prop_map(|prefixes| prefixes.into_iter().filter(|prefix| !nlri::is_unroutable(prefix)).collect::<Vec<_>>())
        .prop_flat_map(|prefixes| (vec(any::<u32>(), prefixes.len()), Just(prefixes)))
        .prop_map(|(ids, prefixes)| {
            prefixes.into_iter().zip(ids).map(|(prefix, path_id)| Nlri { prefix, path_id }).collect()
        })
}

fn as_path_strategy() -> impl Strategy<Value = Vec<AsSegment>> {
    let number = prop_oneof![1..=65535_u32, 65536..=u32::MAX];
    let sequence = vec(number.clone(), 1..256).prop_map(AsSegment::Sequence);
    let set = vec(number, 1..5).prop_map(AsSegment::Set);
    vec(prop_oneof![sequence, set], 0..4)
}

prop_compose! {
    fn some_attributes()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path in as_path_strategy(),
        med in any::<Option<u32>>(),
        local_pref in any::<Option<u32>>(),
        atomic_aggregate in any::<bool>(),
        aggregator in prop::option::of((1..=u32::MAX, any::<u32>().prop_map(Ipv4Addr::from))),
        communities in btree_set(any::<u32>(), 0..100),
        extended_communities in btree_set(any::<[u8; 8]>(), 0..20),
        large_communities in btree_set(any::<(u32, u32, u32)>(), 0..20),
        originator_id in prop::option::of(any::<u32>().prop_map(Ipv4Addr::from)),
        cluster_list in vec(any::<u32>().prop_map(Ipv4Addr::from), 0..10),
        otc in any::<Option<u32>>(),
        // None that are registered as non-transitive: with these flags they would be malformed.
        unknown in prop::collection::btree_map(prop_oneof![19..24_u8, 27..29_u8, 30..32_u8, 34..35_u8, 36..=255_u8], vec(any::<u8>(), 0..300), 0..3),
    ) -> Attributes {
        let unknown = unknown.into_iter().map(|(code, value)| (0xe0, code, value)).collect();
        Attributes {
            origin, as_path, med, local_pref, atomic_aggregate, aggregator, communities, extended_communities,
            large_communities, originator_id, cluster_list, otc, unknown, partial: 0,
        }
    }
}

fn next_hop_for(prefixes: &[Nlri], link_local: bool, context: &CodecContext) -> NextHop {
    let of_v4 = prefixes.first().is_some_and(|nlri| nlri.prefix.address().is_ipv4());
    let is_v4 = of_v4 && !(context.extended_next_hop && link_local);
    let address: IpAddr = if is_v4 { [192, 0, 2, 9].into() } else { "2001:db8::9".parse().unwrap() };
    let link_local = (link_local && address.is_ipv6()).then(|| "fe80::9".parse().unwrap());
    NextHop { address, link_local }
}

/// What a peer of this kind gets to see of a route's attributes.
fn as_sent(attributes: &Attributes, context: &CodecContext) -> Attributes {
    let mut sent = attributes.clone();
    if !context.ibgp {
        (sent.local_pref, sent.originator_id) = (None, None);
        sent.cluster_list.clear();
    }
    sent
}

fn arrives(nlri: &Nlri, context: &CodecContext) -> Nlri {
    let with_ids = context.path_ids.sent.contains(&AfiSafi::of(&nlri.prefix));
    if with_ids { *nlri } else { nlri.prefix.into() }
}

/// Sound messages of every type, to mutate.
fn some_message() -> impl Strategy<Value = Vec<u8>> {
    let update = (some_attributes(), prefixes_of_one_family(), any::<bool>(), both_families()).prop_map(
        |(attributes, prefixes, link_local, context)| {
            let mut out = Vec::new();
            let via = next_hop_for(&prefixes, link_local, &context);
            let _ = encode_reach(&attributes, &via, &prefixes[..prefixes.len().min(5)], &context, &mut out);
            out
        },
    );
    let open = Open {
        as_number: 4_200_000_001,
        hold_time: 90,
        router_id: [10, 0, 0, 1].into(),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
            Capability::FourOctetAs(4_200_000_001),
            Capability::GracefulRestart(GracefulRestart {
                restarted: true,
                notification: true,
                restart_time: 120,
                families: vec![(AfiSafi::IPV4_UNICAST, true)],
            }),
            Capability::LongLivedGracefulRestart(vec![LongLived {
                family: AfiSafi::IPV6_UNICAST,
                forwarding: true,
                seconds: 86_400,
            }]),
            Capability::AddPaths(vec![AddPath { family: AfiSafi::IPV4_UNICAST, receives: true, sends: false }]),
            Capability::Unknown { code: 73, value: vec![1, b'a', 1, b'b'] },
        ],
    };
    prop_oneof![
        6 => update,
        2 => Just(encode_open(&open)),
        1 => Just(encode_notification(&Notification::administrative_shutdown("for a while"))),
        1 => Just(encode_route_refresh(AfiSafi::IPV6_UNICAST, refresh_subtype::REQUEST)),
        1 => Just(encode_keepalive().to_vec()),
    ]
}

/// Whatever the bytes: an answer, which says what it says in words.
fn answers(bytes: &[u8], context: &CodecContext) {
    match decode(bytes, context) {
        Ok(message) => drop(format!("{message:?}")),
        Err(notification) => {
            assert!(!notification.to_string().is_empty());
            assert!(encode_notification(&notification).len() <= MAX_MESSAGE);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 512 } else { 20_000 }))]

    #[test]
    fn any_bytes_have_an_answer(bytes in vec(any::<u8>(), 0..300), context in contexts()) {
        let _ = message_length(&bytes);
        answers(&bytes, &context);
    }

    #[test]
    fn any_body_has_an_answer(kind in 0..7_u8, body in vec(any::<u8>(), 0..600), context in contexts()) {
        answers(&message(kind, &body), &context);
    }

    /// Bytes from a small alphabet make plausible lengths and codes far more often than random ones.
    #[test]
    fn any_plausible_attributes_have_an_answer(
        attributes in vec(prop_oneof![0..36_u8, Just(0x40), Just(0x80), Just(0xc0), Just(0x90), Just(0xff)], 0..200),
        nlri in vec(0..34_u8, 0..20),
        context in contexts(),
    ) {
        answers(&update(&[], &attributes, &nlri), &context);
    }

    #[test]
    fn mutated_messages_have_an_answer(
        bytes in some_message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        context in contexts(),
    ) {
        let mut bytes = bytes;
        if bytes.len() > HEADER {
            for (index, value) in changes {
                let position = HEADER + index.index(bytes.len() - HEADER);
                bytes[position] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(HEADER + cut.index(bytes.len() - HEADER));
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                bytes[16..18].copy_from_slice(&length);
            }
        }
        answers(&bytes, &context);
    }

    #[test]
    fn what_is_announced_arrives(
        attributes in some_attributes(),
        prefixes in prefixes_of_one_family(),
        link_local in any::<bool>(),
        context in both_families(),
    ) {
        let via = next_hop_for(&prefixes, link_local, &context);
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let mut out = Vec::new();
            let Ok(taken) = encode_reach(&attributes, &via, rest, &context, &mut out) else {
                prop_assert!(out.is_empty());
                return Ok(());
            };
            prop_assert!(taken > 0 && out.len() <= MAX_MESSAGE);
            let update = survives(&out, &context);
            prop_assert_eq!(update.attributes, Some(as_sent(&attributes, &context)));
            prop_assert_eq!(update.defects, vec![]);
            let expected: Vec<_> = rest[..taken].iter().map(|nlri| (arrives(nlri, &context), via)).collect();
            prop_assert_eq!(update.reachable, expected);
            rest = &rest[taken..];
        }
    }

    #[test]
    fn what_is_withdrawn_arrives(prefixes in prefixes_of_one_family(), context in both_families()) {
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let mut out = Vec::new();
            let taken = encode_withdraw(rest, &context, &mut out);
            prop_assert!(taken > 0 && out.len() <= MAX_MESSAGE);
            let update = survives(&out, &context);
            let expected: Vec<_> = rest[..taken].iter().map(|nlri| arrives(nlri, &context)).collect();
            prop_assert_eq!(update.withdrawn, expected);
            prop_assert_eq!(update.end_of_rib, None);
            rest = &rest[taken..];
        }
    }

    #[test]
    fn an_open_arrives(
        as_number in (1..=u32::MAX).prop_filter("nobody's own", |number| *number != 23456),
        hold_time in prop_oneof![Just(0), 3..=u16::MAX],
        router_id in 1..=u32::MAX,
        unknown in vec((100..=255_u8, vec(any::<u8>(), 0..=255)), 0..10),
    ) {
        let unknown = unknown.into_iter().map(|(code, value)| Capability::Unknown { code, value });
        let capabilities = std::iter::once(Capability::FourOctetAs(as_number)).chain(unknown).collect();
        let open = Open { as_number, hold_time, router_id: router_id.into(), capabilities };
        prop_assert_eq!(decode(&encode_open(&open), &ebgp()), Ok(Message::Open(open)));
    }

    #[test]
    fn a_notification_arrives(code: u8, subcode: u8, data in vec(any::<u8>(), 0..300)) {
        let notification = Notification { code, subcode, data };
        prop_assert!(!notification.to_string().is_empty());
        let bytes = encode_notification(&notification);
        prop_assert_eq!(decode(&bytes, &ebgp()), Ok(Message::Notification(notification)));
    }
}
