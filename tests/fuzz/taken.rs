//! Rules from arbitrary objects, given to `iptables-restore --test` of both back ends and families.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use routenet::plane::iptables::Backend;
use routenet_core::desired::{ChainKey, SetKind, Table};
use routenet_core::model::Family;

use crate::bodies::restore::engine;
use crate::support::dice::Dice;
use crate::support::in_fresh_netns;

/// How many clusters; `COUNT=N` tries more.
const CLUSTERS: usize = 40;

/// What the command says of a text that it does not take.
fn complaint(program: &str, arguments: &[&str], text: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error} (is it installed? make deps)"));
    // It may have ended at a line that it does not take.
    let _ = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(|| if said.is_empty() { "it failed".to_string() } else { said })
}

/// As the plane writes it: all chains, then their rules with their identities.
fn text_of(family: Family, chains: &BTreeMap<ChainKey, Vec<routenet_core::desired::ChainRule>>) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let mine = || chains.iter().filter(|(key, _)| key.family == family && key.table == table);
        text.push_str(&format!("*{}\n", table.name()));
        mine().for_each(|(key, _)| text.push_str(&format!(":{} - [0:0]\n", key.name)));
        for (key, rules) in mine() {
            for rule in rules {
                let comment = "-m comment --comment \"rn:0123456789abcdef\"";
                text.push_str(&format!("-A {} {} {comment}\n", key.name, rule.text));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

#[test]
fn both_back_ends_take_the_rules_of_arbitrary_objects() {
    in_fresh_netns(|| {
        let mut dice = Dice(4);
        let (mut texts, mut sets, mut rules) = (Vec::new(), BTreeSet::new(), 0);
        let clusters = std::env::var("COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(CLUSTERS);
        for _ in 0..clusters {
            let data: Vec<u8> = (0..100 + dice.below(600)).map(|_| dice.below(256) as u8).collect();
            let (engine, _) = engine(&data);
            for (name, set) in engine.sets() {
                let kind = match set.kind {
                    SetKind::HashNet => "hash:net",
                    SetKind::HashNetIface => "hash:net,iface",
                    SetKind::HashIpPort => "hash:ip,port",
                };
                let family = if set.family == Family::V4 { "inet" } else { "inet6" };
                sets.insert(format!("create {name} {kind} family {family}\n"));
            }
            rules += engine.chains().values().map(Vec::len).sum::<usize>();
            texts.push(Family::BOTH.map(|family| (family, text_of(family, engine.chains()))));
        }
        let all: String = sets.into_iter().collect();
        assert_eq!(complaint("ipset", &["restore"], &all), None);
        for (index, (family, text)) in texts.iter().flatten().enumerate() {
            for backend in [Backend::Nft, Backend::Legacy] {
                let program = format!("{}-restore", backend.command(*family));
                let said = complaint(&program, &["--noflush", "--test"], text);
                assert_eq!(said, None, "{program}, text {}:\n{text}", index / 2);
            }
        }
        let foreign = complaint("iptables-nft-restore", &["--test"], "*filter\n-A INPUT -s nonsense\nCOMMIT\n");
        assert!(foreign.is_some(), "a text that is none is refused");
        println!("{} texts of {rules} rules together, each by both back ends", 2 * clusters);
        assert!(rules > clusters * 100);
    });
}
