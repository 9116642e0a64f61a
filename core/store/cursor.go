package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// Cursor is a place in a listing that is ordered by UpdatedAt and then ID, both
// descending: the last issue of the page before. New issues and changes do not
// move it.
type Cursor struct {
	UpdatedAt time.Time
	ID        int64 // the store's own number of the issue
}

const (
	cursorVersion = 1
	cursorLength  = 1 + 8 + 8 + 4
)

// String gives the cursor as pages hand it out: opaque, safe in a URL.
func (c Cursor) String() string {
	raw := make([]byte, 0, cursorLength)
	raw = append(raw, cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.UpdatedAt.UnixMicro()))
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.ID))
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ParseCursor reads what String wrote; anything else is ErrInvalidCursor.
func ParseCursor(s string) (Cursor, error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(cursorLength) {
		return Cursor{}, ErrInvalidCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != cursorLength || raw[0] != cursorVersion ||
		binary.BigEndian.Uint32(raw[17:]) != crc32.ChecksumIEEE(raw[:17]) {
		return Cursor{}, ErrInvalidCursor
	}
	return Cursor{
		UpdatedAt: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC(),
		ID:        int64(binary.BigEndian.Uint64(raw[9:])),
	}, nil
}
