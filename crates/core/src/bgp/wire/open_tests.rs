use super::super::test_support::{ebgp, message, refused};
use super::super::{AddPath, AfiSafi, GracefulRestart, LongLived, Message};
use super::*;

/// An OPEN of version 4, AS 65001, hold time 90, router id 10.0.0.1 with these bytes behind its router id.
fn with(parameters: &[u8]) -> Vec<u8> {
    message(1, &[&[4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1], parameters].concat())
}

fn decoded(bytes: &[u8]) -> Open {
    match super::super::decode(bytes, &ebgp()) {
        Ok(Message::Open(open)) => open,
        other => panic!("expected an OPEN, got {other:?}"),
    }
}

#[test]
fn the_least_open() {
    let open =
        Open { as_number: 65001, hold_time: 90, router_id: Ipv4Addr::new(10, 0, 0, 1), capabilities: Vec::new() };
    assert_eq!(decoded(&with(&[0])), open);
    assert_eq!(encode_open(&open), with(&[0]));
}

#[test]
fn fixed_fields_are_checked() {
    let mut good = with(&[0]);
    for (position, value, code, subcode, data) in
        [(19, 3, 2, 1, vec![0, 4]), (19, 5, 2, 1, vec![0, 4]), (23, 1, 2, 6, vec![]), (23, 2, 2, 6, vec![])]
    {
        let kept = std::mem::replace(&mut good[position], value);
        assert_eq!(refused(&good, &ebgp()), (code, subcode, data), "byte {position} = {value}");
        good[position] = kept;
    }
    for hold_time in [0, 3] {
        good[23] = hold_time;
        assert_eq!(decoded(&good).hold_time, u16::from(hold_time));
    }
    good[20..22].copy_from_slice(&[0, 0]);
    assert_eq!(refused(&good, &ebgp()), (2, 2, vec![]), "AS 0 (RFC 7607)");
    good[20..22].copy_from_slice(&AS_TRANS.to_be_bytes());
    assert_eq!(refused(&good, &ebgp()), (2, 2, vec![]), "AS_TRANS is nobody's own");
    good[20..22].copy_from_slice(&[0, 1]);
    good[24..28].copy_from_slice(&[0; 4]);
    assert_eq!(refused(&good, &ebgp()), (2, 3, vec![]), "router id 0");
    good[24..28].copy_from_slice(&[255; 4]);
    assert_eq!(decoded(&good).router_id, Ipv4Addr::BROADCAST, "RFC 6286: any but zero");
}

#[test]
fn the_real_as_comes_from_the_capability() {
    let open = |field: u16, number: u32| {
        let body = [&[4], &field.to_be_bytes()[..], &[0, 90, 10, 0, 0, 1, 8, 2, 6, 65, 4], &number.to_be_bytes()];
        message(1, &body.concat())
    };
    assert_eq!(decoded(&open(AS_TRANS, 4_200_000_001)).as_number, 4_200_000_001);
    assert_eq!(decoded(&open(65001, 65001)).as_number, 65001);
    assert_eq!(decoded(&open(AS_TRANS, 65001)).as_number, 65001);
    for (field, number) in [(65001, 65002), (65001, 0), (AS_TRANS, 0), (AS_TRANS, 23456), (0, 65001)] {
        assert_eq!(refused(&open(field, number), &ebgp()), (2, 2, vec![]), "{field} and {number}");
    }
}

#[test]
fn lengths_that_disagree_are_malformed() {
    for parameters in [
        &[][..],                          // not even the length: the header's least length catches it
        &[1],                             // a length without parameters
        &[0, 2],                          // parameters without a length
        &[2, 2],                          // cut off
        &[3, 2, 0, 0],                    // one byte left over
        &[2, 2, 1],                       // the parameter is longer than its field
        &[4, 2, 2, 1, 4],                 // the capability is longer than its parameter
        &[3, 2, 1, 65],                   // a capability without a length
        &[255, 255],                      // RFC 9072 without its length
        &[255, 255, 0, 4, 2, 0, 2, 1],    // RFC 9072: the parameter is longer than the field
        &[255, 255, 0, 9, 2, 0, 2, 2, 0], // RFC 9072: the length is longer than the message
        &[255, 255, 0, 2, 2, 0],          // RFC 9072: a parameter with half a length
    ] {
        let expected = if parameters.is_empty() { (1, 2, vec![0, 28]) } else { (2, 0, vec![]) };
        assert_eq!(refused(&with(parameters), &ebgp()), expected, "{parameters:?}");
    }
}

