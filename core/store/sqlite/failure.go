package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/dispatchai/dispatchai/core/store"
)

// explain adds to an error of the driver what its reader can do about it.
func (s *Store) explain(err error) error {
	var failure *driver.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrSuspended),
		errors.Is(err, store.ErrInvalidCursor), errors.Is(err, store.ErrClosed):
		return err
	case errors.Is(err, sql.ErrConnDone), err.Error() == "sql: database is closed":
		return store.ErrClosed
	case !errors.As(err, &failure):
		return fmt.Errorf("sqlite store %s: %w", s.path, err)
	}
	var advice string
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		advice = "the disk is full; nothing of this write was kept, free some space and it will be tried again"
	case sqlite3.SQLITE_READONLY:
		advice = "the file or its directory cannot be written; check owner, permissions and that the file system is not mounted read-only"
	case sqlite3.SQLITE_CANTOPEN:
		advice = "the file or its -wal and -shm companions cannot be opened; check that its directory exists and the permissions of both"
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		advice = "access was denied; check the owner and permissions of the file and its directory"
	case sqlite3.SQLITE_NOTADB:
		advice = "this is no SQLite database, or its beginning is damaged; give another path, or restore a backup"
	case sqlite3.SQLITE_CORRUPT:
		advice = "the database is damaged; stop, keep a copy of the file with its -wal companion, and restore a backup"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		advice = fmt.Sprintf("another process held the database for more than %s; end it, or give this one a path of its own", busyTimeout)
	case sqlite3.SQLITE_IOERR:
		advice = "the disk failed to read or write; nothing of this write was kept, check the disk and the system's log"
	case sqlite3.SQLITE_PROTOCOL:
		advice = "the file locks do not work; the database must lie on a local file system"
	default:
		return fmt.Errorf("sqlite store %s: %w", s.path, err)
	}
	return fmt.Errorf("sqlite store %s: %s: %w", s.path, advice, err)
}

// diskFailure tells whether the fault lies with the file or its disk, so that
// other writes will meet it, too.
func diskFailure(err error) bool {
	var failure *driver.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return false
}
