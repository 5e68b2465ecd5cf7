//! What a rule of ours may be, word by word: stricter than iptables, so that nothing gets into a rule by a name.

use std::collections::{BTreeMap, BTreeSet};

use routenet_core::desired::{ChainKey, ChainRule, SetKind, SetName, SetSpec};
use routenet_core::model::{Cidr, Family};

/// What both back ends take.
const CHAIN: usize = 28;
const SET: usize = 31;
const LOG_PREFIX: usize = 29;
/// An identity, as the plane writes it behind every rule: `-m comment --comment "rn:0123456789abcdef"`.
const COMMENT: usize = 45;
/// The buffer of iptables-restore.
const LINE: usize = 10_240;
const MULTIPORT: usize = 15;

type Chains = BTreeMap<ChainKey, Vec<ChainRule>>;
type Sets = BTreeMap<SetName, SetSpec>;

/// Panics with the first rule that is not one.
pub fn check(chains: &Chains, sets: &Sets) {
    for (name, set) in sets {
        assert!(name.len() <= SET && is_name(name, &format!("rn{}-", set.family.digit())), "the set {name:?}");
    }
    for (key, rules) in chains {
        assert!(key.name.len() <= CHAIN && is_name(&key.name, "rn-"), "the chain {:?}", key.name);
        for rule in rules {
            assert!(rule.text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{key}: {:?}", rule.text);
            assert!("-A ".len() + key.name.len() + rule.text.len() + COMMENT < LINE, "{key}: {}", rule.text);
            let words = split(&rule.text).unwrap_or_else(|why| panic!("{key}: {}: {why}", rule.text));
            let mut reader = Reader {
                words: &words,
                key,
                chains,
                sets,
                seen: BTreeSet::new(),
                protocol: None,
                modules: BTreeSet::new(),
            };
            reader.rule().unwrap_or_else(|why| panic!("{key}: {}: {why}", rule.text));
        }
    }
}

fn is_name(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// At single spaces; a text in quotes is one word, and has none of what iptables reads as special.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').ok_or("a quote without its end")? + 2,
            None => rest.find(' ').unwrap_or(rest.len()),
        };
        let word = &rest[..end];
        let inside = word.trim_matches('"');
        if inside.is_empty() || inside.contains(['"', '\'', '\\', '#', '$', '`', ';']) {
            return Err(format!("what is the word {word:?}?"));
        }
        words.push(word.to_string());
        rest = match rest[end..].strip_prefix(' ') {
            Some("") => return Err("a space at the end".into()),
            Some(rest) => rest,
            None if rest[end..].is_empty() => "",
            None => return Err(format!("no space behind {word}")),
        };
    }
    Ok(words)
}

struct Reader<'a> {
    words: &'a [String],
    key: &'a ChainKey,
    chains: &'a Chains,
    sets: &'a Sets,
    /// Options that iptables takes once.
    seen: BTreeSet<String>,
    /// Unless it is a negated one.
    protocol: Option<String>,
    modules: BTreeSet<String>,
}

type Taken = Result<(), String>;

