//! Why the database could not be read or written, and whether it may be tried again.

use redb::DatabaseError;

use super::reserve::is_full;

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error("a row is not what it should be: {0}")]
    Row(#[from] minicbor::decode::Error),
    #[error("archive: {0}")]
    Archive(#[from] std::io::Error),
    #[error("a store failed before; the disk is not trusted any more")]
    FailedBefore,
    #[error("there is no archive to keep what would be replaced")]
    NoArchive,
    #[error("open it anew: {0}")]
    Reopen(#[from] DatabaseError),
}

impl ReadError {
    /// Whether there was no space, and it may be tried again when there is.
    pub(super) fn is_full(&self) -> bool {
        match self {
            ReadError::Redb(redb::Error::Io(error))
            | ReadError::Archive(error)
            | ReadError::Reopen(DatabaseError::Storage(redb::StorageError::Io(error))) => {
                is_full(error)
            }
            ReadError::Redb(_)
            | ReadError::Reopen(_)
            | ReadError::Row(_)
            | ReadError::FailedBefore
            | ReadError::NoArchive => false,
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for ReadError {
            fn from(error: redb::$error) -> ReadError {
                ReadError::Redb(error.into())
            }
        })*
    };
}

from_redb!(StorageError, TableError, TransactionError, CommitError);
