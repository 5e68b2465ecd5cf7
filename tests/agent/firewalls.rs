//! Debian's ufw and firewalld on one host of a test: in mount and PID namespaces of their own, on copies of their
//! configuration, so that they find nothing of the machine's and leave nothing on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::Site;
use crate::support::hosts::Namespace;
use crate::support::{Process, wait_for};

/// A firewall of a host; it ends, and its rules stay, when this is dropped.
pub struct Firewall {
    /// `unshare`: all that runs inside ends with it.
    keeper: Process,
    host: String,
    folder: PathBuf,
}

/// What a bus needs that nobody else is on.
const BUS: &str = "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
    'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context='default'><allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/></policy></busconfig>";

impl Firewall {
    /// ufw, not enabled yet, on `nft` or `legacy`.
    pub fn ufw(site: &Site, host: &Namespace, backend: &str) -> Firewall {
        Firewall::prepare(site, host, backend, "exec sleep 3600")
    }

    /// A running firewalld that has `nftables` or `iptables` as its own back end.
    pub fn firewalld(site: &Site, host: &Namespace, own: &str, backend: &str) -> Firewall {
        site.write("bus.conf", BUS);
        let script = format!(
            "mkdir -p /run/dbus /run/firewalld\n\
             sed -i 's/^FirewallBackend=.*/FirewallBackend={own}/' /etc/firewalld/firewalld.conf\n\
             dbus-daemon --config-file={folder}/bus.conf --nofork --nopidfile 2>/dev/null &\n\
             exec firewalld --nofork --nopid --log-file {folder}/firewalld.log >{folder}/firewalld.out 2>&1",
            folder = site.directory.path().display()
        );
        let firewall = Firewall::prepare(site, host, backend, &script);
        wait_for("firewalld", Duration::from_secs(60), || firewall.tries("firewall-cmd --state --quiet"));
        firewall
    }

    /// Their `iptables` is the one of the back end; its lock is the machine's, as it is for the agent.
    fn prepare(site: &Site, host: &Namespace, backend: &str, rest: &str) -> Firewall {
        let folder = site.path("firewall");
        std::fs::create_dir_all(&folder).expect("a folder");
        let at = folder.display();
        let other = if backend == "nft" { "legacy" } else { "nft" };
        let script = format!(
            "set -e\n\
             mount --make-rprivate /\n\
             touch /run/xtables.lock {at}/lock\n\
             mount --bind /run/xtables.lock {at}/lock\n\
             mount -t tmpfs tmpfs /run\n\
             touch /run/xtables.lock\n\
             mount --bind {at}/lock /run/xtables.lock\n\
             for one in ufw firewalld default; do\n\
                 cp -a /etc/$one {at}/$one\n\
                 mount --bind {at}/$one /etc/$one\n\
             done\n\
             mount --bind /usr/sbin/xtables-{backend}-multi /usr/sbin/xtables-{other}-multi\n\
             touch {at}/ready\n\
             {rest}"
        );
        let mut command = host.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "sh", "-c", &script]);
        let keeper = Process(command.stdin(Stdio::null()).spawn().expect("unshare, of util-linux"));
        let firewall = Firewall { keeper, host: host.path(), folder };
        wait_for("the firewall's namespaces", Duration::from_secs(10), || firewall.folder.join("ready").exists());
        firewall
    }

    fn command(&self, line: &str) -> Command {
        let unshare = self.keeper.0.id();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
        let init = children.split_whitespace().next().expect("the keeper runs").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--target", &init, &format!("--net={}", self.host), "--", "sh", "-c", line]);
        command.stdin(Stdio::null());
        command
    }

    pub fn tries(&self, line: &str) -> bool {
        self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// A line for a shell, which must succeed; answers what it said.
    pub fn runs(&self, line: &str) -> String {
        let output = self.command(line).output().expect("nsenter, of util-linux");
        let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {said}{complaint}{}", self.log());
        said.into_owned()
    }

    fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(Path::new(&self.folder).with_file_name(name));
        ["firewalld.out", "firewalld.log"].into_iter().flat_map(read).collect()
    }
}
