//! The control packet on raw bytes, and every check in its order.

use proptest::prelude::*;

use super::super::test_support;
use super::*;

/// As RFC 5880 4.1 draws it: Up, Poll, C, multiplier 3, 100 ms both ways.
const BYTES: [u8; LENGTH] =
    [0x20, 0xe8, 3, 24, 0, 0, 0, 7, 0x12, 0x34, 0x56, 0x78, 0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 0, 0, 0, 0];

fn packet() -> Packet {
    Packet {
        poll: true,
        control_plane_independent: true,
        your_discriminator: 0x1234_5678,
        ..test_support::packet(State::Up)
    }
}

#[test]
fn a_packet_is_read_and_written_as_the_rfc_draws_it() {
    assert_eq!(Packet::decode(&BYTES), Ok((packet(), false)));
    assert_eq!(packet().encode(), BYTES);
    let down = Packet {
        diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
        state: State::Down,
        poll: false,
        final_: true,
        control_plane_independent: false,
        demand: true,
        ..packet()
    };
    assert_eq!(down.encode()[..2], [0x21, 0x52]);
    assert_eq!(Packet::decode(&down.encode()), Ok((down, false)));
}

/// Each of these is wrong in two places at least, but for the last: what is told is the check that comes first.
#[test]
fn the_checks_of_6_8_6_are_made_in_their_order() {
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = BYTES;
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        bytes
    };
    let faults: [(&[(usize, u8)], Discard); 8] = [
        (&[(0, 0x40), (3, 23)], Discard::Version(2)),
        (&[(0, 0x00), (3, 23)], Discard::Version(0)),
        (&[(3, 23), (2, 0)], Discard::LengthTooSmall(23)),
        (&[(1, 0xc4), (3, 25), (2, 0)], Discard::LengthTooSmall(25)),
        (&[(3, 25), (2, 0)], Discard::LengthBeyondPayload(25)),
        (&[(2, 0), (1, 0xc1)], Discard::ZeroMultiplier),
        (&[(1, 0xc1), (7, 0)], Discard::Multipoint),
        (&[(7, 0)], Discard::ZeroMyDiscriminator),
    ];
    for (changes, discard) in faults {
        assert_eq!(Packet::decode(&with(changes)), Err(discard), "{changes:?}");
    }
    for length in 0..4 {
        assert_eq!(Packet::decode(&BYTES[..length]), Err(Discard::Truncated));
    }
    for length in 4..LENGTH {
        assert_eq!(Packet::decode(&BYTES[..length]), Err(Discard::LengthBeyondPayload(24)), "{length} bytes");
    }
}

#[test]
fn what_follows_the_packet_is_nobodys_matter_and_authentication_is_told() {
    let longer = [&BYTES[..], &[0xff; 7]].concat();
    assert_eq!(Packet::decode(&longer), Ok((packet(), false)));
    let mut signed = [&BYTES[..], &[1, 4, 1, b'x']].concat();
    (signed[1], signed[3]) = (signed[1] | 0x04, 28);
    assert_eq!(Packet::decode(&signed), Ok((packet(), true)));
}

#[test]
fn a_time_that_does_not_fit_is_the_longest_there_is() {
    let slow = Packet { desired_min_tx: Duration::from_secs(10_000), ..packet() };
    assert_eq!(slow.encode()[12..16], [0xff; 4]);
}

proptest! {
    #[test]
    fn no_bytes_break_it_and_what_it_reads_it_writes(bytes in prop::collection::vec(any::<u8>(), 0..40), valid: bool) {
        let mut bytes = bytes;
        if valid && bytes.len() >= LENGTH {
            (bytes[0], bytes[1], bytes[2], bytes[3]) = (0x20 | bytes[0] & 0x1f, bytes[1] & 0xfa, bytes[2].max(1), 24);
            bytes[7] |= 1;
        }
        if let Ok((packet, false)) = Packet::decode(&bytes) {
            prop_assert_eq!(&packet.encode()[..3], &bytes[..3]);
            prop_assert_eq!(&packet.encode()[4..], &bytes[4..LENGTH]);
        } else {
            prop_assert!(!valid || bytes.len() < LENGTH);
        }
    }
}
