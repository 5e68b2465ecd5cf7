use super::super::{CodecContext, Message, decode};
use super::*;

fn context() -> CodecContext {
    CodecContext { four_octet_as: true, ibgp: false, ..CodecContext::default() }
}

#[test]
fn data_survives_the_wire() {
    for notification in [
        Notification::hold_timer_expired(),
        Notification::bad_message_length(18),
        Notification::maximum_prefixes(AfiSafi::IPV6_UNICAST, 1000),
        Notification::administrative_shutdown("gone fishing \u{1f41f}"),
        Notification::new(200, 201, [1, 2, 3]),
    ] {
        assert_eq!(decode(&encode_notification(&notification), &context()), Ok(Message::Notification(notification)));
    }
}

#[test]
fn data_that_does_not_fit_is_cut() {
    let bytes = encode_notification(&Notification::new(3, 5, vec![7; 5000]));
    assert_eq!(bytes.len(), MAX_MESSAGE);
    assert!(decode(&bytes, &context()).is_ok());
}

#[test]
fn words() {
    let inner = Notification::administrative_reset("new config");
    for (notification, words) in [
        (Notification::hold_timer_expired(), "Hold Timer Expired (4/0)"),
        (Notification::bad_message_length(18), "Message Header Error: Bad Message Length (1/2): length 18"),
        (Notification::unsupported_version(), "OPEN Message Error: Unsupported Version Number (2/1): speaks version 4"),
        (Notification::new(3, 3, [2]), "UPDATE Message Error: Missing Well-known Attribute (3/3): attribute 2"),
        (Notification::new(3, 5, [0x40, 3, 1, 0]), "UPDATE Message Error: Attribute Length Error (3/5): attribute 3"),
        (
            Notification::unexpected_message(1, 2),
            "Finite State Machine Error: Unexpected Message in OpenSent (5/1): type 2",
        ),
        (
            Notification::maximum_prefixes(AfiSafi::IPV4_UNICAST, 9),
            "Cease: Maximum Number of Prefixes Reached (6/1): AFI 1 SAFI 1, at most 9",
        ),
        (Notification::administrative_shutdown("bye"), "Cease: Administrative Shutdown (6/2): \"bye\""),
        (Notification::administrative_shutdown(""), "Cease: Administrative Shutdown (6/2)"),
        (
            Notification::hard_reset(&inner),
            "Cease: Hard Reset (6/9): Cease: Administrative Reset (6/4): \"new config\"",
        ),
        (Notification::new(6, 77, []), "Cease (6/77)"),
        (Notification::new(99, 1, []), "unknown error (99/1)"),
    ] {
        assert_eq!(notification.to_string(), words);
    }
}

#[test]
fn a_shutdown_text_is_a_strangers() {
    // Bad UTF-8, a length beyond the data, terminal control characters: shown, escaped, never trusted.
    let text = Notification::new(6, 2, [255, b'a', 0xff, 0x1b, b'[']);
    assert_eq!(text.shutdown_text().as_deref(), Some("a\u{fffd}\u{1b}["));
    assert_eq!(text.to_string(), "Cease: Administrative Shutdown (6/2): \"a\u{fffd}\\u{1b}[\"");
    // A length short of the data: the rest is not text.
    assert_eq!(Notification::new(6, 4, [1, b'a', b'b']).shutdown_text().as_deref(), Some("a"));
    assert_eq!(Notification::new(6, 2, []).shutdown_text(), None);
    assert_eq!(Notification::new(6, 3, [1, b'a']).shutdown_text(), None);
}

#[test]
fn a_long_shutdown_text_is_cut_between_characters() {
    let notification = Notification::administrative_shutdown(&"\u{e9}".repeat(200));
    assert_eq!(notification.data.len(), 255);
    assert_eq!(notification.shutdown_text(), Some("\u{e9}".repeat(127)));
}

#[test]
fn hard_resets_in_hard_resets_end_at_the_first() {
    let nested = Notification::new(6, 9, [6, 9].repeat(2000));
    assert_eq!(nested.to_string(), "Cease: Hard Reset (6/9)");
    assert_eq!(Notification::new(6, 9, [6]).hard_reset_reason(), None);
}
