package plugin

import (
	"errors"
	"fmt"
	"time"
)

// memoryInterval is how often a plugin's memory is looked at: what it takes
// beyond its bound in between is bounded by the speed of the machine's memory.
const memoryInterval = 100 * time.Millisecond

// errGorged says that a plugin took more memory than it may.
var errGorged = errors.New("it took too much memory")

// weighing ticks when the memory of the plugin is to be looked at.
func (p *Plugin) weighing(process *process) (ticks <-chan time.Time, stop func()) {
	if p.options.MemoryBytes <= 0 || process.spec.Reattach != "" {
		return nil, func() {}
	}
	t := time.NewTicker(memoryInterval)
	return t.C, t.Stop
}

// weigh looks at the memory of the process and of all that it started.
func (p *Plugin) weigh(process *process) error {
	taken := memoryOf(process.pid())
	p.metrics.memory.Set(float64(taken))
	if taken <= p.options.MemoryBytes {
		return nil
	}
	const mib = 1 << 20
	return fmt.Errorf("%w: %d MiB, where %d are allowed; raise DISPATCHAI_PLUGIN_MEMORY_MB if it needs that", errGorged, taken/mib, p.options.MemoryBytes/mib)
}
