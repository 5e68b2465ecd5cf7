//! Images and root file systems of busybox, and nothing else.

use std::path::Path;

use crate::support::run;

/// A root file system with busybox under all names that it answers to.
pub fn busybox_root(root: &Path) {
    std::fs::create_dir_all(root.join("bin")).expect("a folder");
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox (make deps)");
    std::fs::copy(busybox, root.join("bin/busybox")).expect("a copy");
    for applet in run(busybox, &["--list"]).lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
}

/// The same as a tar, which docker and podman import.
pub fn busybox_tar(folder: &Path) -> String {
    let (root, tar) = (folder.join("image"), folder.join("image.tar").display().to_string());
    busybox_root(&root);
    run("tar", &["-C", &root.display().to_string(), "-cf", &tar, "."]);
    tar
}
