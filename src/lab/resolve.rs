//! A node with what it inherits: node, group, kind, defaults. The nearest wins; maps merge by key, binds by target;
//! commands, waits and files of variables add up, the general ones first. Called by [`super::topology`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::source::definition::{self, Definition};
use super::source::{self, Scalar, Words, lines};
use super::stages::{Stage, StagePlan, Wait};
use super::topology::{Bind, Command, Healthcheck, Kind, Network, Node};
use super::wiring::check_interface;

/// `prefix` is what long names of nodes begin with, `text` the file.
pub fn node(section: &source::Section, name: &str, own: &Definition, prefix: &str, text: &str) -> Result<Node, String> {
    check_name("the node's name", name, 63)?;
    if ["host", "mgmt-net", "macvlan", "dummy"].contains(&name) {
        return Err(format!("`{name}` means something else at the end of a link; take another name"));
    }
    let group_name = own.group.as_ref().or(section.defaults.group.as_ref());
    let group = group_name.and_then(|group| section.groups.iter().find(|(name, _)| name == group)).map(|(_, g)| g);
    let kind = own.kind.or(group.and_then(|group| group.kind)).or(section.defaults.kind);
    let kind = kind.ok_or("no `kind`, here or in what it inherits; write `kind: linux` or `kind: bridge`")?;
    let of_kind = section.kinds.iter().find(|(name, _)| *name == kind).map(|(_, definition)| definition);
    let levels = Levels([Some(own), group, of_kind, Some(&section.defaults)].into_iter().flatten().collect());

    let network = network(section, name, levels.nearest(|one| one.network_mode.as_ref()), prefix)?;
    if kind == Kind::Bridge {
        check_interface(name)?;
        if matches!(network, Network::Host | Network::Of(_)) {
            return Err("network-mode: a bridge has a namespace of its own; remove it".into());
        }
    }
    let sysctls = levels.merged(|one| &one.sysctls);
    if matches!(network, Network::Host | Network::Of(_)) && !sysctls.is_empty() {
        let keys: Vec<&str> = sysctls.keys().map(String::as_str).collect();
        return Err(format!(
            "sysctls ({}): they would be those of another network namespace; write them where that is made",
            keys.join(", ")
        ));
    }
    match levels.nearest(|one| one.restart_policy.as_ref()).map(|policy| policy.0.to_lowercase()).as_deref() {
        None | Some("no") => {}
        Some(other) => {
            return Err(format!(
                "restart-policy `{other}`: nothing here restarts a program; write `no`, and a loop into `cmd`"
            ));
        }
    }
    let env = levels.merged(|one| &one.env);
    if env.contains_key("__IMPORT_ENVS") {
        return Err("env: `__IMPORT_ENVS`: import variables by name, `NAME: ${NAME}`".into());
    }
    Ok(Node {
        name: name.into(),
        kind,
        group: group_name.cloned(),
        image: levels.nearest(|one| one.image.as_ref()).cloned(),
        binds: levels.binds(text)?,
        env_files: levels.all(|one| &one.env_files).map(|file| (file.clone(), lines::of(text, file))).collect(),
        env,
        exec: commands("exec", levels.all(|one| &one.exec))?,
        cmd: levels.main_process()?,
        sysctls,
        labels: levels.merged(|one| &one.labels),
        network,
        startup_delay: Duration::from_secs(*levels.nearest(|one| one.startup_delay.as_ref()).unwrap_or(&0)),
        stages: levels.stages()?,
        healthcheck: levels.nearest(|one| one.healthcheck.as_ref()).map(healthcheck).transpose()?,
    })
}

/// The definitions that a node has, the nearest first.
struct Levels<'a>(Vec<&'a Definition>);

impl<'a> Levels<'a> {
    fn nearest<T>(&self, field: impl Fn(&'a Definition) -> Option<&'a T>) -> Option<&'a T> {
        self.0.iter().find_map(|one| field(one))
    }

    /// What lists say, the most general first.
    fn all<T: 'a>(&self, field: impl Fn(&'a Definition) -> &'a [T]) -> impl Iterator<Item = &'a T> {
        self.0.iter().rev().flat_map(move |one| field(one)).collect::<Vec<_>>().into_iter()
    }

    fn merged(&self, field: impl Fn(&'a Definition) -> &'a BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
        let entries = self.0.iter().rev().flat_map(|one| field(one));
        entries.map(|(key, value)| (key.clone(), value.0.clone())).collect()
    }

    fn binds(&self, text: &str) -> Result<Vec<Bind>, String> {
        let mut binds: Vec<Bind> = Vec::new();
        for bind in self.0.iter().flat_map(|one| &one.binds) {
            let bind = parse_bind(bind, text)?;
            if !binds.iter().any(|have| have.target == bind.target) {
                binds.push(bind);
            }
        }
        Ok(binds)
    }

    fn main_process(&self) -> Result<Option<Command>, String> {
        let part = |field, words: Option<&Words>| words.map(|words| split_words(field, words)).transpose();
        let entrypoint = part("entrypoint", self.nearest(|one| one.entrypoint.as_ref()))?;
        let cmd = part("cmd", self.nearest(|one| one.cmd.as_ref()))?;
        let parts: Vec<Command> = [entrypoint, cmd].into_iter().flatten().collect();
        Ok((!parts.is_empty()).then(|| Command {
            text: parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" "),
            words: parts.into_iter().flat_map(|part| part.words).collect(),
        }))
    }

    fn stages(&self) -> Result<BTreeMap<Stage, StagePlan>, String> {
        let mut all = BTreeMap::new();
        for stage in Stage::ALL {
            let said = || self.0.iter().rev().map(|one| one.stages.of(stage));
            let field = format!("stages.{stage}.exec");
            let mut waits: Vec<Wait> = Vec::new();
            for wait in said().flat_map(|said| &said.wait_for) {
                let wait = Wait { node: wait.node.clone(), stage: wait.stage };
                if !waits.contains(&wait) {
                    waits.push(wait);
                }
            }
            let plan = StagePlan {
                waits,
                on_enter: commands(&field, said().flat_map(|said| &said.exec.on_enter))?,
                on_exit: commands(&field, said().flat_map(|said| &said.exec.on_exit))?,
            };
            if !plan.is_empty() {
                all.insert(stage, plan);
            }
        }
        Ok(all)
    }
}

