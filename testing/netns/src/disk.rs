//! A disk of its own for one daemon, which can be full and which can stall.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Missing, run};
use crate::leftovers;

/// A small file system on a loop device; unmounted with the value.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Makes and mounts a file system of so many MiB (at least 8).
    ///
    /// # Errors
    /// No privilege, no loop devices: reasons to skip.
    pub fn mount(size_mib: u64) -> Result<Disk, Missing> {
        Disk::build(size_mib).map_err(|failure| Missing(format!("a disk cannot be made here: {failure}")))
    }

    fn build(size_mib: u64) -> Result<Disk, Failure> {
        let place = std::env::temp_dir();
        let disk =
            Disk { folder: place.join(leftovers::name("disk")), image: place.join(leftovers::name("image")) };
        fs::create_dir(&disk.folder).map_err(Failure::io(format!("make {}", disk.folder.display())))?;
        let file = fs::File::create(&disk.image).and_then(|file| file.set_len(size_mib << 20));
        file.map_err(Failure::io(format!("make {}", disk.image.display())))?;
        let mkfs = peers::tool("mkfs.ext4").map_err(|missing| Failure::Daemon(missing.to_string()))?;
        run(&mkfs, &["-q", "-m", "0", &disk.image.display().to_string()])?;
        run(Path::new("mount"), &["-o", "loop", &disk.image.display().to_string(), &disk.text()])?;
        Ok(disk)
    }

    fn text(&self) -> String {
        self.folder.display().to_string()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Takes what room is left, but for a few blocks at most. The room comes back with the value.
    ///
    /// # Errors
    /// Anything but a full disk.
    pub fn fill(&self) -> Result<Filling, Failure> {
        let path = self.folder.join("filling");
        let file = fs::File::create(&path).map_err(Failure::io("fill a disk"))?;
        let filling = Filling { path };
        let mut block = 4 << 20;
        let mut at = 0;
        while block >= 4096 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, block) {
                Ok(()) => at += block,
                Err(rustix::io::Errno::NOSPC) => block /= 2,
                Err(cause) => return Err(Failure::io("fill a disk")(cause.into())),
            }
        }
        Ok(filling)
    }

    /// Stalls it: whoever writes or syncs waits until the value is dropped. Reads go on.
    ///
    /// # Errors
    /// What `fsfreeze` says.
    pub fn stall(&self) -> Result<Stall<'_>, Failure> {
        run(Path::new("fsfreeze"), &["--freeze", &self.text()])?;
        Ok(Stall(self))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The next run sweeps what could not be removed.
        let _ = run(Path::new("umount"), &["--lazy", &self.text()]);
        let _ = fs::remove_dir(&self.folder);
        let _ = fs::remove_file(&self.image);
    }
}

/// A disk is full for as long as this lives.
#[derive(Debug)]
pub struct Filling {
    path: PathBuf,
}

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A disk stalls for as long as this lives.
#[derive(Debug)]
pub struct Stall<'a>(&'a Disk);

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        let _ = run(Path::new("fsfreeze"), &["--unfreeze", &self.0.text()]);
    }
}
