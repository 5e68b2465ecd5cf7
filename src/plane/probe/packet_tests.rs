use super::*;

fn ends() -> (IpAddr, IpAddr) {
    ([10, 65, 0, 1].into(), [10, 65, 0, 2].into())
}

/// An IPv4 packet with this payload.
fn packet(from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes.extend(from.into_iter().chain(to));
    bytes.extend(payload);
    bytes
}

fn tcp(ports: [u8; 4], flags: u8) -> Vec<u8> {
    let mut bytes = ports.to_vec();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags]);
    bytes
}

const A: [u8; 4] = [10, 65, 0, 1];
const B: [u8; 4] = [10, 65, 0, 2];

#[test]
fn a_probe_and_its_answers_are_told_from_all_else() {
    let expected = Expected::ports(ends(), Protocol::TCP, 0x1234, 80);
    let seen = |bytes: Vec<u8>| Packet::read(&bytes).and_then(|packet| expected.seen(&packet));
    let (there, back) = ([0x12, 0x34, 0, 80], [0, 80, 0x12, 0x34]);
    assert_eq!(seen(packet(A, B, 6, &tcp(there, 2))), Some(Seen::Probe));
    let translated = [192, 0, 2, 1];
    assert_eq!(seen(packet(translated, B, 6, &tcp(there, 2))), Some(Seen::Probe), "behind NAT");
    assert_eq!(seen(packet(A, B, 17, &tcp(there, 2))), None, "another protocol");
    assert_eq!(seen(packet(A, B, 6, &tcp([0x12, 0x35, 0, 80], 2))), None, "another connection");
    assert_eq!(seen(packet(B, A, 6, &tcp(back, 0x12))), Some(Seen::Answer("SYN, ACK: it listens".into())));
    assert_eq!(seen(packet(B, A, 6, &tcp(back, 0x14))), Some(Seen::Answer("a reset: nothing listens there".into())));
    let mut error = vec![3, 13, 0, 0, 0, 0, 0, 0];
    error.extend(packet(A, B, 6, &there));
    let router = [192, 0, 2, 9];
    let prohibited = Seen::Error(router.into(), "administratively prohibited".into());
    assert_eq!(seen(packet(router, A, 1, &error)), Some(prohibited));
    error[8 + 20] = 0;
    assert_eq!(seen(packet(router, A, 1, &error)), None, "about another connection");
    for length in 0..40 {
        let whole = packet(A, B, 6, &tcp(there, 2));
        // No length is too short to be looked at.
        let _ = Packet::read(&whole[..length.min(whole.len())]).and_then(|packet| expected.seen(&packet));
    }
}

#[test]
fn the_checksum_of_an_echo_request_is_right() {
    let bytes = echo(8, 0xfffe);
    let sum: u32 = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    let expected = Expected::echo(ends(), 0xfffe);
    let request = packet(A, B, 1, &bytes);
    assert_eq!(expected.seen(&Packet::read(&request).unwrap()), Some(Seen::Probe));
    let reply = packet(B, A, 1, &echo(0, 0xfffe));
    assert_eq!(expected.seen(&Packet::read(&reply).unwrap()), Some(Seen::Answer("an echo reply".into())));
}
