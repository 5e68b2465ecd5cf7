//! The rules plane on both back ends: sets, chains and hooks, with `iptables-save` and `ipset` as the judges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routenet::plane::PlaneError;
use routenet::plane::iptables::Backend;
use routenet::plane::rules::{RuleCounters, RulesConfig, RulesPlane};
use routenet_core::desired::{
    ChainKey, ChainRule, Hook, Member, RuleOrigin, RulesDelta, SetKind, SetName, SetOp, SetSpec, Table,
};
use routenet_core::model::{Family, Kind, ObjectKey};

use crate::support::dice::Dice;
use crate::support::{Process, in_fresh_netns, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

/// One test, on nft and on legacy, each in a namespace of its own.
fn on_both(test: fn(Backend)) {
    for backend in [Backend::Nft, Backend::Legacy] {
        in_fresh_netns(move || test(backend));
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn spawn(backend: Backend) -> RulesPlane {
    RulesPlane::spawn(RulesConfig { full_read_interval: Duration::from_millis(200), ..RulesConfig::new(backend) })
        .expect("the plane starts")
}

fn filter(name: &str) -> ChainKey {
    ChainKey { family: Family::V4, table: Table::Filter, name: name.into() }
}

fn rules(texts: &[&str]) -> Vec<ChainRule> {
    texts.iter().map(|text| ChainRule { text: (*text).into(), origin: None }).collect()
}

fn hook(builtin: &'static str, chain: &str) -> Hook {
    Hook { family: Family::V4, table: Table::Filter, builtin, chain: chain.into() }
}

type Whole = (BTreeMap<SetName, SetSpec>, BTreeMap<ChainKey, Vec<ChainRule>>, BTreeSet<Hook>);

/// A set, two chains in filter, one in raw for IPv6, and hooks.
fn whole() -> Whole {
    let members = ["127.0.0.1/32", "127.0.0.3/32"].map(|cidr| Member::Net(cidr.parse().expect("a CIDR")));
    let sets =
        [("rn4-ok".to_string(), SetSpec { family: Family::V4, kind: SetKind::HashNet, members: members.into() })];
    let chains = [
        (filter("rn-OUTPUT"), rules(&["-p icmp -j rn-icmp", "-p tcp --dport 9 -j DROP"])),
        (filter("rn-icmp"), rules(&["-m set --match-set rn4-ok dst -j ACCEPT", "-j DROP"])),
        (
            ChainKey { family: Family::V6, table: Table::Raw, name: "rn-PREROUTING".into() },
            rules(&["-i rnw+ -s ff00::/8 -j DROP"]),
        ),
    ];
    let raw = Hook { family: Family::V6, table: Table::Raw, builtin: "PREROUTING", chain: "rn-PREROUTING".into() };
    (sets.into(), chains.into(), [hook("OUTPUT", "rn-OUTPUT"), raw].into())
}

fn start(plane: &RulesPlane, (sets, chains, hooks): Whole) -> Result<(), PlaneError> {
    wait(plane.start(sets, chains, hooks))
}

fn change(chain: ChainKey, content: Option<Vec<ChainRule>>) -> RulesDelta {
    RulesDelta { chains: [(chain, content)].into(), ..RulesDelta::default() }
}

fn command(backend: Backend, family: Family, part: &str) -> String {
    let digit = if family == Family::V6 { "6" } else { "" };
    format!("ip{digit}tables-{}{part}", backend.name())
}

/// A chain's rules in the kernel, without our comments.
fn listed(backend: Backend, family: Family, table: &str, chain: &str) -> Vec<String> {
    let text = run(&command(backend, family, ""), &["-w", "-t", table, "-S", chain]);
    let rules = text.lines().filter_map(|line| line.strip_prefix(&format!("-A {chain} ")));
    rules.map(without_comment).collect()
}

fn without_comment(rule: &str) -> String {
    match rule.split_once("-m comment --comment \"rn:") {
        Some((before, after)) => format!("{before}{}", &after[18.min(after.len())..]),
        None => rule.to_string(),
    }
}

fn iptables(backend: Backend, args: &[&str]) {
    run(&command(backend, Family::V4, ""), &[&["-w"], args].concat());
}

fn save(backend: Backend) -> String {
    Family::BOTH.map(|family| run(&command(backend, family, "-save"), &["-c"])).concat()
}

fn ping(address: &str) -> bool {
    let status = std::process::Command::new("ping").args(["-c1", "-W0.3", address]).output().expect("ping").status;
    status.success()
}

fn set_entries(name: &str) -> usize {
    run("ipset", &["save", name]).lines().filter(|line| line.starts_with("add ")).count()
}

#[test]
fn what_is_wanted_stands_and_strangers_rules_stay() {
    on_both(|backend| {
        iptables(backend, &["-N", "DOCKER"]);
        iptables(backend, &["-A", "OUTPUT", "-j", "DOCKER"]);
        iptables(backend, &["-A", "DOCKER", "-d", "127.0.0.9", "-j", "DROP"]);
        run("ipset", &["create", "theirs", "hash:net"]);
        let plane = spawn(backend);
        assert_eq!(start(&plane, whole()), Ok(()));
        assert_eq!(listed(backend, Family::V4, "filter", "OUTPUT"), ["-j rn-OUTPUT", "-j DOCKER"]);
        let tcp = "-p tcp -m tcp --dport 9 -j DROP";
        assert_eq!(listed(backend, Family::V4, "filter", "rn-OUTPUT"), ["-p icmp -j rn-icmp", tcp]);
        let set = "-m set --match-set rn4-ok dst -j ACCEPT";
        assert_eq!(listed(backend, Family::V4, "filter", "rn-icmp"), [set, "-j DROP"]);
        assert_eq!(listed(backend, Family::V6, "raw", "rn-PREROUTING"), ["-s ff00::/8 -i rnw+ -j DROP"]);
        assert_eq!(listed(backend, Family::V6, "raw", "PREROUTING"), ["-j rn-PREROUTING"]);
        assert!(ping("127.0.0.1") && !ping("127.0.0.2") && !ping("127.0.0.9"));

        let delta = RulesDelta {
            grow: vec![
                SetOp::Create {
                    name: "rn4-new".into(),
                    family: Family::V4,
                    kind: SetKind::HashNet,
                    members: Vec::new(),
                },
                SetOp::Add { name: "rn4-new".into(), member: Member::Net("127.0.0.2/31".parse().expect("a CIDR")) },
                SetOp::Add { name: "rn4-new".into(), member: Member::Net("127.0.0.1/32".parse().expect("a CIDR")) },
                SetOp::Add { name: "rn4-new".into(), member: Member::Net("127.0.0.4/32".parse().expect("a CIDR")) },
            ],
            chains: [(filter("rn-icmp"), Some(rules(&["-m set --match-set rn4-new dst -j ACCEPT", "-j DROP"])))].into(),
            shrink: vec![
                SetOp::Delete { name: "rn4-new".into(), member: Member::Net("127.0.0.4/32".parse().expect("a CIDR")) },
                SetOp::Destroy { name: "rn4-ok".into() },
            ],
        };
        assert_eq!(wait(plane.apply(delta)), Ok(()));
        assert!(ping("127.0.0.2") && !ping("127.0.0.4"));
        wait_for("the old set is destroyed", SECOND, || !run("ipset", &["list", "-n"]).contains("rn4-ok"));
        let (sets, chains) = plane.status();
        assert!(sets.in_sync && chains.in_sync, "{sets:?} {chains:?}");
        assert_eq!((sets.wanted, chains.wanted, sets.repairs, chains.repairs), (2, 7, 0, 0));

        assert_eq!(wait(plane.remove_all()), Ok(()));
        assert!(!save(backend).contains("rn-"), "{}", save(backend));
        assert_eq!(run("ipset", &["list", "-n"]).trim(), "theirs");
        assert_eq!(listed(backend, Family::V4, "filter", "OUTPUT"), ["-j DOCKER"]);
        assert_eq!(listed(backend, Family::V4, "filter", "DOCKER"), ["-d 127.0.0.9/32 -j DROP"]);
        assert!(ping("127.0.0.1") && !ping("127.0.0.9"));
    });
}

#[test]
fn a_second_start_adopts_and_changes_nothing() {
    on_both(|backend| {
        let first = spawn(backend);
        assert_eq!(start(&first, whole()), Ok(()));
        assert!(ping("127.0.0.1") && !ping("127.0.0.2"));
        drop(first);
        let before = save(backend);
        assert!(before.contains("[2:168] -A rn-icmp -m set"), "{before}");
        let log = tempfile::NamedTempFile::new().expect("a file");
        let output = log.reopen().expect("the file");
        let nft = std::process::Command::new("nft").arg("monitor").stdout(output).spawn().expect("nft");
        let _nft = Process(nft);
        let seen = || std::fs::read_to_string(log.path()).expect("readable");
        // The monitor listens once it tells of a change: each attempt is a change.
        wait_for("nft monitor listens", LONG, || {
            run("nft", &["add table inet marker; delete table inet marker"]);
            !seen().is_empty()
        });
        run("nft", &["add table inet last_before"]);
        wait_for("the last change before", LONG, || seen().contains("last_before"));
        let second = spawn(backend);
        assert_eq!(start(&second, whole()), Ok(()));
        run("nft", &["add table inet first_after"]);
        wait_for("the first change after", LONG, || seen().contains("first_after"));
        let said = seen();
        let between = said.split_once("last_before").and_then(|(_, t)| t.split_once("first_after")).expect("both").0;
        let commits = between.matches("# new generation").count();
        assert_eq!(commits, 1, "only the marker's own: {said}");
        let counted =
            |text: &str| text.lines().filter(|line| line.contains("rn")).map(String::from).collect::<Vec<_>>();
        assert_eq!(counted(&save(backend)), counted(&before));
        let (sets, chains) = second.status();
        assert_eq!((sets.in_sync, chains.in_sync, sets.repairs, chains.repairs), (true, true, 0, 0));
    });
}

#[test]
fn untouched_rules_keep_their_counters() {
    on_both(|backend| {
        let plane = spawn(backend);
        assert_eq!(start(&plane, whole()), Ok(()));
        assert!(ping("127.0.0.1") && ping("127.0.0.3"));
        let accept = "-m set --match-set rn4-ok dst -j ACCEPT";
        let content = rules(&["-d 127.0.0.7/32 -j DROP", accept, "-d 127.0.0.8/32 -j DROP", "-j DROP"]);
        assert_eq!(wait(plane.apply(change(filter("rn-icmp"), Some(content)))), Ok(()));
        let counted = wait(plane.counters(filter("rn-icmp"))).expect("countable");
        let row = |rule: &str, packets, bytes| RuleCounters { rule: rule.into(), packets, bytes };
        let want = [
            row("-d 127.0.0.7/32 -j DROP", 0, 0),
            row(accept, 4, 336),
            row("-d 127.0.0.8/32 -j DROP", 0, 0),
            row("-j DROP", 0, 0),
        ];
        assert_eq!(counted, want);
        assert!(!ping("127.0.0.7"));
        let counted = wait(plane.counters(filter("rn-icmp"))).expect("countable");
        assert_eq!(counted[0], row("-d 127.0.0.7/32 -j DROP", 1, 84));
        let error = wait(plane.counters(filter("rn-none"))).expect_err("no such chain").to_string();
        assert!(error.contains("rn-none"), "{error}");
    });
}

#[test]
fn any_order_of_rules_becomes_any_other() {
    on_both(|backend| {
        let plane = spawn(backend);
        assert_eq!(start(&plane, (BTreeMap::new(), BTreeMap::new(), BTreeSet::new())), Ok(()));
        let mut dice = Dice(7);
        let mut random = move |below| dice.below(below);
        for _ in 0..40 {
            let content: Vec<String> =
                (0..random(12)).map(|_| format!("-s 10.0.0.{}/32 -j ACCEPT", random(8))).collect();
            let texts: Vec<&str> = content.iter().map(String::as_str).collect();
            assert_eq!(wait(plane.apply(change(filter("rn-a"), Some(rules(&texts))))), Ok(()));
            assert_eq!(listed(backend, Family::V4, "filter", "rn-a"), content);
        }
        assert_eq!(wait(plane.apply(change(filter("rn-a"), None))), Ok(()));
        assert!(!save(backend).contains("rn-a"));
        assert_eq!(plane.status().1.repairs, 0, "our own commits are not taken for somebody else's");
    });
}

#[test]
fn what_others_change_of_ours_is_put_back() {
    on_both(|backend| {
        let plane = match backend {
            // No full read helps here: nf_tables' notices must do.
            Backend::Nft => RulesPlane::spawn(RulesConfig::new(backend)).expect("the plane starts"),
            Backend::Legacy => spawn(backend),
        };
        assert_eq!(start(&plane, whole()), Ok(()));
        iptables(backend, &["-A", "OUTPUT", "-d", "127.0.0.9", "-j", "DROP"]);
        let stands = || {
            let output = listed(backend, Family::V4, "filter", "OUTPUT");
            output.first().is_some_and(|rule| rule == "-j rn-OUTPUT")
                && output.iter().filter(|rule| rule.contains("rn-")).count() == 1
                && listed(backend, Family::V4, "filter", "rn-icmp").len() == 2
                && listed(backend, Family::V4, "filter", "rn-OUTPUT").len() == 2
                && !listed(backend, Family::V4, "filter", "rn-icmp").iter().any(|rule| rule.contains("10.1.1.1"))
        };
        assert!(stands());
        let hook_gone: &[&str] = &["-D", "OUTPUT", "1"];
        let attacks: [(&str, &[&str]); 5] = [
            ("a deleted hook", hook_gone),
            ("a rule before the hook", &["-I", "OUTPUT", "-d", "127.0.0.8", "-j", "ACCEPT"]),
            ("a flushed chain", &["-F", "rn-icmp"]),
            ("a rule inserted into our chain", &["-I", "rn-icmp", "-d", "10.1.1.1", "-j", "ACCEPT"]),
            ("a deleted rule", &["-D", "rn-OUTPUT", "2"]),
        ];
        for (repairs, (what, attack)) in (1..).zip(attacks) {
            iptables(backend, attack);
            wait_for(what, SECOND, stands);
            wait_for("the repair is counted", SECOND, || plane.status().1.repairs == repairs);
        }
        let output = listed(backend, Family::V4, "filter", "OUTPUT");
        assert_eq!(output, ["-j rn-OUTPUT", "-d 127.0.0.8/32 -j ACCEPT", "-d 127.0.0.9/32 -j DROP"]);
        let (_, chains) = plane.status();
        assert!(chains.in_sync);
        let (_, words) = chains.last_repair.expect("a repair");
        assert!(words.contains("chain IPv4 filter rn-OUTPUT"), "{words}");
        // A whole firewall flushed, as reloads of others do.
        iptables(backend, &["-F"]);
        iptables(backend, &["-X"]);
        wait_for("a flushed table", SECOND, || save(backend).contains("-A rn-icmp") && stands());
    });
}

#[test]
fn what_others_change_of_our_sets_is_put_back() {
    in_fresh_netns(|| {
        let plane = spawn(Backend::Nft);
        assert_eq!(start(&plane, whole()), Ok(()));
        run("ipset", &["create", "theirs", "hash:net"]);
        run("ipset", &["flush", "rn4-ok"]);
        wait_for("a flushed set", LONG, || set_entries("rn4-ok") == 2);
        // As many members as before, but not ours.
        run("ipset", &["-exist", "del", "rn4-ok", "127.0.0.1"]);
        run("ipset", &["-exist", "add", "rn4-ok", "10.0.0.0/8"]);
        let right = || {
            let text = run("ipset", &["save", "rn4-ok"]);
            text.contains("127.0.0.1") && !text.contains("10.0.0.0")
        };
        wait_for("a replaced member", LONG, right);
        run("ipset", &["del", "rn4-ok", "127.0.0.3"]);
        run("ipset", &["add", "rn4-ok", "127.0.0.3", "nomatch"]);
        wait_for("a member that does not match", LONG, || {
            !run("ipset", &["save", "rn4-ok"]).contains("nomatch") && set_entries("rn4-ok") == 2
        });
        run("ipset", &["create", "rn4-stray", "hash:net"]);
        wait_for("a stray set of our name", LONG, || run("ipset", &["list", "-n"]).lines().eq(["rn4-ok", "theirs"]));
        let (sets, _) = plane.status();
        assert!(sets.in_sync && sets.repairs >= 3, "{sets:?}");
    });
}

#[test]
fn members_are_counted_between_full_reads() {
    in_fresh_netns(|| {
        let plane = RulesPlane::spawn(RulesConfig::new(Backend::Nft)).expect("the plane starts");
        assert_eq!(start(&plane, whole()), Ok(()));
        run("ipset", &["flush", "rn4-ok"]);
        wait_for("a flushed set, 30 s before the full read", LONG, || set_entries("rn4-ok") == 2);
    });
}

/// A rule from a policy, as the compiler marks it.
fn from_policy(text: &str) -> ChainRule {
    let policy = ObjectKey::namespaced(Kind::NetworkPolicy, "default", "web");
    ChainRule { text: text.into(), origin: Some(RuleOrigin { policy: policy.into(), ingress: true, index: 4 }) }
}

#[test]
fn a_refused_rule_is_named_closes_its_chain_and_holds_up_nothing_else() {
    on_both(|backend| {
        // Refused by the parser, by the set look-up, and by the kernel (legacy names no line for that).
        for bad in ["-p icmp -m nosuchmatch -j ACCEPT", "-m set --match-set rn4-no dst -j ACCEPT", "-j CT --notrack"] {
            let plane = spawn(backend);
            assert_eq!(start(&plane, whole()), Ok(()));
            let mut content = rules(&["-d 127.0.0.1/32 -j ACCEPT"]);
            content.push(from_policy(bad));
            content.extend(rules(&["-d 127.0.0.3/32 -j ACCEPT"]));
            let mut delta = change(filter("rn-icmp"), Some(content));
            delta.chains.insert(filter("rn-OUTPUT"), Some(rules(&["-p icmp -j rn-icmp", "-j rn-more"])));
            delta.chains.insert(filter("rn-more"), Some(rules(&["-d 127.0.0.4/32 -j ACCEPT"])));
            let error = wait(plane.apply(delta)).expect_err("refused").to_string();
            let named = "chain IPv4 filter rn-icmp, rule 1 (NetworkPolicy default/web, ingress rule 5): iptables";
            assert!(error.starts_with(named) && error.contains(bad), "{error}");
            assert!(ping("127.0.0.1"), "the rules before it stand");
            assert!(!ping("127.0.0.3"), "closed from there on");
            assert_eq!(listed(backend, Family::V4, "filter", "rn-more"), ["-d 127.0.0.4/32 -j ACCEPT"]);
            assert_eq!(listed(backend, Family::V4, "filter", "rn-OUTPUT"), ["-p icmp -j rn-icmp", "-j rn-more"]);
            let (_, chains) = plane.status();
            assert!(!chains.in_sync && chains.failure.is_some_and(|(_, words)| words.contains("rn-icmp")));
            let other = change(filter("rn-more"), Some(rules(&["-d 127.0.0.5/32 -j ACCEPT"])));
            assert_eq!(wait(plane.apply(other)), Ok(()), "others go on");
            let texts = ["-d 127.0.0.3/32 -j ACCEPT", "-s 127.0.0.3/32 -j ACCEPT", "-j DROP"];
            assert_eq!(wait(plane.apply(change(filter("rn-icmp"), Some(rules(&texts))))), Ok(()));
            assert!(ping("127.0.0.3") && !ping("127.0.0.1"));
            assert!(plane.status().1.in_sync, "{:?}", plane.status());
            assert_eq!(wait(plane.remove_all()), Ok(()));
        }
    });
}

#[test]
fn a_refused_rule_goes_in_by_itself_when_the_kernel_takes_it() {
    in_fresh_netns(|| {
        let plane = spawn(Backend::Nft);
        assert_eq!(start(&plane, whole()), Ok(()));
        let content = rules(&["-m set --match-set theirs dst -j ACCEPT", "-j DROP"]);
        assert!(wait(plane.apply(change(filter("rn-icmp"), Some(content)))).is_err());
        assert!(!ping("127.0.0.1"));
        run("ipset", &["create", "theirs", "hash:net"]);
        run("ipset", &["add", "theirs", "127.0.0.1"]);
        wait_for("the chain is tried again", LONG, || plane.status().1.in_sync);
        assert!(ping("127.0.0.1"));
    });
}

/// Such a set would be asked, and answer what somebody else put there.
#[test]
fn a_set_of_our_name_and_another_type_closes_what_asks_it_until_it_is_gone() {
    on_both(|backend| {
        run("ipset", &["create", "rn4-ok", "hash:ip"]);
        run("ipset", &["add", "rn4-ok", "127.0.0.2"]);
        let theirs = ["INPUT", "-m", "set", "--match-set", "rn4-ok", "src", "-d", "127.0.0.9", "-j", "DROP"];
        iptables(backend, &[&["-A"], &theirs[..]].concat());
        let plane = spawn(backend);
        assert!(start(&plane, whole()).is_err());
        assert!(!ping("127.0.0.1") && !ping("127.0.0.2"), "closed");
        let (sets, chains) = plane.status();
        assert!(sets.failure.is_some_and(|(_, words)| words.contains("rn4-ok")));
        let words = chains.failure.expect("a refused rule").1;
        assert!(words.contains("rn-icmp, rule 0") && words.contains("another type"), "{words}");
        iptables(backend, &[&["-D"], &theirs[..]].concat());
        wait_for("our own set", LONG, || plane.status().0.in_sync && plane.status().1.in_sync);
        assert!(ping("127.0.0.1") && !ping("127.0.0.2"));
    });
}

#[test]
fn a_chain_that_all_traffic_passes_stays_as_it_was_when_refused() {
    on_both(|backend| {
        let plane = spawn(backend);
        assert_eq!(start(&plane, whole()), Ok(()));
        let content = rules(&["-p icmp -m nosuchmatch -j ACCEPT"]);
        let error = wait(plane.apply(change(filter("rn-OUTPUT"), Some(content)))).expect_err("refused").to_string();
        assert!(error.ends_with("it stays as it was until that is mended"), "{error}");
        assert_eq!(listed(backend, Family::V4, "filter", "rn-OUTPUT").len(), 2);
        assert!(ping("127.0.0.1") && !ping("127.0.0.2"));
    });
}

#[test]
fn a_line_break_in_a_rule_and_a_jump_to_nowhere_are_never_sent() {
    in_fresh_netns(|| {
        let plane = spawn(Backend::Nft);
        assert_eq!(start(&plane, whole()), Ok(()));
        let evil = rules(&["-j DROP\n-F FORWARD\n-P OUTPUT DROP"]);
        let error = wait(plane.apply(change(filter("rn-a"), Some(evil)))).expect_err("refused").to_string();
        assert!(error.contains("rn-a, rule 0") && error.contains("line break"), "{error}");
        let lost = rules(&["-j rn-nowhere"]);
        let error = wait(plane.apply(change(filter("rn-b"), Some(lost)))).expect_err("refused").to_string();
        assert!(error.contains("rn-b, rule 0") && error.contains("jumps to rn-nowhere"), "{error}");
        let error = wait(plane.apply(change(filter("theirs"), Some(vec![])))).expect_err("refused").to_string();
        assert!(error.contains("chain IPv4 filter theirs"), "{error}");
        assert!(ping("127.0.0.1"));
        assert!(run("iptables-nft", &["-S", "OUTPUT"]).contains("-P OUTPUT ACCEPT"));
    });
}

#[test]
fn a_chain_that_somebody_elses_rule_holds_is_reported_and_goes_later() {
    on_both(|backend| {
        let plane = spawn(backend);
        let mut all = whole();
        all.1.insert(filter("rn-a"), rules(&["-j ACCEPT"]));
        all.1.insert(filter("rn-b"), rules(&["-j ACCEPT"]));
        assert_eq!(start(&plane, all), Ok(()));
        iptables(backend, &["-A", "INPUT", "-j", "rn-a"]);
        let mut delta = change(filter("rn-a"), None);
        delta.chains.insert(filter("rn-b"), None);
        let error = wait(plane.apply(delta)).expect_err("held").to_string();
        assert!(error.starts_with("chain IPv4 filter rn-a: cannot be removed"), "{error}");
        assert!(!save(backend).contains("rn-b"), "the other one goes");
        assert_eq!(listed(backend, Family::V4, "filter", "INPUT"), ["-j rn-a"]);
        iptables(backend, &["-D", "INPUT", "-j", "rn-a"]);
        wait_for("it goes when it can", LONG, || !save(backend).contains("rn-a"));
        wait_for("all is well again", LONG, || plane.status().1.in_sync);
    });
}

/// The numbers of `iptables-restore` processes in this namespace.
fn restore_processes() -> Vec<i32> {
    let mine = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let restores = numbers.filter(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let there = std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace == mine);
        there && name.contains("tables-") && name.contains("-restore")
    });
    restores.collect()
}

#[test]
fn a_killed_restore_is_replaced_and_none_outlives_the_plane() {
    on_both(|backend| {
        let plane = spawn(backend);
        assert_eq!(start(&plane, whole()), Ok(()));
        for n in 0..3 {
            let running = restore_processes();
            assert_eq!(running.len(), 2, "one a family: {running:?}");
            for pid in running {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
                    .expect("ours");
            }
            let text = format!("-d 127.0.0.{n}/32 -j DROP");
            let v6 = ChainKey { family: Family::V6, ..filter("rn-six") };
            let mut delta = change(filter("rn-icmp"), Some(rules(&[&text])));
            delta.chains.insert(v6, Some(rules(&[&format!("-p tcp --dport {} -j DROP", n + 1)])));
            assert_eq!(wait(plane.apply(delta)), Ok(()));
            assert_eq!(listed(backend, Family::V4, "filter", "rn-icmp"), [text]);
            assert_eq!(listed(backend, Family::V6, "filter", "rn-six").len(), 1);
        }
        drop(plane);
        wait_for("the processes end with the plane", LONG, || restore_processes().is_empty());
        assert!(save(backend).contains("-A rn-icmp"), "the kernel keeps everything");
    });
}

#[test]
fn a_start_sweeps_what_is_ours_and_unwanted_and_mends_the_rest() {
    on_both(|backend| {
        let first = spawn(backend);
        let mut old = whole();
        old.1.insert(filter("rn-old"), rules(&["-m set --match-set rn4-old src -j DROP", "-j rn-older"]));
        old.1.insert(filter("rn-older"), rules(&["-j DROP"]));
        old.2.insert(hook("INPUT", "rn-old"));
        let spec = SetSpec { family: Family::V4, kind: SetKind::HashNet, members: BTreeSet::new() };
        old.0.insert("rn4-old".into(), spec);
        assert_eq!(start(&first, old), Ok(()));
        drop(first);
        run("ipset", &["del", "rn4-ok", "127.0.0.3"]);
        iptables(backend, &["-D", "rn-icmp", "2"]);
        run("ipset", &["create", "theirs", "hash:net"]);
        iptables(backend, &["-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]);
        let second = spawn(backend);
        assert_eq!(start(&second, whole()), Ok(()));
        assert!(!save(backend).contains("rn-old"));
        assert_eq!(listed(backend, Family::V4, "filter", "INPUT"), ["-s 192.0.2.1/32 -j DROP"]);
        assert!(ping("127.0.0.3") && !ping("127.0.0.2"));
        wait_for("the old set goes", SECOND, || run("ipset", &["list", "-n"]).lines().eq(["rn4-ok", "theirs"]));
    });
}

#[test]
fn a_start_with_the_other_back_end_leaves_nothing_in_the_first() {
    in_fresh_netns(|| {
        let legacy = spawn(Backend::Legacy);
        assert_eq!(start(&legacy, whole()), Ok(()));
        iptables(Backend::Legacy, &["-A", "OUTPUT", "-d", "127.0.0.9", "-j", "DROP"]);
        drop(legacy);
        let nft = spawn(Backend::Nft);
        assert_eq!(start(&nft, whole()), Ok(()));
        assert!(save(Backend::Nft).contains("-A rn-icmp"));
        assert!(!save(Backend::Legacy).contains("rn-"));
        assert_eq!(listed(Backend::Legacy, Family::V4, "filter", "OUTPUT"), ["-d 127.0.0.9/32 -j DROP"]);
    });
}

#[test]
fn restarts_and_changes_open_nothing_and_drop_nothing() {
    on_both(|backend| {
        let plane = spawn(backend);
        assert_eq!(start(&plane, whole()), Ok(()));
        let pinging = |address: &'static str| {
            std::process::Command::new("ping")
                .args(["-q", "-i", "0.002", "-c", "600", "-W", "1", address])
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("ping")
        };
        let mut wanted = Process(pinging("127.0.0.1"));
        let denied = Process(pinging("127.0.0.2"));
        let mut rounds = 0u32;
        while wanted.0.try_wait().expect("a child").is_none() {
            rounds += 1;
            let mut next = whole();
            let extra = format!("-d 127.0.1.{}/32 -j DROP", rounds % 250);
            let accept = "-m set --match-set rn4-ok dst -j ACCEPT";
            let order: [&str; 3] =
                if rounds.is_multiple_of(2) { [&extra, accept, "-j DROP"] } else { [accept, &extra, "-j DROP"] };
            next.1.insert(filter("rn-icmp"), rules(&order));
            if rounds.is_multiple_of(3) {
                let again = spawn(backend);
                assert_eq!(start(&again, next), Ok(()));
            } else {
                assert_eq!(start(&plane, next), Ok(()));
            }
        }
        assert!(rounds > 5, "{rounds} rounds are no test");
        // The denied one waits after each refusal: it has seen enough. It tells its count when it is interrupted.
        let pid = nix::unistd::Pid::from_raw(denied.0.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("ours");
        let said = |mut process: Process| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut process.0.stdout.take().expect("piped"), &mut text).expect("text");
            text
        };
        let (wanted, denied) = (said(wanted), said(denied));
        assert!(wanted.contains("600 received"), "{wanted}");
        assert!(denied.contains(" 0 received"), "{denied}");
    });
}
