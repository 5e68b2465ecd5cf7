//! `docker-compose.yml` and the `Dockerfile` as a user runs them, with a real dockerd and docker-compose 1.29: images built,
//! hosts, ToR and workloads up, the verdict of `check`, faults, and nothing left after `down`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::dockerd::Dockerd;
use crate::fixture::Site;
use crate::support::hosts::Namespace;
use crate::support::{in_fresh_netns, run, wait_for};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROJECT: &str = "rn";

/// A dockerd with the images that the files name, and a copy of the files with the programs that were built outside.
struct Compose {
    dockerd: Dockerd,
    project: PathBuf,
}

impl Compose {
    fn new(site: &Site, host: &Namespace) -> Compose {
        let mut dockerd = Dockerd::prepare(site, host, 1);
        let runtime = format!("local={ROOT}/tests/docker/oci-runtime");
        dockerd.flags = ["--add-runtime", &runtime, "--default-runtime", "local"].map(String::from).to_vec();
        dockerd.launch();
        images(&dockerd);

        let project = site.path("project");
        std::fs::create_dir_all(project.join("target/image")).expect("a folder");
        for name in ["Dockerfile", ".dockerignore", "docker-compose.yml", "config"] {
            run("cp", &["-r", &format!("{ROOT}/{name}"), &project.display().to_string()]);
        }
        let programs = Path::new(env!("CARGO_BIN_EXE_routectl")).parent().expect("a folder");
        for name in ["routenetd", "routectl", "routenet"] {
            std::fs::copy(programs.join(name), project.join("target/image").join(name)).expect("a built program");
        }
        Compose { dockerd, project }
    }

    /// A command of docker-compose's that must succeed.
    fn compose(&self, args: &[&str]) {
        let mut command = self.dockerd.client("docker-compose", &["--project-name", PROJECT]);
        let output = command.args(args).current_dir(&self.project).output().expect("docker-compose (make deps)");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docker-compose {}: {out}{err}\n{}", args.join(" "), self.logs());
    }