#[test]
fn unknown_parameters_are_unsupported() {
    assert_eq!(refused(&with(&[2, 1, 0]), &ebgp()), (2, 4, vec![]));
    assert_eq!(refused(&with(&[4, 2, 0, 9, 0]), &ebgp()), (2, 4, vec![]));
}

#[test]
fn several_parameters_and_several_capabilities_in_one() {
    let open = decoded(&with(&[14, 2, 6, 1, 4, 0, 2, 0, 1, 2, 4, 2, 0, 70, 0]));
    assert_eq!(
        open.capabilities,
        [Capability::Multiprotocol(AfiSafi::IPV6_UNICAST), Capability::RouteRefresh, Capability::EnhancedRouteRefresh]
    );
}

#[test]
fn extended_lengths() {
    let value = [2, 0];
    let extended = [&[255, 255, 0, 5, 2, 0, 2], &value[..]].concat();
    assert_eq!(decoded(&with(&extended)).capabilities, [Capability::RouteRefresh]);
    // The first length is ignored on receipt, as long as it is not zero.
    let extended = [&[7, 255, 0, 5, 2, 0, 2], &value[..]].concat();
    assert_eq!(decoded(&with(&extended)).capabilities, [Capability::RouteRefresh]);
}

#[test]
fn unknown_capabilities_are_kept() {
    let open = decoded(&with(&[12, 2, 10, 5, 0, 6, 0, 9, 1, 3, 200, 1, 7]));
    let unknown = |code, value: &[u8]| Capability::Unknown { code, value: value.to_vec() };
    let none = Capability::ExtendedNextHop(Vec::new());
    assert_eq!(open.capabilities, [none, unknown(6, &[]), Capability::Role(3), unknown(200, &[7])]);
}

/// RFC 9494 3.1, octet by octet.
#[test]
fn long_lived_graceful_restart() {
    let octets = [0, 2, 1, 0x80, 0x01, 0x02, 0x03, 0, 1, 1, 0x7f, 0, 0, 0];
    let open = decoded(&with(&[&[18, 2, 16, 71, 14][..], &octets].concat()));
    let families = vec![
        LongLived { family: AfiSafi::IPV6_UNICAST, forwarding: true, seconds: 0x0001_0203 },
        LongLived { family: AfiSafi::IPV4_UNICAST, forwarding: false, seconds: 0 },
    ];
    assert_eq!(open.capabilities, [Capability::LongLivedGracefulRestart(families)]);
    let cut = decoded(&with(&[10, 2, 8, 71, 6, 0, 1, 1, 0x80, 0, 0]));
    assert_eq!(cut.capabilities, [Capability::Unknown { code: 71, value: vec![0, 1, 1, 0x80, 0, 0] }]);
}

#[test]
fn known_capabilities_of_a_wrong_length_are_malformed() {
    for capability in [
        &[1, 3, 0, 1, 0][..],
        &[1, 5, 0, 1, 0, 1, 0],
        &[2, 1, 0],
        &[64, 1, 0],
        &[64, 5, 0, 90, 0, 1, 1],
        &[65, 3, 0, 0, 1],
        &[65, 5, 0, 0, 0, 1, 0],
        &[70, 1, 0],
    ] {
        let length = u8::try_from(capability.len()).unwrap();
        let parameters = [&[length + 2, 2, length], capability].concat();
        assert_eq!(refused(&with(&parameters), &ebgp()), (2, 0, vec![]), "{capability:?}");
    }
}

/// RFC 7911 section 4.
#[test]
fn add_paths_that_mean_nothing_are_as_if_unknown() {
    let said = |value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        let open = decoded(&with(&[&[length + 4, 2, length + 2, 69, length], value].concat()));
        open.capabilities[0].clone()
    };
    let ipv4 = |receives, sends| AddPath { family: AfiSafi::IPV4_UNICAST, receives, sends };
    for (mode, expected) in [(1, ipv4(true, false)), (2, ipv4(false, true)), (3, ipv4(true, true))] {
        assert_eq!(said(&[0, 1, 1, mode]), Capability::AddPaths(vec![expected]));
    }
    for value in [&[0, 1, 1, 0][..], &[0, 1, 1, 4], &[0, 1, 1, 3, 0, 2, 1, 255], &[0, 1, 1], &[0, 1, 1, 3, 0], &[3]] {
        assert_eq!(said(value), Capability::Unknown { code: 69, value: value.to_vec() }, "{value:?}");
    }
}

