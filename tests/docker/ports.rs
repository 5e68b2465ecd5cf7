//! Published ports: from outside, from the host by all its addresses, and not what was not published.

use std::time::Duration;

use crate::dockerd::IMAGE;
use crate::networks::{create, hosts};
use crate::support::hosts::Namespace;
use crate::support::wait_for;

/// Whether the HTTP server there answers.
pub fn fetched(from: &Namespace, at: &str) -> bool {
    let get = format!("printf 'GET /sh HTTP/1.0\\r\\n\\r\\n' | socat -T 1 - TCP:{at},connect-timeout=1");
    let output = from.command("sh").args(["-c", &get]).output().expect("socat");
    String::from_utf8_lossy(&output.stdout).contains(" 200 OK")
}

/// Whether an echo comes back over UDP.
fn echoed(from: &Namespace, to: &str) -> bool {
    let family = if to.starts_with('[') { "UDP6" } else { "UDP4" };
    let ask = format!("echo hello | socat -T 1 - {family}:{to}");
    let output = from.command("sh").args(["-c", &ask]).output().expect("socat");
    output.stdout == b"hello\n"
}

/// How a client that cannot connect is told.
fn complaint(from: &Namespace, at: &str) -> String {
    let output = from.command("socat").args(["-u", &format!("TCP:{at},connect-timeout=3"), "-"]).output();
    String::from_utf8_lossy(&output.expect("socat").stderr).into_owned()
}

#[test]
fn published_ports_answer_outside_on_the_host_and_on_its_loopback() {
    hosts(2, |_, hosts| {
        let (one, two) = (&hosts[0], &hosts[1]);
        let subnets = ["--subnet", "10.9.0.0/16", "--ipv6", "--subnet", "fd09::/64"];
        let fixed = ["network", "create", "-d", "routenet", "--ipam-driver", "routenet"];
        one.docker.docker(&[fixed.as_slice(), &subnets, &["blue"]].concat());
        let run = [
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "blue",
            "-p",
            "8080:80",
            "-p",
            "192.0.2.1:8081:81",
            "-p",
            "9000:9000/udp",
        ];
        let serve = "/bin/httpd -p 80 -h /bin; /bin/httpd -p 81 -h /bin; /bin/httpd -p 82 -h /bin; /bin/sleep 3600";
        one.docker.docker(&[run.as_slice(), &[IMAGE, "/bin/sh", "-c", serve]].concat());
        let web = one.docker.container("web");
        let _echo4 = one.docker.beside("web", "socat", &["UDP4-RECVFROM:9000,fork", "EXEC:cat"]);
        let _echo6 = one.docker.beside("web", "socat", &["UDP6-RECVFROM:9000,ipv6only=1,fork", "EXEC:cat"]);
        one.namespace.run("ip", &["addr", "add", "192.0.2.101/24", "dev", "eth0"]);
        let other = one.docker.run("other", "blue", &[]);
        let outside = &two.namespace;
        wait_for("an answer outside", Duration::from_secs(15), || fetched(outside, "192.0.2.1:8080"));
        assert!(fetched(outside, "[2001:db8::1]:8080"), "IPv6");
        assert!(fetched(outside, "192.0.2.1:8081"), "bound to one address");
        assert!(fetched(outside, "192.0.2.101:8080"), "another address of the host");
        for at in ["127.0.0.1:8080", "192.0.2.1:8080", "192.0.2.101:8080", "192.0.2.1:8081", "[2001:db8::1]:8080"] {
            assert!(fetched(&one.namespace, at), "from the host: {at}");
        }
        let refused = complaint(&one.namespace, "[::1]:8080");
        assert!(refused.contains("Connection refused"), "{refused}");
        assert!(!fetched(&one.namespace, "127.0.0.1:8081"), "published at another address");
        wait_for("an echo", Duration::from_secs(10), || echoed(outside, "192.0.2.1:9000"));
        wait_for("an echo outside by IPv6", Duration::from_secs(10), || echoed(outside, "[2001:db8::1]:9000"));
        assert!(echoed(outside, "192.0.2.101:9000"), "UDP to another address of the host");
        for at in ["127.0.0.1:9000", "192.0.2.1:9000", "192.0.2.101:9000", "[2001:db8::1]:9000"] {
            wait_for(&format!("an echo on the host, {at}"), Duration::from_secs(10), || echoed(&one.namespace, at));
        }
        let get = "printf 'GET /sh HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 2 192.0.2.1 8080 | /bin/head -c 20";
        assert!(web.says(&["/bin/sh", "-c", get]).contains("200"), "it reaches itself");
        assert!(other.says(&["/bin/sh", "-c", get]).contains("200"), "another container of this host reaches it");

        let direct = web.address("blue");
        outside.run("ip", &["route", "replace", &direct, "via", "192.0.2.1"]);
        assert!(fetched(outside, &format!("{direct}:80")), "what is published is open at its own address too");
        assert!(!fetched(outside, &format!("{direct}:82")), "what is not published is closed");
        assert!(!fetched(outside, "192.0.2.1:82"));

        let taken =
            one.docker.refuses(&["run", "--rm", "--network", "blue", "-p", "8080:80", IMAGE, "/bin/sleep", "1"]);
        assert!(taken.contains("port 8080/tcp is published by another container"), "{taken}");
        let told = one.agent.routectl(&["endpoints", "-o", "wide"]).stdout;
        assert!(told.contains("8080->80/tcp") && told.contains("9000->9000/udp"), "{told}");

        one.docker.docker(&["rm", "-f", "web"]);
        assert!(!fetched(outside, "192.0.2.1:8080"));
        let rules = one.namespace.run("iptables-save", &["-t", "nat"]);
        assert!(!rules.contains("8080"), "{rules}");
        create(one, "again", "10.11.0.0/16");
    });
}
