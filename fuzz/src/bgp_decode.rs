//! Whatever a peer sends: no panic, no endless loop, no memory out of proportion; and what we understood of an UPDATE,
//! said again in our own bytes, is understood the same.

use std::collections::BTreeMap;

use routenet_core::bgp::wire::{self, AfiSafi, Attributes, CodecContext, Message, NextHop, Nlri, PathIds};
use routenet_core::model::Family;

/// Whether a message came of it.
pub fn run(data: &[u8]) -> bool {
    let Some((&[settings, kind], body)) = data.split_first_chunk::<2>() else { return false };
    let mut families = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    families.truncate(2 - usize::from(settings >> 2 & 1));
    let with_ids = if settings >> 3 & 1 == 1 { families.clone() } else { Vec::new() };
    let path_ids = PathIds { received: with_ids.clone(), sent: with_ids };
    let context = CodecContext {
        four_octet_as: settings & 1 == 0,
        ibgp: settings & 2 != 0,
        families,
        path_ids,
        extended_next_hop: settings & 16 != 0,
    };
    // The marker and the length are tried by themselves: behind them nothing would ever be reached.
    let _ = wire::message_length(data);
    let _ = wire::decode(data, &context);
    let body = &body[..body.len().min(wire::MAX_MESSAGE - wire::HEADER)];
    let length = u16::try_from(wire::HEADER + body.len()).expect("at most 4096");
    let message = [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat();
    let decoded = wire::decode(&message, &context);
    let understood = decoded.is_ok();
    match decoded {
        Err(notification) => said_again(&notification, &context),
        Ok(Message::Notification(notification)) => said_again(&notification, &context),
        Ok(Message::Open(open)) => {
            assert_eq!(wire::decode(&wire::encode_open(&open), &context), Ok(Message::Open(open)))
        }
        Ok(Message::Update(update)) => {
            let mut groups = BTreeMap::<(Family, NextHop), Vec<Nlri>>::new();
            for (nlri, next_hop) in update.reachable {
                groups.entry((nlri.prefix.family(), next_hop)).or_default().push(nlri);
            }
            assert_eq!(update.attributes.is_some(), !groups.is_empty());
            for ((_, next_hop), prefixes) in &groups {
                let attributes = update.attributes.as_ref().expect("asserted above");
                reached_again(attributes, next_hop, prefixes, &context);
            }
        }
        Ok(Message::Keepalive | Message::RouteRefresh { .. }) => {}
    }
    understood
}

fn said_again(notification: &wire::Notification, context: &CodecContext) {
    assert!(!notification.to_string().is_empty());
    let again = wire::decode(&wire::encode_notification(notification), context);
    let Ok(Message::Notification(again)) = again else { panic!("our own NOTIFICATION: {again:?}") };
    assert!(notification.data.starts_with(&again.data));
}

fn reached_again(attributes: &Attributes, next_hop: &NextHop, prefixes: &[Nlri], context: &CodecContext) {
    let mut rest = prefixes;
    while !rest.is_empty() {
        let mut out = Vec::new();
        // Partial paths of two-octet speakers can grow past a message when they are said in four.
        let Ok(taken) = wire::encode_reach(attributes, next_hop, rest, context, &mut out) else { return };
        assert!(out.len() <= wire::MAX_MESSAGE);
        let again = wire::decode(&out, context);
        let Ok(Message::Update(again)) = again else { panic!("our own UPDATE: {again:?}") };
        assert_eq!(again.attributes.as_ref(), Some(attributes));
        assert_eq!(again.defects, []);
        assert!(again.reachable.iter().map(|(nlri, _)| nlri).eq(&rest[..taken]));
        rest = &rest[taken..];
    }
}
