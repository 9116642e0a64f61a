package eventlog

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Cursor is a position in some topics: per partition the offset to read next.
// The zero Cursor knows no partition. A Cursor does not change; Advance returns
// another.
type Cursor struct {
	offsets map[partitionID]int64
}

// Bounds of what ParseCursor accepts, since cursors come back from browsers.
const (
	maxCursorBytes      = 16 << 10
	maxCursorPartitions = 1024
)

// ErrBadCursor says that a string is not a Cursor's.
var ErrBadCursor = errors.New("malformed cursor")

// IsZero tells whether the cursor knows no partition.
func (c Cursor) IsZero() bool { return len(c.offsets) == 0 }

// Offset returns the offset to be read next, and whether the cursor knows the
// partition.
func (c Cursor) Offset(topic string, partition int32) (int64, bool) {
	o, ok := c.offsets[partitionID{topic, partition}]
	return o, ok
}

// Covers tells whether the record lies before the cursor.
func (c Cursor) Covers(r *Record) bool {
	o, ok := c.offsets[partitionID{r.Topic, r.Partition}]
	return ok && r.Offset < o
}

// Advance returns a cursor behind all of the records.
func (c Cursor) Advance(records ...*Record) Cursor {
	offsets := maps.Clone(c.offsets)
	if offsets == nil {
		offsets = make(map[partitionID]int64)
	}
	for _, r := range records {
		id := partitionID{r.Topic, r.Partition}
		offsets[id] = max(offsets[id], r.Offset+1)
	}
	return Cursor{offsets}
}

// String returns an opaque form for URLs that ParseCursor understands. Equal
// cursors have equal strings.
func (c Cursor) String() string {
	ids := slices.SortedFunc(maps.Keys(c.offsets), func(a, b partitionID) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
	})
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%d:%d", id.topic, id.id, c.offsets[id])
	}
	return base64.RawURLEncoding.EncodeToString([]byte(b.String()))
}

// MarshalText makes a Cursor a string in JSON.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCursor for JSON.
func (c *Cursor) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCursor(string(text))
	return err
}

// ParseCursor understands what String has written; the empty string is the zero
// Cursor. The error is ErrBadCursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	if len(s) > maxCursorBytes {
		return Cursor{}, fmt.Errorf("%w: longer than %d bytes", ErrBadCursor, maxCursorBytes)
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return Cursor{}, fmt.Errorf("%w: not base64", ErrBadCursor)
	}
	fields := strings.Split(string(plain), ",")
	if len(fields) > maxCursorPartitions {
		return Cursor{}, fmt.Errorf("%w: more than %d partitions", ErrBadCursor, maxCursorPartitions)
	}
	c := Cursor{offsets: make(map[partitionID]int64, len(fields))}
	for _, f := range fields {
		parts := strings.Split(f, ":")
		if len(parts) != 3 || !validTopic(parts[0]) {
			return Cursor{}, ErrBadCursor
		}
		id, err := strconv.ParseInt(parts[1], 10, 32)
		offset, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || err2 != nil || id < 0 || offset < 0 {
			return Cursor{}, ErrBadCursor
		}
		pid := partitionID{parts[0], int32(id)}
		if _, twice := c.offsets[pid]; twice {
			return Cursor{}, ErrBadCursor
		}
		c.offsets[pid] = offset
	}
	return c, nil
}

// validTopic holds a name to Kafka's rules.
func validTopic(s string) bool {
	if s == "" || len(s) > 249 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-' {
			return false
		}
	}
	return true
}
