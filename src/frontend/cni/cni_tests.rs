use std::sync::Mutex;

use async_trait::async_trait;
use routenet_core::model::{Attachment, Endpoint, EndpointKey, NetworkName, NodeName};
use serde_json::json;

use super::*;
use crate::frontend::{AttachError, AttachRequest, Failed, Revision};

/// Remembers what it was asked; the real agent is behind the plugin in `tests/agent`.
#[derive(Default)]
struct Recorder {
    attached: Mutex<Vec<AttachRequest>>,
    detached: Mutex<Vec<EndpointKey>>,
}

#[async_trait]
impl Workloads for Recorder {
    async fn attach(&self, request: AttachRequest) -> Result<Endpoint, AttachError> {
        if request.key.network.as_str() == "unknown" {
            return Err(AttachError::new(Failed::UnknownNetwork, "no network `unknown`", "apply it"));
        }
        let endpoint = Endpoint {
            key: request.key.clone(),
            node: NodeName::new("h1").unwrap(),
            namespace: request.identity.namespace.clone(),
            name: request.identity.name.clone(),
            labels: request.identity.labels.clone().unwrap_or_default(),
            service_account: None,
            profiles: None,
            ports: Vec::new(),
            addresses: vec!["10.65.0.1".parse().unwrap(), "fd65::1".parse().unwrap()],
            interface: None,
            attachment: Some(Attachment {
                requester: request.requester.clone(),
                ..Attachment::new(request.netns.clone(), request.mac.unwrap_or([2, 0, 0, 0, 0, 1]), 1500)
            }),
        };
        self.attached.lock().unwrap().push(request);
        Ok(endpoint)
    }

    async fn revise(&self, _: &EndpointKey, _: Revision) -> Result<(), AttachError> {
        unreachable!("CNI tells all at once")
    }

    async fn detach(&self, key: &EndpointKey) -> Result<(), AttachError> {
        self.detached.lock().unwrap().push(key.clone());
        Ok(())
    }

    async fn attached(&self, requester: &str) -> Vec<EndpointKey> {
        let attached = self.attached.lock().unwrap();
        attached.iter().filter(|it| it.requester.as_deref() == Some(requester)).map(|it| it.key.clone()).collect()
    }

    async fn ready(&self, network: &NetworkName) -> Result<(), AttachError> {
        match network.as_str() {
            "unknown" => Err(AttachError::new(Failed::UnknownNetwork, "no network `unknown`", "apply it")),
            _ => Ok(()),
        }
    }

    async fn check(&self, key: &EndpointKey, _: &str) -> Result<Endpoint, AttachError> {
        Err(AttachError::new(Failed::Broken, format!("{key}: default route missing"), "attach it again"))
    }
}

fn call(recorder: &Recorder, command: &str, args: &str, config: &Value) -> CniReply {
    let config = config.to_string();
    let call = Call { command, container_id: "c1", netns: "/run/netns/x", ifname: "eth0", args, config: &config };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(handle(recorder, call))
}

fn code(reply: &CniReply) -> i64 {
    assert_eq!(reply.exit, 1);
    reply.stdout.as_ref().unwrap()["code"].as_i64().unwrap()
}

#[test]
fn names_and_labels_come_from_args_and_configuration() {
    let recorder = Recorder::default();
    let config = json!({
        "cniVersion": "1.0.0", "name": "conf", "network": "blue", "type": "routenet",
        "labels": {"role": "web", "tier": "front"},
        "args": {"cni": {"labels": [{"key": "role", "value": "db"}]}},
    });
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db-0;X=y;MAC=02:11:22:33:44:55";
    assert_eq!(call(&recorder, "ADD", args, &config).exit, 0);
    let request = &recorder.attached.lock().unwrap()[0];
    assert_eq!((request.identity.namespace.as_str(), request.identity.name.as_str()), ("shop", "db-0"));
    assert_eq!(request.key.network.as_str(), "blue");
    let labels = [("role", "db"), ("tier", "front")].map(|(k, v)| (k.into(), v.into())).into();
    assert_eq!(request.identity.labels, Some(labels));
    assert_eq!(request.mac, Some([2, 0x11, 0x22, 0x33, 0x44, 0x55]));
}

#[test]
fn addresses_are_asked_for_in_three_ways() {
    let plain = json!({"cniVersion": "1.0.0", "name": "blue"});
    let mut runtime = plain.clone();
    runtime["runtimeConfig"] = json!({"ips": ["10.65.0.7/24", "fd65::7/64"]});
    let mut args = plain.clone();
    args["args"] = json!({"cni": {"ips": ["10.65.0.7"]}});
    for (cni_args, config, wanted) in [
        ("IP=10.65.0.7", &plain, vec!["10.65.0.7"]),
        ("IP=10.65.0.7", &runtime, vec!["10.65.0.7", "fd65::7"]),
        ("", &args, vec!["10.65.0.7"]),
        ("IP=", &plain, vec![]),
    ] {
        let recorder = Recorder::default();
        assert_eq!(call(&recorder, "ADD", cni_args, config).exit, 0);
        let addresses: Vec<String> =
            recorder.attached.lock().unwrap()[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, wanted);
    }
}

