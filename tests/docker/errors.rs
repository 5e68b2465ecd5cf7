//! What cannot be is refused in words that a person understands, through Docker and on the socket itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::dockerd::IMAGE;
use crate::networks::{create, hosts};

/// What the driver answers to a POST: the whole of it.
pub fn post(socket: &std::path::Path, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("the driver");
    // As Docker 20.10 writes it, with an empty Host.
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: \r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn docker_shows_what_is_wrong_and_what_mends_it() {
    hosts(1, |site, hosts| {
        let host = &hosts[0];
        create(host, "blue", "10.9.0.0/16");
        let network = ["network", "create", "-d", "routenet", "--ipam-driver", "routenet"];
        let cases: [(&[&str], &str); 8] = [
            (&["--subnet", "10.9.128.0/17", "x"], "10.9.128.0/17 overlaps 10.9.0.0/16"),
            (&["--subnet", "10.9.0.0/16", "x"], "belongs to the Docker network"),
            (&["--subnet", "192.0.2.0/24", "x"], "contains 192.0.2.1, an address of a host"),
            (&["--subnet", "10.12.0.0/16", "--gateway", "10.12.0.1", "x"], "--gateway 10.12.0.1 cannot be used"),
            (&["--subnet", "10.12.0.0/16", "--ip-range", "10.12.1.0/24", "x"], "--ip-range cannot be used"),
            (&["--subnet", "10.12.0.0/16", "-o", "mtu=9", "x"], "unknown option -o mtu"),
            (&["--subnet", "10.12.0.0/16", "-o", "routenet.isolation=none", "x"], "expected `network` or `open`"),
            (&["--ipam-opt", "routenet.network=nowhere", "x"], "there is no network `nowhere`"),
        ];
        for (more, expected) in cases {
            let said = host.docker.refuses(&[network.as_slice(), more].concat());
            assert!(said.contains(expected), "{more:?}: {said}");
        }
        let said = host.docker.refuses(&["network", "create", "-d", "routenet", "--subnet", "10.13.0.0/16", "x"]);
        assert!(said.contains("--ipam-driver routenet"), "{said}");
        let pools = host.agent.routectl(&["get", "ippool", "-o", "json"]).stdout;
        assert!(!pools.contains("10.12.") && !pools.contains("10.13."), "what was refused left nothing: {pools}");

        create(host, "tiny", "10.14.0.0/30");
        for name in ["c1", "c2", "c3", "c4"] {
            host.docker.run(name, "tiny", &[]);
        }
        let full = host.docker.refuses(&["run", "--rm", "--network", "tiny", IMAGE, "/bin/sleep", "1"]);
        assert!(full.contains("docker-10.14.0.0-30") && full.contains("claimed"), "{full}");

        host.docker.docker(&["network", "create", "-d", "routenet", "--ipam-driver", "routenet", "anywhere"]);
        host.docker.docker(&["network", "create", "-d", "routenet", "--ipam-driver", "routenet", "elsewhere"]);
        let pools = host.agent.routectl(&["get", "ippool", "-o", "json"]).stdout;
        assert!(pools.contains("10.208.0.0/20") && pools.contains("10.208.16.0/20"), "{pools}");

        let driver = site.path("plugins-h1/routenet.sock");
        let answers = [
            ("/IpamDriver.RequestPool", "{\"Pool\": ", 400, "cannot be read"),
            ("/NetworkDriver.Join", "", 400, "no body"),
            ("/NetworkDriver.Dance", "{}", 404, "routenet has no method NetworkDriver.Dance"),
            (
                "/NetworkDriver.Join",
                "{\"NetworkID\": \"n\", \"EndpointID\": \"e\", \"SandboxKey\": \"/x\"}",
                404,
                "routenet knows no endpoint e",
            ),
        ];
        for (path, body, status, expected) in answers {
            let answer = post(&driver, path, body);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(expected),
                "{path}: {answer}"
            );
        }
        assert!(post(&driver, "/Plugin.Activate", "").contains("NetworkDriver"), "and goes on");
    });
}