fn network(section: &source::Section, own: &str, mode: Option<&String>, prefix: &str) -> Result<Network, String> {
    let Some(mode) = mode else { return Ok(Network::Own) };
    match mode.as_str() {
        "none" => Ok(Network::Alone),
        "host" => Ok(Network::Host),
        _ => {
            let Some(other) = mode.strip_prefix("container:") else {
                return Err(format!("network-mode `{mode}`: expected `none`, `host` or `container:NODE`"));
            };
            let short = other.strip_prefix(prefix).unwrap_or(other);
            let found = section.nodes.iter().map(|(name, _)| name).find(|name| *name == other || *name == short);
            match found {
                Some(found) if found == own => {
                    Err(format!("network-mode `{mode}`: that is the node itself; write `none`"))
                }
                Some(found) => Ok(Network::Of(found.clone())),
                None => {
                    let names: Vec<&str> = section.nodes.iter().map(|(name, _)| name.as_str()).collect();
                    Err(format!("network-mode `{mode}`: `{other}` is no node of the lab; it has {}", names.join(", ")))
                }
            }
        }
    }
}

fn healthcheck(said: &definition::Healthcheck) -> Result<Healthcheck, String> {
    let words = match said.test.split_first() {
        Some((first, [text])) if first == "CMD-SHELL" => vec!["sh".into(), "-c".into(), text.clone()],
        Some((first, words)) if first == "CMD" && !words.is_empty() => words.to_vec(),
        _ => {
            return Err(
                "healthcheck.test: expected `[CMD, PROGRAM, ARGUMENT, ...]` or `[CMD-SHELL, 'one text for sh']`".into(),
            );
        }
    };
    if said.interval == 0 || said.timeout == 0 || said.retries == 0 {
        return Err("healthcheck: `interval`, `timeout` (seconds) and `retries` must be at least 1".into());
    }
    Ok(Healthcheck {
        words,
        start_period: Duration::from_secs(said.start_period),
        interval: Duration::from_secs(said.interval),
        timeout: Duration::from_secs(said.timeout),
        retries: said.retries,
    })
}

fn parse_bind(text: &str, file: &str) -> Result<Bind, String> {
    let mut parts = text.split(':');
    let (source, target) = match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if !source.is_empty() && target.starts_with('/') => (source, target),
        _ => return Err(format!("bind `{text}`: expected `source:/target` or `source:/target:ro`")),
    };
    let mut read_only = false;
    for option in parts.flat_map(|part| part.split(',')) {
        match option {
            "ro" => read_only = true,
            "rw" => {}
            other => return Err(format!("bind `{text}`: unknown option `{other}`; `ro` and `rw` are known")),
        }
    }
    if Path::new(target).components().any(|part| part == std::path::Component::ParentDir) || target == "/" {
        return Err(format!("bind `{text}`: the target must be a path below /, without `..`"));
    }
    Ok(Bind { source: source.into(), target: target.into(), read_only, line: lines::of(file, text) })
}

fn commands<'a>(field: &str, texts: impl Iterator<Item = &'a String>) -> Result<Vec<Command>, String> {
    texts.map(|text| split(field, text)).collect()
}

fn split_words(field: &str, words: &Words) -> Result<Command, String> {
    match words {
        Words::Text(text) => split(field, text),
        Words::List(words) if words.is_empty() => Err(format!("{field}: an empty command")),
        Words::List(words) => Ok(Command { text: words.join(" "), words: words.clone() }),
    }
}

fn split(field: &str, text: &str) -> Result<Command, String> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(Command { text: text.into(), words }),
        Some(_) => Err(format!("{field}: an empty command")),
        None => Err(format!("{field}: `{text}`: a quote is not closed")),
    }
}

pub fn check_name(what: &str, name: &str, longest: usize) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && name.len() <= longest;
    match good {
        true => Ok(()),
        false => Err(format!("{what}: `{name}`: expected letters, digits, `-`, `_` and `.`, at most {longest}")),
    }
}