fn known(good: bool, what: &str, word: &str) -> Taken {
    if good { Ok(()) } else { Err(format!("{word} is no {what}")) }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let (first, rest) = self.words.split_first().ok_or("it ends too early")?;
        self.words = rest;
        Ok(first)
    }

    fn rule(&mut self) -> Taken {
        loop {
            let mut word = self.next()?;
            let not = word == "!";
            if not {
                word = self.next()?;
            }
            match word {
                "-j" | "-g" if !not => return self.target(word == "-g"),
                "-m" if !not => self.module()?,
                _ => self.plain(word, not)?,
            }
        }
    }

    fn plain(&mut self, option: &str, not: bool) -> Taken {
        if !self.seen.insert(option.to_string()) {
            return Err(format!("{option} twice"));
        }
        let value = self.next()?;
        match option {
            "-s" | "-d" => {
                let net: Cidr = value.parse().map_err(|error| format!("{error}"))?;
                known(net.family() == self.key.family && net.to_string() == value, "prefix of the family", value)
            }
            "-i" | "-o" => {
                let name = value.strip_suffix('+').filter(|_| value == "rnw+").unwrap_or(value);
                let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
                known(!name.is_empty() && value.len() <= 15 && sound && !name.starts_with('-'), "interface", value)
            }
            "-p" => {
                self.protocol = (!not).then(|| value.to_string());
                let foreign = if self.key.family == Family::V4 { "icmpv6" } else { "icmp" };
                let named = ["tcp", "udp", "icmp", "icmpv6", "sctp", "udplite"].contains(&value) && value != foreign;
                known(named || value.parse::<u8>().is_ok_and(|number| number > 0), "protocol", value)
            }
            other => Err(format!("what is {other}?")),
        }
    }

    fn module(&mut self) -> Taken {
        let module = self.next()?;
        self.modules.insert(module.to_string());
        let mut option = self.next()?;
        let not = option == "!";
        if not {
            option = self.next()?;
        }
        let value = self.next()?;
        match (module, option) {
            ("set", "--match-set") => self.set(value),
            ("multiport", "--sports" | "--dports") => {
                self.has_ports()?;
                let cost: usize = value.split(',').map(|part| 1 + usize::from(part.contains(':'))).sum();
                known(cost <= MULTIPORT && value.split(',').all(is_ports), "list of ports", value)
            }
            ("tcp" | "udp" | "sctp" | "udplite", "--sport" | "--dport") if !not => {
                known(self.protocol.as_deref() == Some(module) && is_ports(value), "port", value)
            }
            ("icmp", "--icmp-type") | ("icmp6", "--icmpv6-type") => {
                let wanted = if module == "icmp" { "icmp" } else { "icmpv6" };
                known(self.protocol.as_deref() == Some(wanted), "match without its protocol", module)?;
                known(value.split('/').all(|part| part.parse::<u8>().is_ok()), "type", value)?;
                known(value.split('/').count() <= 2, "type", value)
            }
            ("mark", "--mark") => is_mark(value),
            ("conntrack", "--ctstate") if !not => {
                let states = ["NEW", "RELATED", "ESTABLISHED", "INVALID", "DNAT", "UNTRACKED"];
                known(value.split(',').all(|state| states.contains(&state)), "list of states", value)
            }
            ("limit", "--limit") if !not => {
                let number = value.strip_suffix("/second").and_then(|text| text.parse::<u32>().ok());
                known(number.is_some_and(|number| (1..=10_000).contains(&number)), "rate", value)
            }
            (module, option) => Err(format!("what is -m {module} {option}?")),
        }
    }

    fn has_ports(&self) -> Taken {
        let found = self.protocol.as_deref().is_some_and(|it| ["tcp", "udp", "sctp", "udplite"].contains(&it));
        known(found, "protocol with ports", self.protocol.as_deref().unwrap_or("none"))
    }

    fn set(&mut self, name: &str) -> Taken {
        let set = self.sets.get(name).ok_or_else(|| format!("there is no set {name}"))?;
        known(set.family == self.key.family, "set of the family", name)?;
        let directions = self.next()?;
        let wanted: &[&str] = match set.kind {
            SetKind::HashNet => &["src", "dst"],
            SetKind::HashNetIface | SetKind::HashIpPort => &["src,src", "dst,dst"],
        };
        known(wanted.contains(&directions), "way to ask the set", directions)
    }

    fn target(&mut self, goto: bool) -> Taken {
        let target = self.next()?;
        let with = |name: &str, this: &mut Self| -> Result<&'a str, String> {
            let option = this.next()?;
            known(option == name, "option of the target", option)?;
            this.next()
        };
        match target {
            "ACCEPT" | "DROP" | "RETURN" if !goto => {}
            "MARK" if !goto => is_mark(with("--set-xmark", self)?)?,
            "CT" if !goto => {
                let option = self.next()?;
                known(option == "--notrack", "option of CT", option)?;
            }
            "LOG" if !goto => {
                let prefix = with("--log-prefix", self)?;
                let quoted = prefix.len() > 2 && prefix.starts_with('"') && prefix.ends_with('"');
                known(quoted && prefix.len() - 2 <= LOG_PREFIX, "prefix", prefix)?;
            }
            chain => {
                let key = ChainKey { name: chain.to_string(), ..self.key.clone() };
                known(self.chains.contains_key(&key) && key != *self.key, "chain of the table", chain)?;
            }
        }
        match self.words {
            [] => Ok(()),
            [word, ..] => Err(format!("{word} behind the target")),
        }
    }
}

fn is_ports(text: &str) -> bool {
    let parts: Vec<Result<u16, _>> = text.split(':').map(str::parse).collect();
    match parts.as_slice() {
        [Ok(_)] => true,
        [Ok(first), Ok(last)] => first <= last,
        _ => false,
    }
}

fn is_mark(text: &str) -> Taken {
    let number = |part: &str| part.strip_prefix("0x").is_some_and(|hex| u32::from_str_radix(hex, 16).is_ok());
    known(text.split_once('/').is_some_and(|(value, mask)| number(value) && number(mask)), "mark", text)
}
