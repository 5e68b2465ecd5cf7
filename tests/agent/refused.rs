//! A rule that the kernel does not take: the policy and the rule are named, who depends on it is closed, everybody else goes
//! on, and it goes in by itself as soon as the kernel takes it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Site, attach};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

const SOON: Duration = Duration::from_secs(15);
/// Stands in a rule that is refused as long as there is a file.
const POISON: &str = "4242";

/// Programs that are the machine's iptables-restore, and refuse lines with [`POISON`] while the file `refuse` is there, as
/// the kernel does through each back end: nft names the line, legacy the COMMIT of its table. When they did, in
/// milliseconds, is written to the file `refusals`.
fn refusing_restore(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (tool, end) in ["iptables", "ip6tables"].iter().flat_map(|tool| ["nft", "legacy"].map(|end| (tool, end))) {
        let tool = format!("{tool}-{end}-restore");
        let real =
            ["/usr/sbin", "/sbin"].map(|at| format!("{at}/{tool}")).into_iter().find(|at| Path::new(at).exists());
        let (real, at) = (real.expect("iptables (make deps)"), folder.display());
        let script = format!(
            "#!/bin/bash\n[ \"$1\" != --version ] || exec {real} --version\nnumber=0 bad=\n\
             while IFS= read -r line; do\n number=$((number + 1))\n\
             if [ -e {at}/refuse ] && [[ $line == *{POISON}* ]]; then bad=1; fi\n\
             if [ -n \"$bad\" ] && {{ [ {end} = nft ] || [ \"$line\" = COMMIT ]; }}; then\n\
             date +%s%3N >>{at}/refusals\n\
             echo \"{tool}: line $number failed: No child processes.\" >&2\n exit 4\n fi\n\
             printf '%s\\n' \"$line\"\ndone | exec {real} \"$@\" 2> >(grep -v COMMIT >&2)\n"
        );
        let path = folder.join(&tool);
        std::fs::write(&path, script).expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("its mode");
    }
}

fn policy(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{selector: app == '{name}', types: [Ingress], ingress: [{rules}]}}\n"
    )
}

#[test]
fn a_refused_rule_is_named_closes_who_depends_on_it_and_is_tried_again() {
    for backend in ["nft", "legacy"] {
        in_fresh_netns(move || refused(backend));
    }
}

fn refused(backend: &str) {
    const PINGS: &str = "{action: Allow, protocol: ICMP}";
    let poison = format!("{{action: Allow, protocol: TCP, destination: {{ports: [{POISON}]}}}}");
    let site = Site::new();
    let hosts = segment(1);
    let programs = site.path("programs");
    refusing_restore(&programs);
    let more = format!("iptables: {{backend: {backend}}}");
    let agent = Agent::start_among(&site, &hosts[0], 1, &more, &programs);
    agent.apply(CLUSTER);
    let [client, web, db] = ["client", "web", "db"].map(|name| attach(&agent, name, "blue", json!({"app": name})));
    agent.apply(&policy("web", PINGS));
    agent.apply(&policy("db", PINGS));
    for to in [&web, &db] {
        client.reaches(&to.ipv4);
    }

    // Before what lets pings in: what stands behind the refused rule is not reached.
    std::fs::write(programs.join("refuse"), "").expect("a file");
    agent.apply(&policy("web", &format!("{poison}, {PINGS}")));
    let failure = || agent.plane("iptables")["failure"]["what"].as_str().unwrap_or_default().to_string();
    wait_for("the refusal in the status", SOON, || failure().contains("NetworkPolicy default/web"));
    let said = failure();
    assert!(said.contains("ingress rule 1") && said.contains(POISON) && said.contains("refuses"), "{said}");
    let problems = agent.problems();
    let told = problems.iter().find(|problem| problem["part"] == "iptables").expect("a problem");
    assert!(told["mend"].as_str().is_some_and(|mend| mend.contains("retried")), "{told}");
    assert!(!client.pings(&web.ipv4), "who depends on it is closed");
    assert!(client.pings(&db.ipv4) && web.pings(&db.ipv4), "nobody else is");
    assert!(web.pings(&client.ipv4), "nor is the other direction");

    // Attempts come at growing distances: each may ask more than once, a few milliseconds apart.
    let attempts = || {
        let text = std::fs::read_to_string(programs.join("refusals")).unwrap_or_default();
        let mut all: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        all.dedup_by(|later, earlier| *later - *earlier < 700);
        all
    };
    wait_for("three more attempts", Duration::from_secs(60), || attempts().len() >= 4);
    let pauses: Vec<u64> = attempts().windows(2).map(|pair| pair[1] - pair[0]).take(3).collect();
    println!("{backend}: pauses between attempts: {pauses:?} ms");
    let at_least = [900, 1900, 3900];
    assert!(pauses.iter().zip(at_least).all(|(pause, least)| *pause >= least), "{pauses:?}");

    // Others' changes go through beside it, also in its own process and table.
    agent.apply(&policy("db", &format!("{{action: Deny, source: {{selector: app == 'web'}}}}, {PINGS}")));
    wait_for("another policy's change", SOON, || !web.pings(&db.ipv4));
    assert!(client.pings(&db.ipv4));
    // What stands before the refused rule stays in force.
    agent.apply(&policy("web", &format!("{PINGS}, {poison}")));
    client.reaches(&web.ipv4);
    wait_for("the place of the rule in the status", SOON, || failure().contains("ingress rule 2"));

    std::fs::remove_file(programs.join("refuse")).expect("a file");
    wait_for("the kernel to have it", Duration::from_secs(60), || failure().is_empty());
    let saved = hosts[0].run(&format!("iptables-{backend}-save"), &[]);
    assert!(saved.contains(POISON), "{saved}");
    client.reaches(&web.ipv4);
    assert_eq!(agent.plane("iptables")["in_sync"], true);
}
