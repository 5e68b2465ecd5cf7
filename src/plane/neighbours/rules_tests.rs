use routenet_core::model::Family;

use super::Rules;

const BITS: u32 = 0x70000;

fn read(saved: &str) -> Rules {
    let mut rules = Rules::default();
    rules.read(Family::V4, saved, BITS);
    rules
}

#[test]
fn chains_of_another_calico_are_counted_and_their_hooks_named() {
    let rules = read(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:cali-FORWARD - [0:0]\n:cali-to-wl-dispatch - [0:0]\n\
         :KUBE-FORWARD - [0:0]\n-A FORWARD -m comment --comment \"cali:wUHhoiAYhphO9Mso\" -j cali-FORWARD\n\
         -A cali-FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n",
    );
    assert_eq!(rules.calico_chains, 2);
    assert_eq!(rules.calico_hooks, ["filter FORWARD".to_string()].into());
    assert!(rules.input_drops && rules.forward_drops.is_empty());
    assert_eq!(rules.marked, [""; 0], "their marks go with them");
}

#[test]
fn what_other_networks_bring_is_no_news() {
    let rules = read(
        "*filter\n:FORWARD DROP [0:0]\n:rn-FORWARD - [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n\
         -A rn-FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT\nCOMMIT\n*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n\
         -A CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\nCOMMIT\n",
    );
    let expected = Rules { forward_drops: [Family::V4].into(), ..Rules::default() };
    assert_eq!(rules, expected);
}

#[test]
fn a_rule_that_sets_or_wants_our_bits_is_named() {
    let saved = "*mangle\n-A OUTPUT -p udp -j MARK --set-xmark 0x10000/0xffffffff\n\
                 -A OUTPUT -m mark --mark 0x20000/0xff0000 -j ACCEPT\n-A OUTPUT -j MARK --set-xmark 0x0/0x70000\n\
                 -A OUTPUT -m mark --mark 65536 -j ACCEPT\n-A OUTPUT -j MARK --set-xmark 0xd0c4e3/0xffffffff\nCOMMIT\n";
    let marked = read(saved).marked;
    assert_eq!(marked.len(), 3, "{marked:?}");
    assert_eq!(marked[0], "IPv4 mangle -A OUTPUT -p udp -j MARK --set-xmark 0x10000/0xffffffff");
    assert!(marked[1].contains("0x20000/0xff0000") && marked[2].contains("65536"), "{marked:?}");
}
