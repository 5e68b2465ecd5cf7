//! Forwarding and the underlay's addresses; `/proc/sys` and iproute2 are the oracles.

use routenet::agent::underlay::resolve;
use routenet::plane::sysctl::enable_forwarding;
use routenet_core::model::Family;
use routenet_core::model::config::read;

use crate::links::{block_on, ip};
use crate::support::{in_fresh_netns, run};

#[test]
fn forwarding_is_switched_on_once_and_said() {
    in_fresh_netns(|| {
        ip("link add under0 type veth peer name under1");
        let said = enable_forwarding(&Family::BOTH).expect("forwarding");
        assert!(said.len() == 2 && said[0].contains("net.ipv4.ip_forward=1"), "{said:?}");
        assert_eq!(enable_forwarding(&Family::BOTH), Ok(Vec::new()), "the second time nothing is to be done");
        ip("link add late0 type veth peer name late1");
        for interface in ["under0", "late0"] {
            let forwarding = |key: &str| run("sysctl", &["-n", key]).trim().to_string();
            assert_eq!(forwarding(&format!("net.ipv4.conf.{interface}.forwarding")), "1");
            let router = forwarding(&format!("net.ipv6.conf.{interface}.forwarding"));
            let force = format!("/proc/sys/net/ipv6/conf/{interface}/force_forwarding");
            let forced = std::fs::read_to_string(force).is_ok_and(|value| value.trim() == "1");
            assert!(forced || router == "1", "{interface}");
        }
    });
}

#[test]
fn a_family_that_is_not_asked_for_is_left_alone() {
    in_fresh_netns(|| {
        run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=0"]);
        let said = enable_forwarding(&[Family::V6]).expect("forwarding");
        assert!(said.len() == 1 && said[0].starts_with("IPv6"), "{said:?}");
        assert_eq!(run("sysctl", &["-n", "net.ipv4.ip_forward"]).trim(), "0");
    });
}

#[test]
fn a_setting_that_cannot_be_written_is_named_and_one_that_is_right_needs_no_writing() {
    in_fresh_netns(|| {
        run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=0"]);
        // In mounts of this thread's own, as in a container.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root");
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["--bind", "/proc/sys", "/proc/sys"]);
        run("mount", &["-o", "remount,bind,ro", "/proc/sys"]);
        let error = enable_forwarding(&[Family::V4]).expect_err("it is read-only").to_string();
        assert!(error.contains("sysctl net/ipv4/ip_forward: cannot be set to 1"), "{error}");
        assert!(error.contains("set it before the agent starts, or give it a writable /proc/sys"), "{error}");

        run("umount", &["/proc/sys"]);
        assert!(enable_forwarding(&[Family::V4]).is_ok());
        run("mount", &["--bind", "/proc/sys", "/proc/sys"]);
        run("mount", &["-o", "remount,bind,ro", "/proc/sys"]);
        assert_eq!(enable_forwarding(&[Family::V4]), Ok(Vec::new()), "who runs the container has set it");
    });
}

#[test]
fn the_underlay_is_found_by_interface() {
    in_fresh_netns(|| {
        ip("link add under0 mtu 1400 type veth peer name under1");
        ip("link set under0 up");
        ip("address add 192.0.2.1/24 dev under0");
        ip("address add 192.0.2.7/24 dev under0");
        ip("-6 address add 2001:db8::1/64 dev under0 nodad");
        let text =
            "node: h1\naddress:\n  auto:\n    - interface: under0\nstore:\n  type: embedded\n  path: /tmp/store.db\n";
        let config = read("node.yaml", text).expect("a configuration");
        let underlay = block_on(resolve(&config)).expect("found");
        assert_eq!(underlay.ipv4, Some("192.0.2.1".parse().expect("one")), "the secondary one is not meant");
        assert_eq!(underlay.ipv6, Some("2001:db8::1".parse().expect("one")), "nor the link-local one");
        assert_eq!(underlay.mtu, 1400);
        ip("address add 198.51.100.1/24 dev under0");
        let error = block_on(resolve(&config)).expect_err("two networks");
        assert!(error.to_string().contains("192.0.2.1 and 198.51.100.1"), "{error}");
    });
}
