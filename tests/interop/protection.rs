//! TCP MD5 (RFC 2385) and GTSM (RFC 5082) with others: what fits is a session, whoever connects; what does not is none, and
//! the kernel's own counters say why.

use routenet_core::bgp::speaker::{LinkPeer, SpeakerConfig};
use routenet_core::model::BgpTransport;
use routenet_core::model::scope::unscoped;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::rig::{
    LIMIT, Namespace, Neighbor, THEIR_AS, THEIRS, Us, among, between, cidr, ip, link_peer, on_links, speaker,
};
use crate::support::capture::Frame;
use crate::support::wait_for;

const FOREIGN: [&str; 1] = ["198.51.100.0/24"];
const CEASE_OF_BIRD: &str = "Received: Other configuration change";

fn protected(family: usize, passive: bool, transport: &BgpTransport) -> SpeakerConfig {
    let mut config = speaker(family, THEIR_AS);
    for peer in config.peers.values_mut() {
        peer.transport = transport.clone();
        peer.passive = passive;
    }
    config
}

/// A counter of this namespace's TCP, by its name in /proc/thread-self/net/netstat.
fn counted(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").expect("the kernel's counters");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let found = lines.chunks(2).find_map(|pair| {
        let at = pair[0].iter().position(|word| *word == name)?;
        pair[1].get(at)?.parse().ok()
    });
    found.unwrap_or_else(|| panic!("there is no counter {name}"))
}

