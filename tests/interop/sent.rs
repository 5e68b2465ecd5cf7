//! That what is malformed or missing among what a side sends is noticed: what holds all other tests' sessions to tshark.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use crate::rig::PORT;
use crate::support::capture::{Capture, Frame, counts};
use crate::support::in_fresh_netns;

/// A message of this type with a header that fits.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("a message").to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// What is read of these messages, sent on one connection.
fn sent(messages: Vec<Vec<u8>>) -> Vec<Frame> {
    in_fresh_netns(move || {
        let capture = Capture::start(PORT, |(_, destination)| destination.port() == PORT);
        let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("a socket");
        let mut stream = TcpStream::connect(("127.0.0.1", PORT)).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let _other = listener.accept().expect("the other end");
        messages.iter().for_each(|message| stream.write_all(message).expect("it is open"));
        drop(stream);
        capture.frames(&["4"])
    })
}

#[test]
fn a_malformed_message_is_complained_about_and_no_other() {
    let keepalive = message(4, &[]);
    let cease = message(3, &[&[6, 2, 6][..], b"a text"].concat());
    let withdrawal = |length: u8| message(2, &[0, 4, length, 10, 66, 7, 0, 0]);
    for (name, bad, complaints) in [
        ("good", withdrawal(24), 0),
        ("a prefix of 33 bits", withdrawal(33), 1),
        ("an ORIGIN behind the attributes' end", message(2, &[0, 0, 0, 3, 0x40, 1, 9]), 1),
        ("a path of two-octet numbers", message(2, &[0, 0, 0, 9, 0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0xfd, 0xea]), 1),
    ] {
        let frames = sent(vec![keepalive.clone(), bad, cease.clone()]);
        let bad = frames.iter().filter(|frame| frame.complaint.is_some());
        assert_eq!(bad.count(), complaints, "{name}: {frames:#?}");
        assert_eq!(counts(&frames).get(&4), Some(&1), "{name}: {frames:#?}");
        let said = frames.iter().find(|frame| frame.text == "a text").expect("the text of the Cease");
        assert_eq!(said.notification, Some((6, 2)));
    }
}
