//! Established connections that a changed policy denies: told where they live on, ended where that is asked for, on every
//! node, also on one whose agent was away; and no others.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, Workload, attach, two_hosts};
use crate::support::wait_for;

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: default}
spec:
  selector: app == 'db'
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [7002]}}]
";

/// A connection that stands, with both of its ends.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(from: &Workload, to: &Workload, port: u16) -> Connection {
        let address: SocketAddr = format!("{}:{port}", to.ipv4).parse().expect("an address");
        let listener = to.within(move || TcpListener::bind(address).expect("its own port")).join().expect("a listener");
        let mut client = None;
        wait_for("a connection", Duration::from_secs(20), || {
            let limit = Duration::from_secs(1);
            client = from.within(move || TcpStream::connect_timeout(&address, limit).ok()).join().expect("no panic");
            client.is_some()
        });
        let client = client.expect("it was waited for");
        let (server, _) = listener.accept().expect("a client");
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        }
        Connection { client, server }
    }

    /// Whether a byte goes over to the server and one comes back, each in half a second.
    fn stands(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut over = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"x").is_ok() && to.read(&mut byte).is_ok_and(|read| read == 1)
        };
        over(&mut self.client, &mut self.server) && over(&mut self.server, &mut self.client)
    }

    /// Whether both ends know that it is over.
    fn is_over(&mut self) -> bool {
        is_over(&mut self.client) && is_over(&mut self.server)
    }
}

fn is_over(end: &mut TcpStream) -> bool {
    let waits = |error: &Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    end.read(&mut [0; 64]).map_or_else(|error| !waits(&error), |read| read == 0)
}

#[test]
fn connections_that_a_policy_denies_are_told_and_ended_where_that_is_asked_for() {
    two_hosts(|hosts, one, mut two| {
        let web = attach(&one, "web", "blue", json!({"app": "web"}));
        let db = attach(&two, "db", "blue", json!({"app": "db"}));
        let mut denied = Connection::open(&web, &db, 7001);
        let mut allowed = Connection::open(&web, &db, 7002);
        assert!(denied.stands() && allowed.stands());

        let said = two.apply_with(&[], POLICY);
        assert_eq!(said.exit, 0, "{said:?}");
        assert!(
            said.stdout.contains("1 established connection on h2 that policy denies by now will go on;"),
            "{said:?}"
        );
        wait_for("the policy", Duration::from_secs(5), || !web.pings(&db.ipv4));
        assert!(denied.stands() && allowed.stands(), "what was let through goes on");

        let said = one.apply_with(&["--cut"], POLICY);
        assert_eq!(said.exit, 0, "{said:?}");
        assert!(said.stdout.contains("db unchanged\n"), "{said:?}");
        assert!(
            said.stdout.contains("1 established connection that policy denies ended on h1; every other"),
            "{said:?}"
        );
        wait_for("both ends to be ended", Duration::from_secs(10), || denied.is_over());
        assert!(allowed.stands(), "no other one is ended");

        // An agent that is away does it when it is back.
        let said = two.routectl(&["delete", "np", "db"]);
        assert!(said.exit == 0 && !said.stdout.contains("connection"), "{said:?}");
        let mut denied = Connection::open(&web, &db, 7003);
        two.kill();
        let said = one.apply_with(&["--cut"], POLICY);
        assert!(said.stdout.contains("1 established connection that policy denies ended on h1"), "{said:?}");
        wait_for("the end at h1", Duration::from_secs(10), || is_over(&mut denied.client));
        let cuts = |agent: &Agent| agent.log_text().matches("ended the connections that policy denies").count();
        let before = cuts(&two);
        two.launch(&hosts[1]);
        wait_for("h2 to hear of it", Duration::from_secs(30), || cuts(&two) > before);
        assert!(denied.is_over());
        assert!(allowed.stands());
    });
}
