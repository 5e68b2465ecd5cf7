use super::*;
use crate::policy::PolicyEngine;
use crate::policy::testing::*;

#[test]
fn our_marks_are_the_lowest_bits_of_the_mask() {
    assert_eq!(Marks::new(0xffff_0000), Marks { accept: 0x1_0000, pass: 0x2_0000, local: 0x4_0000 });
    assert_eq!(Marks::new(0x1000_0101), Marks { accept: 0x1, pass: 0x100, local: 0x1000_0000 });
}

fn packet(input: Option<&str>, output: Option<&str>, source: &str, state: &'static str) -> Packet {
    let source = address(source);
    Packet {
        input: input.map(String::from),
        output: output.map(String::from),
        source,
        destination: address(if source.is_ipv4() { "198.51.100.1" } else { "2001:db8::9" }),
        protocol: 6,
        source_port: Some(40000),
        port: Some(80),
        icmp: None,
        mark: 0xffff,
        state,
    }
}

/// A host with one workload that may send, and its interface.
fn host() -> (Simulator, String) {
    let known = endpoint("n1", "blue", "a", &["10.65.0.1", "fd65::1"], &[]);
    let mut engine = PolicyEngine::new(&settings("n1"));
    let mut facts = base();
    facts.push(endpoint_fact(&known));
    engine.apply(&facts);
    (Simulator::new(&engine), known.key.host_interface().to_string())
}

#[test]
fn a_workload_speaks_from_its_own_addresses_only() {
    let (host, interface) = host();
    let pass = |source, state| host.pass(&mut packet(Some(&interface), Some("eth0"), source, state), "rn-FORWARD");
    assert_eq!(pass("10.65.0.1", "NEW"), Fate::Accept);
    assert_eq!(pass("fd65::1", "NEW"), Fate::Accept);
    for state in ["NEW", "ESTABLISHED"] {
        assert_eq!(pass("10.65.0.2", state), Fate::Drop);
        assert_eq!(pass("fd65::2", state), Fate::Drop);
        assert_eq!(pass("fe80::1", state), Fate::Drop);
    }
    assert_eq!(pass("10.65.0.1", "INVALID"), Fate::Drop);
}

#[test]
fn an_interface_of_ours_that_nobody_knows_is_closed() {
    let (host, _) = host();
    let pass = |input, output, state, chain| host.pass(&mut packet(input, output, "10.65.0.1", state), chain);
    assert_eq!(pass(Some("rnw00000000000"), Some("eth0"), "ESTABLISHED", "rn-FORWARD"), Fate::Drop);
    assert_eq!(pass(Some("rnw00000000000"), None, "NEW", "rn-INPUT"), Fate::Drop);
    assert_eq!(pass(Some("eth0"), Some("rnw00000000000"), "NEW", "rn-FORWARD"), Fate::Drop);
    assert_eq!(pass(Some("eth0"), Some("rnw00000000000"), "ESTABLISHED", "rn-FORWARD"), Fate::Accept);
}

#[test]
fn packets_of_others_return_untouched() {
    let (host, _) = host();
    for chain in ["rn-FORWARD", "rn-INPUT", "rn-OUTPUT"] {
        for state in ["NEW", "ESTABLISHED", "INVALID"] {
            let mut packet = packet(Some("eth0"), Some("eth1"), "10.65.0.1", state);
            assert_eq!(host.pass(&mut packet, chain), Fate::Return);
            assert_eq!(packet.mark, 0xffff);
        }
    }
}

#[test]
fn neighbour_discovery_reaches_the_host_and_no_further() {
    let (host, interface) = host();
    let pass = |source: &str, kind: u8, output: Option<&str>, chain| {
        let mut packet = packet(Some(&interface), output, source, "NEW");
        packet.protocol = 58;
        packet.icmp = Some((kind, 0));
        host.pass(&mut packet, chain)
    };
    for source in ["fe80::1", "::", "fd65::1"] {
        assert_eq!(pass(source, 135, None, "rn-INPUT"), Fate::Accept, "{source}");
    }
    assert_eq!(pass("fe80::1", 136, None, "rn-INPUT"), Fate::Accept);
    assert_eq!(pass("fe80::1", 128, None, "rn-INPUT"), Fate::Drop);
    assert_eq!(pass("fd65::2", 135, None, "rn-INPUT"), Fate::Drop);
    assert_eq!(pass("fe80::1", 135, Some("eth0"), "rn-FORWARD"), Fate::Drop);
    for output in [None, Some("eth0")] {
        let mut error = packet(Some(&interface), output, "fe80::1", "RELATED");
        (error.protocol, error.icmp) = (58, Some((2, 0)));
        let chain = if output.is_none() { "rn-INPUT" } else { "rn-FORWARD" };
        assert_eq!(host.pass(&mut error, chain), Fate::Drop, "an error that nobody on the link has to say");
    }
}
