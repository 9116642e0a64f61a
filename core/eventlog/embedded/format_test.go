package embedded_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
)

var writeTestdata = flag.Bool("write-testdata", false, "write testdata/log-v1 anew, with the broker of today")

const formatDir = "testdata/log-v1"

// TestLogFormat opens a log that an earlier version of the broker has written,
// after an orderly stop and after a crash, and checks that its records, its
// commits and its dead letters are understood. When a new version of franz-go
// fails it, users' logs would not survive the upgrade.
func TestLogFormat(t *testing.T) {
	if *writeTestdata {
		writeFormat(t)
	}
	for _, crashed := range []bool{false, true} {
		t.Run(fmt.Sprintf("crashed=%v", crashed), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "kafka"), os.DirFS(formatDir)); err != nil {
				t.Fatal(err)
			}
			if crashed {
				// What only an orderly stop leaves behind.
				snapshots, err := filepath.Glob(filepath.Join(dir, "kafka/partitions/*/snapshot.json"))
				if err != nil || len(snapshots) == 0 {
					t.Fatalf("snapshots %v, %v", snapshots, err)
				}
				for _, s := range snapshots {
					if err := os.Remove(s); err != nil {
						t.Fatal(err)
					}
				}
			}
			b := open(t, embedded.Options{Dir: dir, SegmentBytes: 1024})
			records := readAll(t, b.Config())
			if len(records) != 20 {
				t.Fatalf("%d records, want 20", len(records))
			}
			for i, r := range records {
				if r.Offset != int64(i) || string(r.Value) != formatValue(i) || r.Key != fmt.Sprintf("1#%d", i%3) || r.Header(eventlog.HeaderDelivery) != fmt.Sprintf("guid-%d", i) {
					t.Errorf("record %d: %+v", i, r)
				}
			}
			cl, err := eventlog.NewCluster(b.Config(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			lags, err := cl.Lag(testContext(t), "classify", eventlog.TopicIssuesRaw)
			if err != nil || len(lags) != 1 || lags[0].Committed != 12 || lags[0].End != 20 {
				t.Errorf("lag %+v, %v", lags, err)
			}
			letters, err := eventlog.NewDeadLetters(cl, nil, nil).List(testContext(t), eventlog.ListOptions{})
			if err != nil || len(letters) != 1 || letters[0].Key != "1#9" {
				t.Errorf("dead letters %+v, %v", letters, err)
			}
			p := producer(t, b.Config())
			if err := p.Append(testContext(t), record("1#1", []byte("new"))); err != nil {
				t.Fatal(err)
			}
			var read atomic.Int64
			stop := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { read.Add(1) })
			eventually(t, "the rest and the new one", func() bool { return read.Load() == 9 })
			stop()
		})
	}
}

func formatValue(i int) string {
	return fmt.Sprintf(`{"number":%d,"title":"record %[1]d of the format"}`, i)
}

// writeFormat makes a small log of several segments, with commits and a letter.
func writeFormat(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir, SegmentBytes: 1024})
	p := producer(t, b.Config())
	var read atomic.Int64
	add := func(from, to int) {
		for i := from; i < to; i++ {
			r := record(fmt.Sprintf("1#%d", i%3), []byte(formatValue(i)))
			r.SetHeader(eventlog.HeaderDelivery, fmt.Sprintf("guid-%d", i))
			if err := p.Append(testContext(t), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 12)
	stop := consume(t, b.Config(), p, "classify", func(*eventlog.Record) { read.Add(1) })
	eventually(t, "twelve records", func() bool { return read.Load() == 12 })
	stop()
	add(12, 20)
	letter := eventlog.Record{Topic: eventlog.TopicIssuesDead, Key: "1#9", Value: []byte("{}"), Headers: []eventlog.Header{
		{Key: "dead-topic", Value: []byte(eventlog.TopicIssuesRaw)}, {Key: "dead-error", Value: []byte("no")},
	}}
	if err := p.Append(testContext(t), letter); err != nil {
		t.Fatal(err)
	}
	p.Close(testContext(t))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(formatDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(formatDir, os.DirFS(filepath.Join(dir, "kafka"))); err != nil {
		t.Fatal(err)
	}
}