    /// What the services said last.
    fn logs(&self) -> String {
        let mut command = self.dockerd.client("docker-compose", &["--project-name", PROJECT, "logs", "--tail=15"]);
        let output = command.arg("--no-color").current_dir(&self.project).output().expect("docker-compose");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The exit code of the check that runs, and all that it said.
    fn verdict(&self) -> (String, String) {
        let code = self.dockerd.docker(&["wait", "rn_check_1"]);
        let said = self.dockerd.try_docker(&["logs", "rn_check_1"]);
        (code, String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Runs the check again.
    fn check(&self) -> (String, String) {
        self.dockerd.docker(&["rm", "rn_check_1"]);
        self.compose(&["up", "--detach", "--no-deps", "check"]);
        self.verdict()
    }

    fn routectl(&self, node: &str, args: &[&str]) -> String {
        self.dockerd.docker(&[&["exec", &format!("rn_{node}_1"), "routectl"], args].concat())
    }

    /// The address of a workload, once it has one.
    fn address(&self, workload: &str) -> String {
        let mut address = String::new();
        wait_for(&format!("an address of {workload}"), Duration::from_secs(60), || {
            let listed = self.routectl("node1", &["endpoints"]);
            let line = listed.lines().find(|line| line.split_whitespace().nth(1) == Some(workload));
            address = line.and_then(|line| line.split_whitespace().nth(4)).unwrap_or_default().to_string();
            !address.is_empty()
        });
        address
    }

    /// What a workload gets from another's port 80.
    fn fetch(&self, from: &str, address: &str) -> String {
        // Debian's static busybox has a wget that crashes: it looks names up in libraries that are not there.
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80");
        let got = self.dockerd.try_docker(&["exec", &format!("rn_{from}_1"), "sh", "-c", &ask]);
        String::from_utf8_lossy(&[got.stdout, got.stderr].concat()).into_owned()
    }

    fn serves(&self, from: &str, address: &str) -> bool {
        self.fetch(from, address).contains("hello from")
    }
}

/// What a user's Docker would pull, under the same names.
fn images(dockerd: &Dockerd) {
    let made = run(&format!("{ROOT}/scripts/test-images"), &[]);
    let debian = "debian:bookworm-slim";
    dockerd.docker(&["import", made.trim(), debian]);
    for (name, line) in [
        // Its cargo is not called: the programs were built outside.
        ("rust:1-bookworm", ""),
        ("quay.io/coreos/etcd:v3.5.21", ""),
        ("quay.io/frrouting/frr:9.1.0", "ENTRYPOINT [\"/usr/lib/frr/docker-start\"]"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("Dockerfile"), format!("FROM {debian}\n{line}\n")).expect("a file");
        dockerd.docker(&["build", "--quiet", "--tag", name, &folder.path().display().to_string()]);
    }
    dockerd.import_busybox("busybox:1");
}

/// What the check claims, in its order.
const CLAIMS: [&str; 9] = [
    "ping web2",
    "HTTP to web2",
    "HTTP to db1",
    "ping db1",
    "ping batch1",
    "HTTP to batch1",
    "node1 is well",
    "node2 is well",
    "node3 is well",
];

/// Every claim has its line, and these, and no others, fail.
fn assert_verdicts(said: &str, failing: &[&str]) {
    let lines: Vec<&str> =
        said.lines().filter(|line| line.starts_with("  ok    ") || line.starts_with("  FAIL  ")).collect();
    assert_eq!(lines.len(), CLAIMS.len(), "a line a claim:\n{said}");
    for (line, claim) in lines.into_iter().zip(CLAIMS) {
        let verdict = if failing.contains(&claim) { "FAIL" } else { "ok" };
        assert!(
            line.starts_with(&format!("  {verdict:<6}{claim}")),
            "`{line}`, expected {verdict} {claim} in:\n{said}"
        );
    }
}

const OPEN: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec: {order: 1, selector: app == 'database', types: [Ingress], ingress: [{action: Allow}]}
";

#[test]
fn a_cluster_comes_up_is_checked_loses_its_tor_and_a_host_and_goes() {
    in_fresh_netns(|| {
        let (site, host) = (Site::new(), Namespace::new());
        let cluster = Compose::new(&site, &host);
        let begun = Instant::now();
        cluster.compose(&["up", "--detach"]);
        let (code, said) = cluster.verdict();
        println!("compose: from `up` to the verdict {:.1} s", begun.elapsed().as_secs_f32());
        assert_eq!(code, "0", "{said}\n{}", cluster.logs());
        assert_verdicts(&said, &[]);
        assert_eq!(said.matches("all is well: 3 nodes").count(), 3, "each agent says so:\n{said}");

        // The ToR is the only way between the racks, and not the way inside one.
        let (web2, db1) = (cluster.address("web2"), cluster.address("db1"));
        for address in [&db1, &web2] {
            assert!(cluster.serves("web1", address), "{}", cluster.fetch("web1", address));
        }
        cluster.compose(&["kill", "tor"]);
        wait_for("the far rack to be cut off", Duration::from_secs(60), || !cluster.serves("web1", &db1));
        let (code, said) = cluster.check();
        assert_eq!(code, "1", "{said}");
        assert_verdicts(&said, &["HTTP to db1", "node1 is well", "node2 is well", "node3 is well"]);
        assert!(!said.contains("all is well"), "{said}");
        for tor in ["172.30.1.254", "172.30.2.254"] {
            assert!(said.contains(tor), "status names the neighbour that is away:\n{said}");
        }
        let begun = Instant::now();
        cluster.compose(&["up", "--detach", "--no-deps", "tor"]);
        wait_for("the far rack to be back", Duration::from_secs(60), || cluster.serves("web1", &db1));
        println!("compose: ToR started: traffic back after {:.1} s", begun.elapsed().as_secs_f32());
        let (code, said) = cluster.check();
        assert_eq!(code, "0", "{said}\n{}", cluster.logs());
        assert_verdicts(&said, &[]);

        // A host takes its workloads along; they come back as new ones, at addresses that may be others.
        cluster.compose(&["restart", "node2"]);
        cluster.compose(&["up", "--detach"]);
        let (code, said) = cluster.verdict();
        assert_eq!(code, "0", "{said}\n{}", cluster.logs());

        // The check notices what is open and should not be.
        std::fs::write(cluster.project.join("config/compose/open.yaml"), OPEN).expect("a file");
        cluster.routectl("node1", &["apply", "-f", "/opt/compose/open.yaml"]);
        wait_for("the database to be open", Duration::from_secs(10), || cluster.serves("web2", &db1));
        let (code, said) = cluster.check();
        assert_eq!(code, "1", "{said}");
        assert_verdicts(&said, &["ping db1"]);

        cluster.compose(&["down", "--volumes"]);
        for list in [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-q", "-f", "driver=bridge"]] {
            assert_eq!(cluster.dockerd.docker(list), "", "docker {}", list.join(" "));
        }
    });
}
