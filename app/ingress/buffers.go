package ingress

import (
	"math/bits"
	"sync"
)

// buffers keeps the buffers of bodies that nobody needs any more, by size: a
// power of two from 4 KiB to 1 MiB. Larger ones, which GitHub hardly ever
// sends, are left to the garbage collector.
type buffers struct {
	classes [largestClass - smallestClass + 1]sync.Pool // of *[]byte
}

const (
	smallestClass = 12
	largestClass  = 20
)

// get returns a buffer of that length; its content is whatever it was.
func (p *buffers) get(size int) []byte {
	class := max(smallestClass, bits.Len(uint(max(size, 1)-1)))
	if class > largestClass {
		return make([]byte, size)
	}
	if kept, ok := p.classes[class-smallestClass].Get().(*[]byte); ok {
		return (*kept)[:size]
	}
	return make([]byte, size, 1<<class)
}

// put takes a buffer that get returned. Nobody may use it afterwards.
func (p *buffers) put(buffer []byte) {
	class := bits.Len(uint(cap(buffer))) - 1
	if class < smallestClass || class > largestClass || cap(buffer) != 1<<class {
		return
	}
	p.classes[class-smallestClass].Put(&buffer)
}
