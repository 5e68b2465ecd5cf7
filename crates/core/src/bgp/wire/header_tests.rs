use super::super::test_support::message;
use super::*;

fn header(length: u16, number: u8) -> Vec<u8> {
    [&[0xff; 16], &length.to_be_bytes()[..], &[number]].concat()
}

#[test]
fn fewer_than_19_bytes_say_nothing() {
    for length in 0..HEADER {
        assert_eq!(message_length(&header(19, 4)[..length]), Ok(None));
    }
}

#[test]
fn the_first_message_of_several_counts() {
    let stream = [header(19, 4), message(2, &[0; 4])].concat();
    assert_eq!(message_length(&stream), Ok(Some(19)));
    assert_eq!(message_length(&stream[19..]), Ok(Some(23)));
}

#[test]
fn a_marker_of_anything_but_ones_is_not_synchronized() {
    for position in 0..16 {
        let mut bytes = header(19, 4);
        bytes[position] = 0xfe;
        assert_eq!(message_length(&bytes), Err(Notification::connection_not_synchronized()));
    }
}

#[test]
fn lengths_are_bounded_by_type() {
    // (type, least, most): RFC 4271 6.1.
    for (number, least, most) in [(1, 29, 4096), (2, 23, 4096), (3, 21, 4096), (4, 19, 19), (5, 19, 4096)] {
        for length in [least, most] {
            assert_eq!(message_length(&header(length, number)), Ok(Some(usize::from(length))), "type {number}");
        }
        for length in [0, 18, least - 1, most + 1, 4097, u16::MAX] {
            let refused = Err(Notification::bad_message_length(length));
            assert_eq!(message_length(&header(length, number)), refused, "type {number}");
        }
    }
}

#[test]
fn an_undefined_type_is_named() {
    for number in [0, 6, 255] {
        assert_eq!(message_length(&header(19, number)), Err(Notification::new(1, 3, [number])));
    }
}

#[test]
fn a_keepalive_is_a_bare_header() {
    assert_eq!(encode_keepalive().to_vec(), header(19, 4));
}
