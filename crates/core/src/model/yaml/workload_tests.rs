use crate::model::validate::check_objects;
use crate::model::yaml::{object_to_yaml, read_documents};
use crate::model::{EndpointKey, InterfaceName, Object, WorkloadEndpoint};

fn text(spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata: {{name: vm}}\nspec: {{{spec}}}\n")
}

fn read(spec: &str) -> Result<WorkloadEndpoint, String> {
    let objects = read_documents("a.yaml", &text(spec)).map_err(|errors| errors[0].to_string())?;
    match objects.into_iter().next().map(|object| object.value) {
        Some(Object::WorkloadEndpoint(it)) => Ok(it),
        other => panic!("{other:?}"),
    }
}

const GOOD: &str = "node: n1, interfaceName: rnw-vm, ipNetworks: [10.77.0.9/32, 'fd77::9'], network: blue, pod: web, \
                    profiles: [kns.default], serviceAccountName: runner, orchestrator: hand, mac: 'ee:00:00:00:00:01', \
                    ports: [{name: http, protocol: TCP, port: 80}]";

#[test]
fn it_is_read_whole_and_written_as_it_is_read() {
    let it = read(GOOD).unwrap();
    assert_eq!(it.endpoint.host_interface(), InterfaceName::new("rnw-vm").unwrap());
    assert_eq!(it.endpoint.addresses.len(), 2);
    assert_eq!((it.endpoint.display_name().as_str(), it.endpoint.ports.len()), ("default/web", 1));
    assert_eq!(it.endpoint.service_account.as_deref(), Some("runner"));
    assert!(it.endpoint.key.is_by_hand());
    let again = read_documents("a.yaml", &object_to_yaml(&Object::WorkloadEndpoint(it.clone()))).unwrap();
    assert_eq!(again[0].value, Object::WorkloadEndpoint(it));
}

#[test]
fn what_a_runtime_made_is_read_and_is_not_taken_for_one_by_hand() {
    let mut endpoint = read(GOOD).unwrap().endpoint;
    endpoint.key = EndpointKey { container_id: "Pod_1".into(), ..endpoint.key };
    endpoint.interface = None;
    let it = WorkloadEndpoint::of_runtime(&endpoint);
    assert_eq!(it.name, "n1-pod-1-eth0");
    assert!(!it.endpoint.key.is_by_hand());
    let again = read_documents("a.yaml", &object_to_yaml(&Object::WorkloadEndpoint(it))).unwrap();
    let problems = check_objects(&[], &[again[0].value.clone()], &[]).unwrap_err();
    assert!(problems[0].to_string().contains("is an interface that the agent itself could make"), "{}", problems[0]);
}

#[test]
fn what_cannot_be_is_refused_at_its_field() {
    for (from, to, wanted) in [
        ("interfaceName: rnw-vm, ", "", "spec.interfaceName: missing"),
        ("rnw-vm", "cali1234", "(ip link set dev cali1234 name rnw-NAME, and write that here)"),
        ("10.77.0.9/32", "10.77.0.0/24", "spec.ipNetworks[0]: 10.77.0.0/24 is more than one address"),
        ("'fd77::9'", "10.77.0.10", "spec.ipNetworks: more than one address of a family"),
        ("pod: web", "ipNATs: []", "spec.ipNATs: unknown field"),
        ("node: n1, ", "", "spec.node: missing"),
    ] {
        let error = read(&GOOD.replace(from, to)).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}
