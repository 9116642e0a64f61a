package embedded

import "os"

// WithSyncError makes the broker ask fn, instead of the system, whether the data
// of a file could not be written back.
func (o Options) WithSyncError(fn func(*os.File) error) Options {
	o.syncError = fn
	return o
}

// TrimNow asks for a round of trimming without waiting for the interval.
func (b *Broker) TrimNow() { b.trimmer.kick() }
