package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// InUseError says that another process has the directory open.
type InUseError struct {
	Dir string
	PID int // 0 if unknown
}

func (e *InUseError) Error() string {
	who := "another dispatchai process"
	if e.PID > 0 {
		who += fmt.Sprintf(" (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s is using %s; stop it or choose another --data-dir", who, e.Dir)
}

// dirLock is held on a directory as long as the process lives: the system
// releases it even after SIGKILL.
type dirLock struct {
	flock *flock.Flock
	pid   string
}

func lockDir(dir string) (*dirLock, error) {
	l := &dirLock{
		flock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600)),
		pid:   filepath.Join(dir, "pid"),
	}
	ok, err := l.flock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("embedded log: lock %s: %w", dir, err)
	}
	if !ok {
		return nil, &InUseError{Dir: dir, PID: readPID(l.pid)}
	}
	if err := os.WriteFile(l.pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded log: %w", err), l.flock.Unlock())
	}
	return l, nil
}

func readPID(path string) int {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

func (l *dirLock) release() error {
	err := os.Remove(l.pid)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.flock.Unlock())
}