#[test]
fn bird_a_password_that_fits_is_a_session_and_another_one_is_none() {
    for family in [0, 1] {
        for passive in [false, true] {
            let sent = between(move |namespace| {
                let folder = tempfile::tempdir().expect("a folder");
                let path = folder.path().join("password");
                std::fs::write(&path, "open sesame\n").expect("a file");
                let password_file = Some(path.display().to_string());
                let transport = BgpTransport { password_file, ttl_security: None };
                let bird = Bird::with(namespace, family, THEIR_AS, &FOREIGN, "password \"open barley\";");
                let us = Us::start(protected(family, passive, &transport), false);
                wait_for("signatures that do not fit", LIMIT, || counted("TCPMD5Failure") > 0);
                assert!(!us.established(THEIRS[family]) && !bird.established());

                bird.reconfigure("open barley", "open sesame");
                wait_for("the session", LIMIT, || us.established(THEIRS[family]) && bird.established());
                wait_for("its route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[0])));

                // A neighbour without any is none either, and a change of ours begins the session anew.
                let sessions = us.peer(THEIRS[family]).sessions;
                us.peering.configure(protected(family, passive, &BgpTransport::default()));
                wait_for("our Cease", LIMIT, || !bird.established() && bird.last_error().contains(CEASE_OF_BIRD));
                us.peering.configure(protected(family, passive, &transport));
                wait_for("another session", LIMIT, || {
                    us.peer(THEIRS[family]).sessions > sessions && bird.established()
                });

                // Without a password that can be read there is no session, and one as soon as the file is written, whoever
                // connects.
                let missing = folder.path().join("missing");
                let words = format!("passwordFile {}: No such file", missing.display());
                let password_file = Some(missing.display().to_string());
                us.peering.configure(protected(family, passive, &BgpTransport { password_file, ttl_security: None }));
                wait_for("the end of the session", LIMIT, || !us.established(THEIRS[family]));
                let lacks = || us.status().unreadable.get(&ip(THEIRS[family])).cloned().unwrap_or_default();
                wait_for("the reason", LIMIT, || lacks().contains(&words));
                if !passive {
                    let said = || us.peer(THEIRS[family]).last_error.map(|(_, why)| why).unwrap_or_default();
                    wait_for("the reason of the last attempt", LIMIT, || said().contains(&words));
                }
                std::fs::write(&missing, "open sesame\n").expect("a file");
                wait_for("the session, with the file that was written", LIMIT, || {
                    us.established(THEIRS[family]) && bird.established()
                });
                wait_for("the status to know of it", LIMIT, || lacks().is_empty());
                us.stop();
            });
            ceases_are_signed(&sent);
        }
    }
}

/// A connection keeps its key until its last words are said, whatever becomes of the password meanwhile.
fn ceases_are_signed(sent: &[Frame]) {
    let ceases: Vec<&Frame> = sent.iter().filter(|frame| frame.notification == Some((6, 6))).collect();
    assert!(!ceases.is_empty() && ceases.iter().all(|cease| cease.signed), "{ceases:#?}");
}

fn far_is_dropped(neighbor: &dyn Neighbor, family: usize, passive: bool, near: bool, transport: &BgpTransport) {
    let us = Us::start(protected(family, passive, transport), false);
    if near {
        wait_for("the session", LIMIT, || us.established(THEIRS[family]) && neighbor.established());
    } else {
        wait_for("packets that come from too far away", LIMIT, || counted("TCPMinTTLDrop") > 0);
        // What it hears from us is good, and it may think so for a while.
        assert!(!us.established(THEIRS[family]));
    }
}

#[test]
fn bird_packets_from_far_away_are_dropped_where_ttl_security_is_asked_for() {
    // BIRD sends to a neighbour on its link with a TTL of 1, unless it is told otherwise.
    for near in [false, true] {
        for (family, passive) in [(0, false), (0, true), (1, false), (1, true)] {
            between(move |namespace| {
                let transport = BgpTransport { ttl_security: Some(1), password_file: None };
                let bird =
                    Bird::with(namespace, family, THEIR_AS, &FOREIGN, if near { "ttl security on;" } else { "" });
                far_is_dropped(&bird, family, passive, near, &transport);
            });
        }
    }
}

/// It has the password `open-sesame`; ours is another one, then that one, then none, with a Cease that it hears in these words
/// of its own, if given. Over each family, whoever connects.
fn a_password(words: Option<&'static str>, neighbor: fn(Namespace, usize) -> Box<dyn Neighbor>) {
    for (family, passive) in [(0, false), (0, true), (1, false), (1, true)] {
        let sent = between(move |namespace| {
            let folder = tempfile::tempdir().expect("a folder");
            let with = |password: &str| {
                let path = folder.path().join(password);
                std::fs::write(&path, password).expect("a file");
                let password_file = Some(path.display().to_string());
                protected(family, passive, &BgpTransport { password_file, ttl_security: None })
            };
            let neighbor = neighbor(namespace, family);
            let us = Us::start(with("open-barley"), false);
            wait_for("signatures that do not fit", LIMIT, || counted("TCPMD5Failure") > 0);
            assert!(!us.established(THEIRS[family]) && !neighbor.established());

            us.peering.configure(with("open-sesame"));
            wait_for("the session", LIMIT, || us.established(THEIRS[family]) && neighbor.established());
            wait_for("its route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[0])));

            us.peering.configure(protected(family, passive, &BgpTransport::default()));
            match words {
                Some(words) => wait_for("our Cease in its words, and the end", LIMIT, || {
                    neighbor.last_error().contains(words) && !us.established(THEIRS[family]) && !neighbor.established()
                }),
                None => wait_for("the end of the session", LIMIT, || !us.established(THEIRS[family])),
            }
            us.stop();
        });
        ceases_are_signed(&sent);
    }
}

#[test]
fn frr_a_password_that_fits_is_a_session_and_another_one_is_none() {
    a_password(Some("Cease/Other Configuration Change"), |namespace, family| {
        Box::new(Frr::with(namespace, family, THEIR_AS, &FOREIGN, &["password open-sesame"]))
    });
}

#[test]
fn gobgp_a_password_that_fits_is_a_session_and_another_one_is_none() {
    a_password(None, |namespace, family| {
        let password = [("peer-as = 65001\n", "peer-as = 65001\nauth-password = \"open-sesame\"\n")];
        Box::new(GoBgp::with(namespace, family, THEIR_AS, &FOREIGN, &password, ""))
    });
}

#[test]
fn openbgpd_a_password_that_fits_is_a_session_and_another_one_is_none() {
    // On Linux it signs the connections that it makes, and takes others without a signature: its session may begin anew.
    a_password(None, |namespace, family| {
        Box::new(OpenBgpd::with(namespace, family, THEIR_AS, &FOREIGN, "tcp md5sig password open-sesame"))
    });
}

#[test]
fn frr_packets_from_far_away_are_dropped_where_ttl_security_is_asked_for() {
    // FRR too sends to a neighbour on its link with a TTL of 1.
    for near in [false, true] {
        for (family, passive) in [(0, false), (0, true), (1, false), (1, true)] {
            between(move |namespace| {
                let transport = BgpTransport { ttl_security: Some(1), password_file: None };
                let more: &[&str] = if near { &["ttl-security hops 1"] } else { &[] };
                let frr = Frr::with(namespace, family, THEIR_AS, &FOREIGN, more);
                far_is_dropped(&frr, family, passive, near, &transport);
            });
        }
    }
}

/// The kernel's keys know no links: of two passwords for fe80::1 one counts for what comes in. The status says whom that keeps
/// out, and a connection of ours reaches it all the same.
#[test]
fn one_link_local_address_with_two_passwords_is_said_and_is_reached_by_our_own_connections() {
    among(|namespaces: [Namespace; 2]| {
        for namespace in &namespaces {
            namespace.run("ip", &["-6", "address", "flush", "dev", "them0", "scope", "link"]);
            namespace.run("ip", &["address", "add", "fe80::1/64", "dev", "them0", "nodad"]);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, password: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, password).expect("a file");
            path.display().to_string()
        };
        let files = [file("sesame", "open sesame"), file("barley", "open barley")];
        let near: Vec<String> = namespaces.iter().map(|namespace| namespace.near.clone()).collect();
        let config = |files: [&String; 2], passive: bool| {
            let links: Vec<LinkPeer> = near
                .iter()
                .zip(files)
                .map(|(near, file)| {
                    let mut link = link_peer(near, Some("fe80::1"), THEIR_AS);
                    link.peer.transport.password_file = Some(file.clone());
                    link.peer.passive = passive;
                    link
                })
                .collect();
            on_links(&links)
        };
        let [first, second] = namespaces;
        let extended = "extended next hop on;";
        let birds = [
            Bird::on_link(first, THEIR_AS, &FOREIGN, "password \"open sesame\";", extended),
            Bird::on_link(second, THEIR_AS, &FOREIGN, "password \"open barley\";", extended),
        ];
        let us = Us::start(config([&files[0], &files[1]], true), false);
        wait_for("the session of the one whose password it is", LIMIT, || birds[1].established());
        wait_for("signatures that do not fit", LIMIT, || counted("TCPMD5Failure") > 0);
        assert!(!birds[0].established());
        let overruled = us.status().overruled;
        assert_eq!(overruled.len(), 1, "{overruled:?}");
        let [own, other] = [0, 1].map(|index| interface(&near[index]));
        assert_eq!((unscoped(overruled[0].neighbor).1, unscoped(overruled[0].by.0).1), (Some(own), Some(other)));

        us.peering.configure(config([&files[0], &files[1]], false));
        wait_for("both sessions", LIMIT, || birds.iter().all(|bird| bird.established()));

        // With the same password there is nothing to say.
        birds[1].reconfigure("open barley", "open sesame");
        us.peering.configure(config([&files[0], &files[0]], true));
        wait_for("nothing to say", LIMIT, || us.status().overruled.is_empty());
        wait_for("both sessions", LIMIT, || birds.iter().all(|bird| bird.established()));
    });
}

fn interface(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("an interface")
}

/// Why there is no key for each link: the kernel takes one for an interface only where that is a VRF's (tcp(7),
/// `TCP_MD5SIG_FLAG_IFINDEX`). Where this fails, it can be mended.
#[test]
fn the_kernel_has_no_password_for_an_address_on_a_link() {
    between(|namespace| {
        const MD5SIG_EXT: i32 = 32;
        const FLAG_IFINDEX: u8 = 2;
        let socket = std::net::TcpListener::bind("[::]:0").expect("a port");
        let mut bytes = [0u8; 216];
        bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        let far: std::net::Ipv6Addr = "fe80::1".parse().expect("an address");
        bytes[8..24].copy_from_slice(&far.octets());
        bytes[130..132].copy_from_slice(&4u16.to_ne_bytes());
        bytes[136..140].copy_from_slice(b"open");
        let mut sign = |flags: u8, index: u32| {
            bytes[128] = flags;
            bytes[132..136].copy_from_slice(&index.to_ne_bytes());
            setsockopt(&socket, MD5SIG_EXT, &bytes).map_err(|error| error.raw_os_error())
        };
        assert_eq!(sign(0, 0), Ok(()), "the positive: it takes a key for all links");
        assert_eq!(sign(FLAG_IFINDEX, interface(&namespace.near)), Err(Some(libc::EINVAL)));
    });
}

fn setsockopt(socket: &std::net::TcpListener, option: i32, value: &[u8]) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the kernel reads `value.len()` bytes from `value`, which lives as long as the call.
    let code = unsafe {
        let length = value.len() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value.as_ptr().cast(), length)
    };
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
