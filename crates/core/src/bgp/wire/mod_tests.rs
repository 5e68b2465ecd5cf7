use super::test_support::*;
use super::*;

#[test]
fn a_buffer_that_is_not_one_message_is_refused() {
    assert_eq!(refused(&[], &ebgp()), (1, 2, vec![0, 0]));
    assert_eq!(refused(&[0xff; 18], &ebgp()), (1, 2, vec![0, 18]));
    let mut two = encode_keepalive().to_vec();
    two.extend(encode_keepalive());
    assert_eq!(refused(&two, &ebgp()), (1, 2, vec![0, 38]));
}

#[test]
fn keepalive() {
    assert_eq!(decode(&encode_keepalive(), &ebgp()), Ok(Message::Keepalive));
}

#[test]
fn route_refresh() {
    for subtype in [0, 1, 2, 77] {
        let family = AfiSafi { afi: 25, safi: 70 };
        let bytes = encode_route_refresh(family, subtype);
        assert_eq!(bytes[19..], [0, 25, subtype, 70]);
        assert_eq!(decode(&bytes, &ebgp()), Ok(Message::RouteRefresh { family, subtype }));
    }
}

#[test]
fn route_refresh_of_a_wrong_length() {
    for body in [&[][..], &[0, 1], &[0, 1, 0], &[0, 1, 0, 1, 0], &[0, 1, 7], &[0, 1, 1], &[0, 1, 2, 1, 0]] {
        // RFC 7313 section 5: an error of its own, with the whole message.
        let bytes = message(5, body);
        assert_eq!(refused(&bytes, &ebgp()), (7, 1, bytes));
    }
    let family = AfiSafi::IPV4_UNICAST;
    let ignored = decode(&message(5, &[0, 1, 9, 1, 0, 0]), &ebgp());
    assert_eq!(ignored, Ok(Message::RouteRefresh { family, subtype: 9 }), "unknown subtypes may be longer");
}
