use super::*;

fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(7u32.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn frames_of_a_datagram_are_taken_one_by_one() {
    let bytes = [frame(1, 0, 5, &[1, 2, 3]), frame(2, 3, 6, &[])].concat();
    let seen: Vec<_> = Frames(&bytes).map(|f| (f.kind, f.flags, f.sequence, f.port, f.payload.to_vec())).collect();
    assert_eq!(seen, [(1, 0, 5, 7, vec![1, 2, 3]), (2, 3, 6, 7, vec![])]);
}

#[test]
fn a_frame_cut_short_ends_the_datagram() {
    let mut bytes = frame(1, 0, 5, &[1, 2, 3, 4]);
    bytes.truncate(18);
    assert_eq!(Frames(&bytes).count(), 0);
    assert_eq!(Frames(&[0; 16]).count(), 0, "a length below the header's");
}

#[test]
fn a_refusal_carries_the_kernels_words() {
    let mut payload = (-libc::ENETUNREACH).to_ne_bytes().to_vec();
    payload.extend([0; HEADER]);
    let text = b"Nexthop has invalid gateway\0";
    payload.extend(((4 + text.len()) as u16).to_ne_bytes());
    payload.extend(ERROR_TEXT.to_ne_bytes());
    payload.extend(text);
    let bytes = frame(NLMSG_ERROR, 0x300, 1, &payload);
    let refusal = acknowledgement(&Frames(&bytes).next().expect("a frame")).expect_err("a refusal");
    assert_eq!(refusal.code, libc::ENETUNREACH);
    assert_eq!(refusal.to_string(), "Network is unreachable (Nexthop has invalid gateway)");
}

#[test]
fn an_acknowledgement_is_no_refusal_and_a_cut_one_is() {
    let yes = frame(NLMSG_ERROR, 0, 1, &[0; 20]);
    assert_eq!(acknowledgement(&Frames(&yes).next().expect("a frame")), Ok(()));
    let cut = frame(NLMSG_ERROR, 0, 1, &[]);
    assert!(acknowledgement(&Frames(&cut).next().expect("a frame")).is_err());
}
