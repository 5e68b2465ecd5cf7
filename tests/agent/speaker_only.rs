//! `dataPlane: off`: two speakers that are nobody and touch no kernel pass routes between each other.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fixture::{Agent, Site, established};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

/// A speaker at 192.0.2.`number` that announces `originate` and takes what lies in 10.0.0.0/8.
fn config(site: &Site, number: usize, originate: &str) -> String {
    let other = 3 - number;
    let at = site.directory.path().display();
    format!(
        "node: s{number}\ndataPlane: off\n\
         store: {{type: none, pools: [{{name: ten, cidr: 10.0.0.0/8}}, {{name: fd, cidr: 'fd00::/16'}}]}}\n\
         bgp:\n  as: 6451{number}\n  routerId: 192.0.2.{number}\n  listen: ['192.0.2.{number}:1179']\n  connectRetry: 1\n\
         \x20 peers: [{{name: other, address: 192.0.2.{other}, port: 1179, as: 6451{other}, import: pools}}]\n\
         \x20 originate: [{originate}]\n\
         paths: {{state: {at}/h{number}, socket: {at}/h{number}.sock}}\n"
    )
}

#[test]
fn speakers_without_root_exchange_routes_and_leave_the_kernel_alone() {
    in_fresh_netns(|| {
        let site = Site::new();
        std::fs::set_permissions(site.directory.path(), PermissionsExt::from_mode(0o777)).expect("our directory");
        let hosts = segment(2);
        let kernel = || {
            ["route show table all", "-6 route show table all", "-o link", "rule"]
                .map(|words| hosts[1].run("ip", &words.split(' ').collect::<Vec<_>>()))
        };
        let before = kernel();
        let originate = "10.1.0.0/16, 203.0.113.0/24, 'fd00:1::/32'";
        let one = Agent::start_unprivileged(&site, &hosts[0], 1, &config(&site, 1, originate));
        let mut two = Agent::start_unprivileged(&site, &hosts[1], 2, &config(&site, 2, "10.2.0.0/16"));
        wait_for("a session", Duration::from_secs(20), || established(&one) && established(&two));

        let has = |agent: &Agent, prefix: &str| {
            let routes = agent.routectl(&["bgp", "routes", "-o", "json"]).json();
            routes.as_array().into_iter().flatten().any(|route| route["prefix"] == prefix && route["best"] == true)
        };
        wait_for("the route into the pool", Duration::from_secs(10), || has(&two, "10.1.0.0/16"));
        wait_for("the route back", Duration::from_secs(10), || has(&one, "10.2.0.0/16"));
        assert!(!has(&two, "203.0.113.0/24"), "it lies in no pool");
        for agent in [&one, &two] {
            let status = agent.routectl(&["status"]);
            assert_eq!(status.exit, 0, "{}{}", status.stdout, status.stderr);
            assert!(status.stdout.contains("not touched (dataPlane: off)"), "{}", status.stdout);
        }
        assert_eq!(before, kernel(), "no route, link or rule");
        read_a_dump(&two);
        ask_about_one(&two);
        let refused = one.routectl(&["get", "ippool"]);
        assert!(refused.exit != 0 && refused.stderr.contains("speaker alone"), "{refused:?}");

        two.kill();
        wait_for("the loss to be a problem", Duration::from_secs(30), || {
            let status = one.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains("no session with other (192.0.2.2)")
        });
    });
}

