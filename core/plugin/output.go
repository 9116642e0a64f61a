package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// The bounds of what a plugin gets to write into the host's log.
const (
	maxLine        = 4 << 10
	linesPerSecond = 100
	keptLines      = 5
)

// output puts what a process prints into the host's log, line by line, no more
// than so many a second, and keeps the last lines for the error that follows.
type output struct {
	log     *slog.Logger
	redact  *redactor
	metrics *metrics

	mu      sync.Mutex
	writers []*lineWriter
	second  time.Time
	count   int
	dropped int
	last    []string
}

func newOutput(log *slog.Logger, redact *redactor, m *metrics) *output {
	return &output{log: log, redact: redact, metrics: m}
}

// writer gives a writer for one stream of the process.
func (o *output) writer(stream string) *lineWriter {
	w := &lineWriter{stream: stream, output: o}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writers = append(o.writers, w)
	return w
}

// flush logs what was written without a newline at the end.
func (o *output) flush() {
	o.mu.Lock()
	writers := o.writers
	o.mu.Unlock()
	for _, w := range writers {
		w.flush()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reportLocked()
}

// lastLines gives the end of the output as the end of an error's text.
func (o *output) lastLines() string {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == 0 {
		return ""
	}
	return "; its last words: " + strings.Join(o.last, " | ")
}

func (o *output) line(stream string, raw []byte, truncated bool) {
	raw = bytes.TrimRight(raw, "\r\n \t")
	if len(raw) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Sub(o.second) >= time.Second {
		o.reportLocked()
		o.second, o.count = now, 0
	}
	if o.count++; o.count > linesPerSecond {
		o.dropped++
		o.metrics.linesDropped.Inc()
		return
	}
	o.metrics.lines.Inc()
	level, text := slog.LevelInfo, string(raw)
	if l, message, ok := structured(raw); ok {
		level = l
		if message != "" {
			o.keepLocked(message)
		}
	} else {
		if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
			level = slog.LevelError
		}
		o.keepLocked(text)
	}
	attrs := []slog.Attr{slog.String("stream", stream), slog.String("line", o.redact.text(text, maxLine))}
	if truncated {
		attrs = append(attrs, slog.Bool("truncated", true))
	}
	o.log.LogAttrs(context.Background(), level, "plugin output", attrs...)
}

func (o *output) keepLocked(text string) {
	if len(o.last) == keptLines {
		o.last = append(o.last[:0], o.last[1:]...)
	}
	o.last = append(o.last, o.redact.text(text, 200))
}

func (o *output) reportLocked() {
	if o.dropped > 0 {
		o.log.Warn("plugin output dropped: it writes too much", "lines", o.dropped, "limit_per_second", linesPerSecond)
		o.dropped = 0
	}
}

// structured reads a line of JSON as slog and hclog write it.
func structured(raw []byte) (slog.Level, string, bool) {
	if raw[0] != '{' {
		return 0, "", false
	}
	var record struct {
		Level    string `json:"level"`
		Message  string `json:"msg"`
		Level2   string `json:"@level"`
		Message2 string `json:"@message"`
	}
	if json.Unmarshal(raw, &record) != nil || record.Level+record.Level2 == "" {
		return 0, "", false
	}
	var level slog.Level
	switch strings.ToLower(record.Level + record.Level2) {
	case "trace", "debug":
		level = slog.LevelDebug
	case "warn", "warning":
		level = slog.LevelWarn
	case "error", "critical", "fatal":
		level = slog.LevelError
	}
	return level, record.Message + record.Message2, true
}

// lineWriter cuts a stream into lines of at most maxLine bytes; what a line has
// beyond is skipped.
type lineWriter struct {
	stream string
	output *output

	mu   sync.Mutex
	line []byte
	long bool
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	written := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		if room := maxLine - len(w.line); len(part) > room {
			part, w.long = part[:room], true
		}
		w.line = append(w.line, part...)
		if ended {
			w.emitLocked()
		}
	}
	return written, nil
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emitLocked()
}

func (w *lineWriter) emitLocked() {
	w.output.line(w.stream, w.line, w.long)
	w.line, w.long = w.line[:0], false
}