#[test]
fn port_mappings_are_published_and_bad_ones_are_named() {
    let with = |mapping: serde_json::Value| json!({"cniVersion": "1.0.0", "name": "blue", "runtimeConfig": {"portMappings": [mapping]}});
    let recorder = Recorder::default();
    let config = with(json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}));
    assert_eq!(call(&recorder, "ADD", "", &config).exit, 0);
    let published = recorder.attached.lock().unwrap()[0].published.clone();
    assert_eq!(published.iter().map(ToString::to_string).collect::<Vec<_>>(), ["8080->80/tcp"]);
    for (mapping, what) in [
        (json!({"hostPort": 8080, "containerPort": 80, "protocol": "icmp"}), "protocol `icmp` has no ports"),
        (json!({"hostPort": 0, "containerPort": 80}), "a port of 0 is none"),
        (json!({"hostPort": 1, "containerPort": 80, "hostIP": "here"}), "hostIP `here` is no address"),
    ] {
        let reply = call(&Recorder::default(), "ADD", "", &with(mapping));
        assert_eq!(code(&reply), 7);
        let said = reply.stdout.unwrap()["msg"].to_string();
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn a_result_lists_both_ends_in_the_version_asked_for() {
    let config = json!({"cniVersion": "0.4.0", "name": "blue"});
    let result = call(&Recorder::default(), "ADD", "", &config).stdout.unwrap();
    assert_eq!(result["interfaces"][0]["sandbox"], "");
    assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/x");
    let first = json!({"version": "4", "address": "10.65.0.1/32", "gateway": "169.254.1.1", "interface": 1});
    assert_eq!(result["ips"][0], first);
    assert_eq!(result["routes"][1], json!({"dst": "::/0", "gw": "fe80::ecee:eeff:feee:eeee"}));

    let config = json!({"cniVersion": "1.0.0", "name": "blue", "dns": {"nameservers": ["10.0.0.53"]}});
    let result = call(&Recorder::default(), "ADD", "", &config).stdout.unwrap();
    assert_eq!(result["ips"][0].get("version"), None);
    assert_eq!(result["dns"]["nameservers"][0], "10.0.0.53");
}

#[test]
fn a_result_is_appended_to_the_chains() {
    let previous = json!({"interfaces": [{"name": "lo"}], "ips": [{"address": "127.0.0.1/8", "interface": 0}]});
    let config = json!({"cniVersion": "1.0.0", "name": "blue", "prevResult": previous});
    let result = call(&Recorder::default(), "ADD", "", &config).stdout.unwrap();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!(result["ips"][1]["interface"], 2);
}

#[test]
fn every_failure_has_its_code() {
    let recorder = Recorder::default();
    let config = json!({"cniVersion": "1.0.0", "name": "blue"});
    assert_eq!(code(&call(&recorder, "ADD", "FOO=1", &config)), 4);
    assert_eq!(code(&call(&recorder, "ADD", "IP=10.0.0", &config)), 4);
    let two = json!({"cniVersion": "1.0.0", "name": "blue", "runtimeConfig": {"ips": ["10.0.0.1/24", "10.0.0.2"]}});
    assert_eq!(code(&call(&recorder, "ADD", "", &two)), 7);
    assert_eq!(code(&call(&recorder, "ADD", "MAC=01:00:00:00:00:00", &config)), 4);
    assert_eq!(code(&call(&recorder, "ADD", "", &json!({"cniVersion": "1.0.0", "name": 5}))), 6);
    assert_eq!(code(&call(&recorder, "ADD", "", &json!({"cniVersion": "1.0.0", "name": "a b"}))), 7);
    assert_eq!(code(&call(&recorder, "ADD", "", &json!({"cniVersion": "1.0.0", "name": "unknown"}))), 7);
    assert_eq!(code(&call(&recorder, "CHECK", "", &config)), 7);
    let with_result = json!({"cniVersion": "1.0.0", "name": "blue", "prevResult": {}});
    let broken = call(&recorder, "CHECK", "", &with_result);
    assert_eq!(code(&broken), 103);
    assert_eq!(broken.stdout.unwrap()["msg"], "blue/c1/eth0: default route missing");
    assert!(recorder.attached.lock().unwrap().is_empty());
}

#[test]
fn del_prints_nothing_and_needs_no_result() {
    let recorder = Recorder::default();
    let reply = call(&recorder, "DEL", "", &json!({"cniVersion": "1.0.0", "name": "blue"}));
    assert_eq!((reply.exit, reply.stdout), (0, None));
    assert_eq!(recorder.detached.lock().unwrap()[0].to_string(), "blue/c1/eth0");
}

#[test]
fn gc_takes_what_its_own_configuration_asked_for_and_the_runtime_knows_no_more() {
    let recorder = Recorder::default();
    let configuration = |name: &str| json!({"cniVersion": "1.1.0", "name": name, "network": "blue"});
    for name in ["podman", "containerd"] {
        assert_eq!(call(&recorder, "ADD", "", &configuration(name)).exit, 0);
    }
    let gc = |valid: Value| {
        let mut config = configuration("podman");
        config["cni.dev/valid-attachments"] = valid;
        let reply = call(&recorder, "GC", "", &config);
        assert_eq!((reply.exit, reply.stdout), (0, None));
        recorder.detached.lock().unwrap().len()
    };
    assert_eq!(call(&recorder, "GC", "", &configuration("podman")).exit, 0);
    assert_eq!(recorder.detached.lock().unwrap().len(), 0, "no list is no order");
    assert_eq!(gc(json!([{"containerID": "c1", "ifname": "eth0"}])), 0, "still known");
    assert_eq!(gc(json!([{"containerID": "c1", "ifname": "eth1"}])), 1, "another interface; and only podman's");
}

#[test]
fn status_answers_with_nothing_or_with_50() {
    let recorder = Recorder::default();
    let status = |name: &str| call(&recorder, "STATUS", "", &json!({"cniVersion": "1.1.0", "name": name}));
    assert_eq!((status("blue").exit, status("blue").stdout), (0, None));
    assert_eq!(code(&status("unknown")), 50);
}
