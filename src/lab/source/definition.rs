//! What may be said of a node, a group, a kind, or all of them. Read by [`super::super::resolve`], which knows what
//! inherits what.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::stages::Stage;
use super::super::topology::Kind;
use super::values::{Scalar, Words};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Definition {
    pub kind: Option<Kind>,
    pub group: Option<String>,
    pub image: Option<String>,
    pub binds: Vec<String>,
    pub env: BTreeMap<String, Scalar>,
    pub env_files: Vec<String>,
    pub exec: Vec<String>,
    pub entrypoint: Option<Words>,
    pub cmd: Option<Words>,
    pub sysctls: BTreeMap<String, Scalar>,
    pub labels: BTreeMap<String, Scalar>,
    pub network_mode: Option<String>,
    pub startup_delay: Option<u64>,
    pub stages: Stages,
    pub healthcheck: Option<Healthcheck>,
    pub restart_policy: Option<Scalar>,
    // What changes nothing of what one gets: no image is pulled, every node has all capabilities, a picture is drawn
    // elsewhere, and what follows is for other kinds.
    #[serde(rename = "auto-remove")]
    _auto_remove: IgnoredAny,
    #[serde(rename = "cap-add")]
    _cap_add: IgnoredAny,
    #[serde(rename = "config")]
    _config: IgnoredAny,
    #[serde(rename = "enforce-startup-config")]
    _enforce_startup_config: IgnoredAny,
    #[serde(rename = "image-pull-policy")]
    _image_pull_policy: IgnoredAny,
    #[serde(rename = "license")]
    _license: IgnoredAny,
    #[serde(rename = "position")]
    _position: IgnoredAny,
    #[serde(rename = "suppress-startup-config")]
    _suppress_startup_config: IgnoredAny,
    #[serde(rename = "type")]
    _type: IgnoredAny,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Stages {
    pub create: StageDefinition,
    pub create_links: StageDefinition,
    pub configure: StageDefinition,
    pub healthy: StageDefinition,
    pub exit: StageDefinition,
}

impl Stages {
    pub fn of(&self, stage: Stage) -> &StageDefinition {
        match stage {
            Stage::Create => &self.create,
            Stage::CreateLinks => &self.create_links,
            Stage::Configure => &self.configure,
            Stage::Healthy => &self.healthy,
            Stage::Exit => &self.exit,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StageDefinition {
    pub wait_for: Vec<WaitFor>,
    pub exec: StageCommands,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    pub node: String,
    pub stage: Stage,
}

/// containerlab's list of commands, each with its phase; or, as it was written before, a map of two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageCommands {
    pub on_enter: Vec<String>,
    pub on_exit: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Healthcheck {
    pub test: Vec<String>,
    /// Times are in seconds.
    #[serde(default)]
    pub start_period: u64,
    #[serde(default = "half_a_minute")]
    pub interval: u64,
    #[serde(default = "half_a_minute")]
    pub timeout: u64,
    #[serde(default = "three")]
    pub retries: u32,
}

fn half_a_minute() -> u64 {
    30
}

fn three() -> u32 {
    3
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Stage::ALL.into_iter().find(|stage| stage.to_string() == text).ok_or_else(|| {
            let known = Stage::ALL.map(|stage| format!("`{stage}`")).join(", ");
            D::Error::custom(format!("unknown stage `{text}`: the stages are {known}"))
        })
    }
}

impl<'de> Deserialize<'de> for StageCommands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct One {
            command: String,
            phase: Option<String>,
            target: Option<String>,
        }
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        struct Two {
            on_enter: Vec<String>,
            on_exit: Vec<String>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = StageCommands;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of `command`, `phase` and `target`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<StageCommands, A::Error> {
                let mut all = StageCommands::default();
                while let Some(One { command, phase, target }) = list.next_element()? {
                    match target.as_deref() {
                        None | Some("container") => {}
                        Some("host") => {
                            return Err(A::Error::custom(format!(
                                "`target: host` of `{command}`: `routectl lab` runs nothing outside of the nodes; run \
                                 it beside `routectl lab deploy`, or in a node with `network-mode: host`"
                            )));
                        }
                        Some(other) => {
                            return Err(A::Error::custom(format!("unknown target `{other}`: expected `container`")));
                        }
                    }
                    match phase.as_deref() {
                        None | Some("on-enter") => all.on_enter.push(command),
                        Some("on-exit") => all.on_exit.push(command),
                        Some(other) => {
                            return Err(A::Error::custom(format!(
                                "unknown phase `{other}`: the phases are `on-enter` and `on-exit`"
                            )));
                        }
                    }
                }
                Ok(all)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StageCommands, A::Error> {
                let two = Two::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(StageCommands { on_enter: two.on_enter, on_exit: two.on_exit })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
