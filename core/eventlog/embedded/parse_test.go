package embedded

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func entry(data []byte) []byte {
	body := append([]byte{1, 0}, data...)
	e := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	e = binary.LittleEndian.AppendUint32(e, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(e, body...)
}

func FuzzValidEntries(f *testing.F) {
	f.Add([]byte("a"), []byte("b"), []byte{1, 2, 3})
	f.Add([]byte(nil), []byte("commit"), []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, a, b, tail []byte) {
		whole := append(entry(a), entry(b)...)
		raw := append(bytes.Clone(whole), tail...)
		n := validEntries(raw)
		if n < len(whole) || n > len(raw) {
			t.Fatalf("%d of %d bytes are valid, the first %d are", n, len(raw), len(whole))
		}
		if again := validEntries(raw[:n]); again != n {
			t.Fatalf("%d bytes, then %d", n, again)
		}
		for cut := range whole {
			if n := validEntries(whole[:cut]); n > cut || n != 0 && n != len(entry(a)) {
				t.Fatalf("%d of %d bytes are valid", n, cut)
			}
		}
	})
}

// FuzzInspect feeds a stream of requests in pieces and checks that the same is
// seen as in one piece.
func FuzzInspect(f *testing.F) {
	request := func(key int16, size int) []byte {
		r := binary.BigEndian.AppendUint32(nil, uint32(size))
		r = binary.BigEndian.AppendUint16(r, uint16(key))
		return append(r, make([]byte, size-2)...)
	}
	f.Add(append(request(3, 20), request(0, 40)...), uint8(3))
	f.Add(request(int16(kmsg.Fetch), 8), uint8(1))
	f.Add([]byte{0, 0, 0, 9, 0x7f, 0xff, 0, 0}, uint8(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		whole, pieces := &conn{}, &conn{}
		want := whole.inspect(stream)
		var got error
		for rest := stream; len(rest) > 0 && got == nil; {
			n := min(len(rest), int(piece)+1)
			got = pieces.inspect(rest[:n])
			rest = rest[n:]
		}
		if (want == nil) != (got == nil) || whole.produces != pieces.produces {
			t.Fatalf("in one piece %v, produces %v; in pieces of %d: %v, %v", want, whole.produces, int(piece)+1, got, pieces.produces)
		}
	})
}
