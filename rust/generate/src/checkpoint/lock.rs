//! One run at a time has a checkpoint.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::{CheckpointError, beside};

/// The right to go on from a checkpoint and to write it, until it is dropped or the process is gone.
///
/// The lock is on a file beside the checkpoint, `<name>.lock`, which stays: the checkpoint itself is replaced at each save, and a
/// lock file that is removed could be locked twice, before and after.
#[derive(Debug)]
pub struct CheckpointLock {
    _file: File,
}

impl CheckpointLock {
    /// Takes the lock of the checkpoint at `path`, which need not be there yet.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if another run has it, [`CheckpointError::File`].
    pub fn take(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::File { action: "lock", path: path.to_owned(), source };
        let open = File::options().create(true).append(true).open(beside(path, ".lock"));
        let file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(CheckpointError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("state"), folder.path().join("other"));
        let first = CheckpointLock::take(&path).unwrap();

        let second = CheckpointLock::take(&path);

        assert!(
            matches!(&second, Err(CheckpointError::InUse { path: named }) if *named == path),
            "{second:?}"
        );
        assert!(CheckpointLock::take(&other).is_ok());
        drop(first);
        assert!(CheckpointLock::take(&path).is_ok());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = CheckpointLock::take(Path::new("/nowhere/at/all/state")).unwrap_err();

        assert_eq!(error.to_string(), "failed to lock checkpoint `/nowhere/at/all/state`");
    }
}
