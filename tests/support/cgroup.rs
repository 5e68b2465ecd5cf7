//! Control groups that container runtimes leave behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Removes a group that a test named (`/NAME`), under every controller, as soon as its processes have ended.
pub fn remove_group(name: &str) {
    let controllers = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let controllers = controllers.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    let groups: Vec<PathBuf> = controllers.map(|at| at.join(name.trim_start_matches('/'))).collect();
    let deadline = Instant::now() + Duration::from_secs(15);
    while groups.iter().any(|group| group.exists()) && Instant::now() < deadline {
        groups.iter().for_each(|group| remove_below(group));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Empty groups, from the leaves up.
fn remove_below(group: &Path) {
    let inside = std::fs::read_dir(group).into_iter().flatten().flatten();
    inside.map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| remove_below(&path));
    let _ = std::fs::remove_dir(group);
}
