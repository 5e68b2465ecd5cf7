use super::*;

fn there_and_back(way: Way) {
    let message = NexthopMessage::New(Nexthop { id: 0x726e_0001, protocol: 83, way });
    let (kind, body) = message.encode();
    assert_eq!(NexthopMessage::decode(kind, &body), Some(message));
}

#[test]
fn an_object_reads_back_as_it_was_written() {
    for gateway in ["192.0.2.2", "2001:db8::2", "fe80::2"] {
        for onlink in [false, true] {
            there_and_back(Way::Hop(Hop { gateway: gateway.parse().expect("an address"), device: 7, onlink }));
        }
    }
    there_and_back(Way::Group(vec![0x726e_0001, 0x726e_0002]));
    let (kind, body) = NexthopMessage::Delete(9).encode();
    assert_eq!(NexthopMessage::decode(kind, &body), Some(NexthopMessage::Delete(9)));
}

#[test]
fn what_is_cut_short_or_of_another_shape_is_not_taken_for_ours() {
    let (kind, body) = NexthopMessage::New(Nexthop { id: 1, protocol: 83, way: Way::Group(vec![2, 3]) }).encode();
    for length in 0..HEADER + 8 {
        assert_eq!(NexthopMessage::decode(kind, &body[..length]), None, "{length} bytes");
    }
    let mut weighted = body.clone();
    weighted[HEADER + 8 + 4 + 4] = 1;
    let Some(NexthopMessage::New(object)) = NexthopMessage::decode(kind, &weighted) else { panic!("an object") };
    assert_eq!(object.way, Way::Other, "a weight of 2");
    assert_eq!(NexthopMessage::decode(24, &body), None, "RTM_NEWROUTE");
}
