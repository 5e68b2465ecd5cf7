//! `kind: PolicyTest` from YAML, with all errors of a file at once.

use std::net::IpAddr;

use super::super::explain::{Traffic, Verdict};
use super::{Host, Suite, Test, Workload, names};
use crate::model::kind::OWN_VERSION;
use crate::model::yaml::fields::{At, Fields, Report, optional};
use crate::model::yaml::{YamlError, read_labels, read_named_port, tree};
use crate::model::{Isolation, NodeName};

/// The host where workloads are, unless others are given.
const HOST: (&str, &str) = ("host-a", "192.0.2.1");

/// Reads a suite; `file` is its name for the errors.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read(file: &str, text: &str) -> Result<Suite, Vec<YamlError>> {
    let report = Report::new(file);
    let (documents, broken) = tree::parse(text);
    let start = tree::Mark { line: 1, column: 1 };
    if let Some(error) = broken {
        report.add(error.mark, "", error.what, None);
    }
    if let Some(second) = documents.get(1) {
        report.add(second.mark, "", "a second document: expected one PolicyTest", None);
    }
    let suite = documents.first().and_then(|document| read_suite(&At::root(&report, document)));
    if suite.is_none() && report.count() == 0 {
        report.add(start, "", "the file is empty: expected a PolicyTest", None);
    }
    report.conclude(suite)?.ok_or_else(Vec::new)
}

fn read_suite(at: &At<'_>) -> Option<Suite> {
    let mut fields = at.fields()?;
    if let Some(version) = fields.required("apiVersion", OWN_VERSION) {
        version.one_of("apiVersion", &[(OWN_VERSION, ())]);
    }
    if let Some(kind) = fields.required("kind", "PolicyTest") {
        kind.one_of("kind", &[("PolicyTest", ())]);
    }
    let metadata = fields.required("metadata", "a name at least");
    let spec = fields.required("spec", "policies, workloads and tests");
    fields.finish();
    let name = metadata.and_then(|at| {
        let mut fields = at.fields()?;
        let name = fields.required("name", "a name").and_then(|at| at.text().map(str::to_string));
        fields.finish();
        name
    });
    let mut spec = spec?.fields()?;
    let policies =
        spec.required("policies", "a list of files").and_then(|at| at.all(|item| item.text().map(str::to_string)));
    let isolation = spec
        .take("isolation")
        .map(|at| at.one_of("isolation", &[("network", Isolation::Network), ("open", Isolation::Open)]));
    let hosts = spec.take("hosts").map(|at| at.all(|item| read_host(&item)));
    let workloads = spec.take("workloads").map(|at| at.all(|item| read_workload(&item)));
    let tests = spec.required("tests", "a list of questions").and_then(|at| at.all(|item| read_test(&item)));
    spec.finish();
    let (tests, workloads) = (tests?, workloads.unwrap_or_else(|| Some(Vec::new()))?);
    let hosts = hosts.unwrap_or_else(|| {
        let address = HOST.1.parse().expect("an address");
        Some(vec![Host { name: NodeName::new(HOST.0).expect("a name"), addresses: vec![address] }])
    })?;
    if hosts.is_empty() {
        return at.fail_in("spec.hosts", "an empty list: expected one host at least, or none named", None);
    }
    if names(&workloads).len() < workloads.len() {
        return at.fail_in("spec.workloads", "two workloads have the same name in one namespace", None);
    }
    Some(Suite {
        name: name?,
        policies: policies?,
        isolation: isolation.unwrap_or(Some(Isolation::Network))?,
        workloads,
        hosts,
        tests,
    })
}

fn addresses(fields: &mut Fields<'_>) -> Option<Vec<IpAddr>> {
    let addresses = fields.take("addresses").map(|at| at.all(|item| item.parse("an address", str::parse::<IpAddr>)));
    addresses.unwrap_or_else(|| Some(Vec::new()))
}

fn host_name(at: &At<'_>) -> Option<NodeName> {
    at.parse("the name of a host", NodeName::new)
}

fn read_host(at: &At<'_>) -> Option<Host> {
    let mut fields = at.fields()?;
    let name = fields.required("name", "the name of a host").and_then(|at| host_name(&at));
    let addresses = addresses(&mut fields);
    fields.finish();
    Some(Host { name: name?, addresses: addresses? })
}

fn read_workload(at: &At<'_>) -> Option<Workload> {
    let mut fields = at.fields()?;
    let text = |at: At<'_>| at.text().map(str::to_string);
    let name = fields.required("name", "NAMESPACE/NAME, or NAME in namespace default").and_then(text);
    let labels = fields.take("labels").map(|at| read_labels(&at));
    let service_account = fields.take("serviceAccount").map(text);
    let profiles = fields.take("profiles").map(|at| at.all(text));
    let ports = fields.take("ports").map(|at| at.all(|item| read_named_port(&item)));
    let addresses = addresses(&mut fields);
    let host = fields.take("host").map(|at| host_name(&at));
    fields.finish();
    let name = name?;
    let (namespace, name) = name.split_once('/').unwrap_or(("default", &name));
    Some(Workload {
        namespace: namespace.to_string(),
        name: name.to_string(),
        labels: labels.unwrap_or_else(|| Some(Default::default()))?,
        service_account: optional(service_account)?,
        profiles: optional(profiles)?,
        ports: ports.unwrap_or_else(|| Some(Vec::new()))?,
        addresses: addresses?,
        host: optional(host)?,
    })
}

fn read_test(at: &At<'_>) -> Option<Test> {
    let mut fields = at.fields()?;
    let words = |at: At<'_>| match at.is_list() {
        true => at.all(|item| item.text().map(str::to_string)),
        false => at.text().map(|text| vec![text.to_string()]),
    };
    let who = "who: NAMESPACE/NAME, host, host:NAME or an address";
    let from = fields.required("from", who).and_then(words);
    let to = fields.required("to", who).and_then(words);
    let traffic = fields.required("port", "such as tcp/80, udp/53 or icmp").and_then(|at| match at.is_list() {
        true => at.all(|item| item.parse("such as tcp/80", str::parse::<Traffic>)),
        false => at.parse("such as tcp/80", str::parse::<Traffic>).map(|one| vec![one]),
    });
    let verdicts = [("allow", Verdict::Allow), ("deny", Verdict::Deny)];
    let expect = fields.required("expect", "allow or deny").and_then(|at| at.one_of("verdict", &verdicts));
    let because = fields.take("because").map(|at| at.text().map(str::to_string));
    fields.finish();
    Some(Test {
        line: at.line(),
        from: from?,
        to: to?,
        traffic: traffic?,
        expect: expect?,
        because: optional(because)?,
    })
}