fn every_capability() -> Open {
    Open {
        as_number: 4_200_000_001,
        hold_time: 0,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
            Capability::Multiprotocol(AfiSafi { afi: 25, safi: 70 }),
            Capability::RouteRefresh,
            Capability::EnhancedRouteRefresh,
            Capability::FourOctetAs(4_200_000_001),
            Capability::GracefulRestart(GracefulRestart {
                restarted: true,
                notification: true,
                restart_time: 4095,
                families: vec![(AfiSafi::IPV4_UNICAST, true), (AfiSafi::IPV6_UNICAST, false)],
            }),
            Capability::GracefulRestart(GracefulRestart {
                restarted: false,
                notification: false,
                restart_time: 0,
                families: Vec::new(),
            }),
            Capability::LongLivedGracefulRestart(vec![
                LongLived { family: AfiSafi::IPV4_UNICAST, forwarding: true, seconds: LongLived::MOST },
                LongLived { family: AfiSafi::IPV6_UNICAST, forwarding: false, seconds: 3600 },
            ]),
            Capability::LongLivedGracefulRestart(Vec::new()),
            Capability::AddPaths(vec![
                AddPath { family: AfiSafi::IPV4_UNICAST, receives: true, sends: false },
                AddPath { family: AfiSafi::IPV6_UNICAST, receives: false, sends: true },
                AddPath { family: AfiSafi { afi: 25, safi: 70 }, receives: true, sends: true },
            ]),
            Capability::Unknown { code: 73, value: b"\x04host\x06domain".to_vec() },
        ],
    }
}

#[test]
fn what_is_encoded_is_decoded_equal() {
    let open = every_capability();
    let bytes = encode_open(&open);
    assert_eq!(decoded(&bytes), open);
    assert_eq!(bytes[20..22], AS_TRANS.to_be_bytes());
}

#[test]
fn lengths_around_the_limit_of_one_octet() {
    for length in 249..=255 {
        let mut open = every_capability();
        open.capabilities = vec![Capability::FourOctetAs(4_200_000_001)];
        open.capabilities.push(Capability::Unknown { code: 99, value: vec![7; length - 6] });
        let bytes = encode_open(&open);
        assert_eq!(decoded(&bytes), open, "{length}");
        // The field of one octet would have to be length + 4; 255 and more have another meaning or no room.
        assert_eq!(bytes[28] == EXTENDED, length + 4 >= 255, "{length}");
    }
}

#[test]
fn capabilities_without_an_encoding_are_left_out() {
    let mut open = every_capability();
    let kept = open.capabilities.clone();
    open.capabilities.push(Capability::Unknown { code: 99, value: vec![0; 256] });
    assert_eq!(decoded(&encode_open(&open)).capabilities, kept);
    open.as_number = 65001;
    open.capabilities = vec![Capability::Unknown { code: 99, value: vec![0; 255] }; 20];
    let bytes = encode_open(&open);
    assert!(bytes.len() <= MAX_MESSAGE);
    assert_eq!(decoded(&bytes).capabilities.len(), 15);
}

/// RFC 8950 section 4: AFI 1, SAFI 1 in two octets, next hop AFI 2. What is no multiple of that offers nothing.
#[test]
fn the_extended_next_hop_capability_byte_for_byte() {
    let open = decoded(&with(&[16, 2, 14, 5, 12, 0, 1, 0, 1, 0, 2, 0, 1, 0, 128, 0, 2]));
    let vpn = AfiSafi { afi: 1, safi: 128 };
    let offered = Capability::ExtendedNextHop(vec![(AfiSafi::IPV4_UNICAST, 2), (vpn, 2)]);
    assert_eq!(open.capabilities, [offered]);
    assert_eq!(encode_open(&open), with(&[16, 2, 14, 5, 12, 0, 1, 0, 1, 0, 2, 0, 1, 0, 128, 0, 2]));
    let wide = decoded(&with(&[10, 2, 8, 5, 6, 0, 1, 1, 1, 0, 2]));
    assert_eq!(wide.capabilities, [Capability::ExtendedNextHop(vec![])], "no SAFI has 257");
    let odd = decoded(&with(&[9, 2, 7, 5, 5, 0, 1, 0, 1, 0]));
    assert_eq!(odd.capabilities, [Capability::Unknown { code: 5, value: vec![0, 1, 0, 1, 0] }]);
}
