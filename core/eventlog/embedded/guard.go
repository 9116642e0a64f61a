package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// guard finds out whether the broker's syncs have failed, which the broker
// itself does not look at. It keeps its own descriptor of every file that is
// being written: the system tells each descriptor once that data of its file
// could not be written back, so the broker's descriptor having been told does
// not hide it from the guard's.
//
// What it cannot see is a sync that fails for the very first batch of a new
// file, before the guard has opened it; a disk that fails only then and never
// again is not a disk one meets.
type guard struct {
	dir       string // of the partitions
	rollBytes int64
	syncError func(*os.File) error
	fail      func(error)

	mu     sync.Mutex
	files  map[string]*os.File // the newest segment by the partition's directory
	err    error
	closed bool
}

func newGuard(dir string, rollBytes int64, syncError func(*os.File) error, fail func(error)) *guard {
	return &guard{dir: dir, rollBytes: rollBytes, syncError: syncError, fail: fail, files: make(map[string]*os.File)}
}

// verify returns an error, for good, once data could not be written.
func (g *guard) verify() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	if g.closed {
		return os.ErrClosed
	}
	if err := g.check(); err != nil {
		g.err = fmt.Errorf("data could not be written to disk: %w", err)
		g.fail(g.err)
	}
	return g.err
}

func (g *guard) check() error {
	partitions, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		name := p.Name()
		f := g.files[name]
		if f != nil {
			if err := g.syncError(f); err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
			info, err := f.Stat()
			if err != nil {
				return err
			}
			if info.Size() < g.rollsAt(name) {
				continue
			}
		}
		newest, err := newestSegment(filepath.Join(g.dir, name))
		if err != nil {
			return err
		}
		if newest == "" || f != nil && newest == f.Name() {
			continue
		}
		next, err := os.Open(newest)
		if err != nil {
			return err
		}
		if f != nil {
			f.Close()
		}
		g.files[name] = next
		if err := g.syncError(next); err != nil {
			return fmt.Errorf("%s: %w", newest, err)
		}
	}
	return nil
}

// rollsAt is the size at which the broker begins a new file for a partition.
func (g *guard) rollsAt(partition string) int64 {
	if topic, _, ok := strings.Cut(partition, "-"); ok && eventlog.Compacted(topic) {
		return min(g.rollBytes, eventlog.CompactedSegmentBytes)
	}
	return g.rollBytes
}

func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, f := range g.files {
		f.Close()
	}
	clear(g.files)
}

// segment is one file of a partition.
type segment struct {
	base int64
	size int64
	path string
}

// segments lists a partition's files by offset.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var segs []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // trimmed meanwhile
		}
		if err != nil {
			return nil, err
		}
		segs = append(segs, segment{base, info.Size(), filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(segs, func(a, b segment) int { return int(min(1, max(-1, a.base-b.base))) })
	return segs, nil
}

func newestSegment(dir string) (string, error) {
	segs, err := segments(dir)
	if err != nil || len(segs) == 0 {
		return "", err
	}
	return segs[len(segs)-1].path, nil
}

// logHook passes the broker's log on, and stops the log when the broker says
// that it could not write one of its own files. The broker would go on: it
// would append after bytes that may be torn, and take a producer's next attempt
// for a duplicate of the one that failed, and acknowledge it.
type logHook struct {
	logger     *slog.Logger
	fail       func(error)
	partitions string
}

func (h *logHook) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	ctx := context.Background()
	if to >= slog.LevelWarn {
		msg := fmt.Sprintf(format, args...)
		switch {
		case strings.Contains(format, "truncating"):
			h.truncated(msg, args)
			return
		case strings.HasPrefix(format, "persist"), strings.HasPrefix(format, "rebuildSegments"),
			strings.Contains(format, "truncate"), strings.Contains(format, "stat active segment"):
			h.fail(errors.New(msg))
		}
		h.logger.Log(ctx, to, "broker: "+msg)
		return
	}
	if h.logger.Enabled(ctx, to) {
		h.logger.Log(ctx, to, "broker: "+fmt.Sprintf(format, args...))
	}
}

// truncated judges what the broker cut off a file while opening it. At the end
// of the newest file that is the rest of a write that was never acknowledged;
// anywhere else it is damage to records that were.
func (h *logHook) truncated(msg string, args []any) {
	if len(args) == 4 {
		dir := filepath.Join(h.partitions, fmt.Sprintf("%v-%v", args[0], args[1]))
		if newest, err := newestSegment(dir); err == nil && filepath.Base(newest) == fmt.Sprintf("%v.dat", args[2]) {
			h.logger.Warn("broker: the last write before a crash was incomplete and never acknowledged; it was removed", "detail", msg)
			return
		}
	}
	h.logger.Error("data loss: a file of the event log is damaged, and records in it are lost; check the disk", "detail", msg)
}
