// Package embedded runs the event log inside the process: franz-go's kfake, one
// broker with its data in a directory, every write synced, reached over a Unix
// socket in that directory. It adds what kfake leaves to its user: a lock on
// the directory, retention behind the slowest group, a bound on disk, and the
// guard that a failed write or sync is never acknowledged.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// Options describe an embedded log. Dir and Groups are needed; zero values
// elsewhere mean the defaults.
type Options struct {
	// Dir holds the log and nothing else. It is created with mode 0700.
	Dir string
	// Groups names every consumer group and the topics it reads. A record is
	// deleted only when each group that reads its topic has committed past it;
	// a group that has never committed protects all of its topics. A topic that
	// no group reads keeps everything, except that dead letters go once they
	// are resolved, and compacted topics keep the newest record of each key.
	Groups map[string][]string

	// MaxBytes bounds the directory: beyond it appends of what comes from
	// outside fail with eventlog.ErrFull until space is freed. What follows from
	// it, results and dead letters, has a quarter more, because space is only
	// freed by working. Default 2 GiB.
	MaxBytes int64
	// MinFreeBytes is kept free on the file system in the same way. Default
	// 256 MiB.
	MinFreeBytes int64
	// ReadBackBytes is what stays of each partition although every group has
	// read it, for those who read back without a group. It shrinks when the
	// bound on disk is near. Default 64 MiB.
	ReadBackBytes int64
	// SegmentBytes is the size of the files in which the log is kept and
	// deleted. Default 8 MiB.
	SegmentBytes int64
	// TrimInterval is how often the log is trimmed and measured. Default 2 s.
	TrimInterval time.Duration
	// Partitions per topic. Default 1: every partition of a batch costs a sync
	// of its own, and order is kept per key within one partition anyway.
	Partitions int32

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// syncError, if not nil, replaces the question whether the data of a file
	// could not be written back; tests inject faults with it.
	syncError func(*os.File) error
}

// Broker is a running embedded log. One process at a time has a directory open.
type Broker struct {
	opts    Options
	logger  *slog.Logger
	lock    *dirLock
	ln      *listener
	cluster *kfake.Cluster
	guard   *guard
	disk    *disk
	trimmer *trimmer

	stop    context.CancelFunc
	loops   sync.WaitGroup
	failed  chan struct{}
	closing chan struct{}

	mu     sync.Mutex
	err    error
	closed bool
}

// Open starts the log in opts.Dir, creating it if need be. If another process
// has it open, the error is an *InUseError.
func Open(ctx context.Context, opts Options) (*Broker, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	if err := os.Chmod(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded log: %s must belong to the user that runs this process: %w", opts.Dir, err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		opts: opts, logger: opts.Logger, lock: lock,
		failed: make(chan struct{}), closing: make(chan struct{}),
	}
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (o *Options) validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("no Dir"))
	} else if abs, err := filepath.Abs(o.Dir); err != nil {
		errs = append(errs, err)
	} else {
		o.Dir = abs
	}
	if len(o.Groups) == 0 {
		errs = append(errs, errors.New("no Groups: nothing would ever be trimmed"))
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 256 << 20
	}
	if o.ReadBackBytes == 0 {
		o.ReadBackBytes = 64 << 20
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 8 << 20
	}
	if o.MaxBytes < 0 || o.MinFreeBytes < 0 || o.ReadBackBytes < 0 || o.SegmentBytes < 0 {
		errs = append(errs, errors.New("a size is negative"))
	}
	if o.TrimInterval <= 0 {
		o.TrimInterval = 2 * time.Second
	}
	if o.Partitions <= 0 {
		o.Partitions = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.syncError == nil {
		o.syncError = writebackError
	}
	if len(errs) > 0 {
		return fmt.Errorf("embedded log: %w", errors.Join(errs...))
	}
	return nil
}

// dataDir is where kfake keeps its files, apart from the lock and the socket.
func dataDir(dir string) string { return filepath.Join(dir, "kafka") }

