//! The file system of a node: an overlay of this machine's, whose changes live and die with the node, with a private
//! `/proc`, `/sys`, `/run`, `/tmp` and the binds on top. Called by [`super::init`], inside the node's namespaces.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::wire::{Spec, SpecBind};

/// Where the machine's own tree is while the node's is being built.
const HOST: &str = "/.host";
/// Mount points that get something else than the machine's.
const PRIVATE: &[&str] = &["/proc", "/sys", "/dev", "/run", "/tmp"];
/// Mount points whose changes stay in the node, as those of `/` do.
const LAYERED: &[&str] = &["/etc", "/opt", "/srv", "/usr", "/usr/local", "/var", "/var/lib"];

/// Builds the node's tree and makes it the root of this process. The mount and PID namespaces must be new ones.
pub fn enter(spec: &Spec) -> Result<(), String> {
    let none = None::<&str>;
    check("/", mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))?;
    let mounts = mount_points().map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    let scratch = &spec.scratch;
    check(scratch.display(), mount(Some("lab"), scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=755")))?;
    check(scratch.display(), nix::unistd::chdir(scratch))?;
    make_dirs(&["root"])?;
    overlay("/", "0", Path::new("root"))?;
    make_dirs(&["root/.host"])?;
    check("root", nix::unistd::chdir("root"))?;
    check("pivot_root", nix::unistd::pivot_root(".", ".host"))?;
    check("/", nix::unistd::chdir("/"))?;
    let layers = PathBuf::from(format!("{HOST}{}", scratch.display()));
    keep_mounts(&mounts, &layers)?;
    own_mounts()?;
    bind(&SpecBind { source: spec.programs.clone(), target: spec.programs.clone(), read_only: false })?;
    write_identity(&spec.name)?;
    for one in &spec.binds {
        bind(one)?;
    }
    check("/", nix::unistd::chdir("/"))?;
    check(HOST, umount2(HOST, MntFlags::MNT_DETACH))?;
    fs::remove_dir(HOST).map_err(|error| format!("{HOST}: {error}"))
}

fn check(what: impl std::fmt::Display, result: nix::Result<()>) -> Result<(), String> {
    result.map_err(|error| format!("{what}: {}", io::Error::from(error)))
}

/// Layers a private writable directory over `lower`. The working directory must be the scratch.
fn overlay(lower: &str, name: &str, target: &Path) -> Result<(), String> {
    let (upper, work) = (format!("upper{name}"), format!("work{name}"));
    make_dirs(&[&upper, &work])?;
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount(Some("lab"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| format!("overlay over {lower}: {error} (the kernel needs overlayfs)"))
}

/// An overlay does not show what is mounted below it: other partitions are brought back.
fn keep_mounts(mounts: &[PathBuf], layers: &Path) -> Result<(), String> {
    check(layers.display(), nix::unistd::chdir(layers))?;
    let mut kept: Vec<&Path> = PRIVATE.iter().map(Path::new).collect();
    for (number, point) in mounts.iter().enumerate() {
        let covered = kept.iter().any(|have| point.starts_with(have));
        if covered || point == Path::new("/") || !point.is_dir() {
            continue;
        }
        let source = format!("{HOST}{}", point.display());
        if LAYERED.iter().any(|layered| point == Path::new(layered)) {
            overlay(&source, &format!("{}", number + 1), point)?;
            continue;
        }
        kept.push(point);
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        // A mount that cannot be brought along (a dead NFS server, an autofs trigger) is no reason to have no node.
        if let Err(error) = mount(Some(source.as_str()), point, None::<&str>, flags, None::<&str>) {
            eprintln!("{}: left out: {error}", point.display());
        }
    }
    Ok(())
}

/// What a node has for its own.
fn own_mounts() -> Result<(), String> {
    let none = None::<&str>;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let dev = format!("{HOST}/dev");
    check("/dev", mount(Some(dev.as_str()), "/dev", none, MsFlags::MS_BIND | MsFlags::MS_REC, none))?;
    check("/proc", mount(Some("proc"), "/proc", Some("proc"), safe | MsFlags::MS_NOEXEC, none))?;
    check("/sys", mount(Some("sysfs"), "/sys", Some("sysfs"), safe | MsFlags::MS_NOEXEC, none))?;
    check("/run", mount(Some("lab"), "/run", Some("tmpfs"), safe, Some("mode=755")))?;
    check("/tmp", mount(Some("lab"), "/tmp", Some("tmpfs"), safe, Some("mode=1777")))?;
    make_dirs(&["/run/lock", "/run/bird", "/var/lib/routenet"])?;
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777))
        .map_err(|error| format!("/run/lock: {error}"))?;
    // The machine's own agent may have state there; a node starts with none.
    check("/var/lib/routenet", mount(Some("lab"), "/var/lib/routenet", Some("tmpfs"), safe, Some("mode=700")))
}

fn write_identity(name: &str) -> Result<(), String> {
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {name}\n");
    for (path, text) in [("/etc/hostname", format!("{name}\n")), ("/etc/hosts", hosts)] {
        fs::write(path, text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

fn bind(one: &SpecBind) -> Result<(), String> {
    let none = None::<&str>;
    let source = PathBuf::from(format!("{HOST}{}", one.source.display()));
    let shown = format!("bind {} to {}", one.source.display(), one.target.display());
    let fail = |error: io::Error| format!("{shown}: {error}");
    let is_dir = fs::metadata(&source).map_err(fail)?.is_dir();
    match is_dir {
        true => fs::create_dir_all(&one.target).map_err(fail)?,
        false => {
            if let Some(parent) = one.target.parent() {
                fs::create_dir_all(parent).map_err(fail)?;
            }
            fs::OpenOptions::new().create(true).append(true).open(&one.target).map_err(fail)?;
        }
    }
    check(&shown, mount(Some(&source), &one.target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none))?;
    if one.read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        check(&shown, mount(none, &one.target, none, flags, none))?;
    }
    Ok(())
}

fn make_dirs(paths: &[&str]) -> Result<(), String> {
    paths.iter().try_for_each(|path| fs::create_dir_all(path).map_err(|error| format!("{path}: {error}")))
}

/// Where something is mounted, parents first. Paths with octal escapes (blanks) are decoded.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let mut points: Vec<PathBuf> = fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|path| path.components().all(|part| part != Component::ParentDir))
        .collect();
    points.sort();
    points.dedup();
    Ok(points)
}

/// Undoes the kernel's `\040` for a blank, `\011`, `\012` and `\134`.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
#[path = "rootfs_tests.rs"]
mod tests;