#[test]
fn on_sighup_a_speaker_takes_over_what_its_file_says_and_a_wrong_file_changes_nothing() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let first = config(&site, 1, "10.1.0.0/16, 10.3.0.0/16");
        let one = Agent::start_with(&site, &hosts[0], 1, &first);
        let two = Agent::start_with(&site, &hosts[1], 2, &config(&site, 2, "10.2.0.0/16"));
        let read_again = |agent: &Agent, number: usize, text: &str| {
            site.write(&format!("h{number}.yaml"), text);
            agent.signal(Signal::SIGHUP);
        };
        let neighbor = |agent: &Agent| agent.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0].clone();
        let prefixes = |agent: &Agent| -> Vec<String> {
            let routes = agent.routectl(&["bgp", "routes", "-o", "json"]).json();
            let best = routes.as_array().into_iter().flatten().filter(|route| route["best"] == true);
            best.filter_map(|route| route["prefix"].as_str().map(str::to_string)).collect()
        };
        let have = |what: &str, wanted: &[&str]| {
            wait_for(what, Duration::from_secs(20), || prefixes(&two) == wanted);
        };
        have("what one announces", &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);

        let filter =
            "filters: [{name: no-four, exportV4: [{action: Reject, matchOperator: Equal, cidr: 10.4.0.0/16}]}]";
        let second = config(&site, 1, "10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16")
            .replace("import: pools}", "import: pools, filters: [no-four]}")
            .replace("  peers:", &format!("  {filter}\n  peers:"));
        read_again(&one, 1, &second);
        have("what it announces now, but for what the filter rejects", &["10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16"]);

        let wrong = second.replace("connectRetry: 1", "connectRetry: soon");
        read_again(&one, 1, &wrong);
        wait_for("the problem", Duration::from_secs(20), || {
            let status = one.routectl(&["status"]);
            let named = ["h1.yaml", "bgp.connectRetry", "send routenetd SIGHUP again"];
            status.exit == 1 && named.iter().all(|words| status.stdout.contains(words))
        });
        assert_eq!(prefixes(&two), ["10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16"]);
        read_again(&one, 1, &first);
        wait_for("a status without problems", Duration::from_secs(20), || one.routectl(&["status"]).exit == 0);
        have("what one announced at first", &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
        assert_eq!(neighbor(&two)["sessions"], 1, "nothing of it needed another session: {}", neighbor(&two));

        // What was said in the OPEN needs one.
        read_again(&two, 2, &config(&site, 2, "10.2.0.0/16").replace("as: 64511,", "as: 64521,"));
        read_again(&one, 1, &first.replace("  as: 64511\n", "  as: 64521\n"));
        wait_for("a session of the new AS", Duration::from_secs(30), || {
            let at = neighbor(&two);
            at["state"] == "Established" && at["as_number"] == 64521
        });
        let own = one.routectl(&["status", "-o", "json"]).json()["node"]["as_number"].clone();
        assert_eq!(own, 64521);
    });
}

/// `bgp dump`, by the eyes of bgpdump: the routes of both sources, refused ones too.
fn read_a_dump(two: &Agent) {
    let said = two.routectl(&["bgp", "dump"]).stdout;
    let file = said.split_once(": ").expect("FILE: N bytes").0;
    let read = std::process::Command::new("bgpdump").args(["-m", "-v", file]).output().expect("bgpdump");
    let text = String::from_utf8_lossy(&read.stdout);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split_once("|B|")).map(|(_, rest)| rest).collect();
    // Source, its AS, prefix, AS path, ORIGIN, next hop.
    assert_eq!(lines.len(), 4, "{text}{}", String::from_utf8_lossy(&read.stderr));
    for begins in [
        "192.0.2.1|64511|10.1.0.0/16|64511|IGP|192.0.2.1|",
        "192.0.2.2|64512|10.2.0.0/16||IGP|",
        "192.0.2.1|64511|203.0.113.0/24|64511|IGP|192.0.2.1|",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(begins)), "{begins}\n{text}");
    }
}

/// `bgp neighbor`, `bgp route` and `bgp reset`, of what is there and of what is not.
fn ask_about_one(two: &Agent) {
    let asked = |words: &[&str]| two.routectl(&[&["bgp"], words].concat());
    let neighbor = asked(&["neighbor", "192.0.2.1"]);
    assert!(neighbor.stdout.starts_with("other (192.0.2.1, AS 64511)\n"), "{neighbor:?}");
    assert!(neighbor.stdout.contains("routes in     2 accepted of 3\n"), "{neighbor:?}");
    assert!(neighbor.stdout.contains("1 OPEN, "), "{neighbor:?}");
    let nobody = asked(&["neighbor", "192.0.2.9"]);
    assert!(nobody.exit == 1 && nobody.stderr.contains("192.0.2.9: no neighbour has this name"), "{nobody:?}");

    let route = asked(&["route", "10.1.2.3"]);
    assert!(route.stdout.starts_with("10.1.0.0/16 best\n  from          other, eBGP\n"), "{route:?}");
    let refused = asked(&["route", "203.0.113.0/24"]);
    assert!(refused.stdout.starts_with("203.0.113.0/24 refused: it lies in no pool\n"), "{refused:?}");
    let none = asked(&["route", "172.16.0.0/12"]);
    assert!(none.exit == 1 && none.stderr.contains("172.16.0.0/12: no route covers it"), "{none:?}");

    let reset = asked(&["reset", "other"]);
    assert_eq!((reset.exit, reset.stdout.as_str()), (0, "reset: other\n"));
    wait_for("the session after the reset", Duration::from_secs(20), || {
        let said = asked(&["neighbor", "other"]).stdout;
        said.contains("Administrative Reset") && said.contains("sessions      2\n") && said.contains("Established for")
    });
}