func (b *Broker) start(ctx context.Context) error {
	data := dataDir(b.opts.Dir)
	if err := prepare(data, b.logger); err != nil {
		return err
	}
	var err error
	b.guard = newGuard(filepath.Join(data, "partitions"), b.opts.SegmentBytes, b.opts.syncError, b.fail)
	if b.disk, err = newDisk(data, b.opts.MaxBytes, b.opts.MinFreeBytes, b.opts.Registerer); err != nil {
		return err
	}
	if b.ln, err = listen(b.opts.Dir, b.guard); err != nil {
		return err
	}
	hook := &logHook{logger: b.logger, fail: b.fail, partitions: filepath.Join(data, "partitions")}
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("dispatchai"),
		kfake.DataDir(data),
		kfake.SyncWrites(),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.ln, nil }),
		kfake.WithLogger(hook),
		kfake.DefaultNumPartitions(int(b.opts.Partitions)),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes": strconv.Itoa(maxBatchBytes),
			"log.segment.bytes": strconv.FormatInt(b.opts.SegmentBytes, 10),
			// A group's offsets outlive any time the machine is switched off.
			"offsets.retention.minutes": strconv.Itoa(1<<31 - 1),
			"state.log.compact.bytes":   strconv.Itoa(4 << 20),
			"fetch.max.bytes":           strconv.Itoa(64 << 20),
		}),
	)
	if err != nil {
		return fmt.Errorf("embedded log: open %s: %w", data, err)
	}
	if err := b.Err(); err != nil {
		return err
	}
	if err := syncDirs(b.opts.Dir, data, filepath.Join(data, "partitions")); err != nil {
		return fmt.Errorf("embedded log: %w", err)
	}
	cluster, err := eventlog.NewCluster(b.Config(), b.logger)
	if err != nil {
		return err
	}
	if b.trimmer, err = newTrimmer(b, cluster); err != nil {
		cluster.Close()
		return err
	}
	if err := cluster.Ping(ctx); err != nil {
		return fmt.Errorf("embedded log: it does not answer: %w", err)
	}
	loopCtx, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.loops.Go(func() { b.trimmer.run(loopCtx) })
	return nil
}

// maxBatchBytes is the largest batch the broker takes for a topic that sets no
// limit of its own: the largest record of any topic.
const maxBatchBytes = eventlog.MaxRecordBytes + 2<<20

// Config says how this process, and nobody else, reaches the log.
func (b *Broker) Config() eventlog.Config {
	return eventlog.Config{
		Options:     dialOptions(b.opts.Dir),
		Partitions:  b.opts.Partitions,
		Replication: 1,
		Rounds:      1,
		Admit:       b.admit,
		Failed:      b.failed,
		Failure:     b.Err,
	}
}

func dialOptions(dir string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(brokerAddr),
		kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dir) }),
		// Reconnecting to a socket in the same process is cheap: there is
		// nobody to spare with long delays.
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(time.Duration(n)*20*time.Millisecond, 500*time.Millisecond) }),
	}
}

// admit refuses appends while there is no room or after a failure.
func (b *Broker) admit(topic string, bytes int) error {
	if err := b.Err(); err != nil {
		return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, err)
	}
	err := b.disk.admit(topic, int64(bytes))
	if err != nil {
		b.trimmer.kick()
		if holder := b.trimmer.holder(); holder != "" {
			return fmt.Errorf("%w; %s", err, holder)
		}
	}
	return err
}

// Failed is closed when the log cannot be trusted any more: a write or a sync
// has failed. From then on nothing is acknowledged; Err says why, and a restart
// of the process recovers what was acknowledged before.
func (b *Broker) Failed() <-chan struct{} { return b.failed }

// Err returns why the log has failed, or nil.
func (b *Broker) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Health returns nil if the log works and has room.
func (b *Broker) Health() error {
	if err := b.Err(); err != nil {
		return err
	}
	return b.disk.admit(eventlog.TopicIssuesRaw, 0)
}

// Usage returns the bytes of the log on disk and their bound.
func (b *Broker) Usage() (used, bound int64) { return b.disk.used.Load(), b.opts.MaxBytes }

// fail stops the log from acknowledging anything. It may be called from within
// the broker and does not wait.
func (b *Broker) fail(err error) {
	b.mu.Lock()
	first := b.err == nil
	if first {
		b.logger.Error("the event log has failed and stops acknowledging", "dir", b.opts.Dir, "err", err)
		b.err = fmt.Errorf("embedded log in %s: %w; free space or repair the disk, then restart", b.opts.Dir, err)
		close(b.failed)
	}
	b.mu.Unlock()
	if first && b.ln != nil {
		b.ln.sever()
	}
}

// Close stops the log and releases the directory. Producers and consumers are
// closed before.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	close(b.closing)
	if b.stop != nil {
		b.stop()
	}
	b.loops.Wait()
	if b.trimmer != nil {
		b.trimmer.close()
	}
	if b.cluster != nil {
		b.cluster.Close()
	}
	if b.ln != nil {
		b.ln.Close()
		b.ln.sever()
		b.ln.wait()
	}
	if b.guard != nil {
		b.guard.close()
	}
	return b.lock.release()
}

// syncDirs makes names in directories durable.
func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = f.Sync()
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	return nil
}
