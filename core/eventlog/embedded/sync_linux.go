package embedded

import (
	"os"
	"syscall"
)

// waitBefore is SYNC_FILE_RANGE_WAIT_BEFORE.
const waitBefore = 1

// writebackError tells whether data of the file could not be written back since
// the file was opened or last asked. It looks at the first page alone, so it
// waits for next to nothing and syncs nothing; the error it reports is the
// whole file's.
func writebackError(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = raw.Control(func(fd uintptr) {
		for {
			syncErr = syscall.SyncFileRange(int(fd), 0, 1, waitBefore)
			if syncErr != syscall.EINTR {
				break
			}
		}
		if syncErr == syscall.ENOSYS || syncErr == syscall.ESPIPE || syncErr == syscall.EINVAL {
			syncErr = syscall.Fsync(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return syncErr
}
