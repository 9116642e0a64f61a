package simulate

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DeliveryFaults are the probabilities, between 0 and 1, that something goes wrong with a webhook. What happens to a
// delivery follows from Options.Seed and its GUID alone, not from timing.
type DeliveryFaults struct {
	// Drop makes an attempt fail as if the receiver could not be reached. The log shows it; redelivery heals it.
	Drop float64
	// Vanish loses an event within GitHub: neither sent nor logged. Only a reconciliation finds it.
	Vanish float64
	// Double sends a delivery twice with the same GUID.
	Double float64
	// Delay holds a delivery back for a random time up to MaxDelay.
	Delay float64
	// Reorder lets one to five later deliveries overtake, for at most MaxDelay.
	Reorder float64
	// MaxDelay is 2 s when zero, on the simulation's clock.
	MaxDelay time.Duration
}

func (f *DeliveryFaults) validate() error {
	for _, p := range []struct {
		name  string
		value float64
	}{{"Drop", f.Drop}, {"Vanish", f.Vanish}, {"Double", f.Double}, {"Delay", f.Delay}, {"Reorder", f.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) {
			return fmt.Errorf("%w: DeliveryFaults.%s is %v; a probability lies between 0 and 1", ErrInvalid, p.name, p.value)
		}
	}
	if f.MaxDelay < 0 {
		return fmt.Errorf("%w: DeliveryFaults.MaxDelay is negative", ErrInvalid)
	}
	if f.MaxDelay == 0 {
		f.MaxDelay = 2 * time.Second
	}
	return nil
}

// SetDeliveryFaults changes what goes wrong with webhooks made from now on.
func (g *GitHub) SetDeliveryFaults(f DeliveryFaults) error {
	if err := f.validate(); err != nil {
		return err
	}
	g.outbox.faults.Store(&f)
	return nil
}

type fate struct {
	drop, vanish, double bool
	delay                time.Duration
	overtaken            int
}

func (f *DeliveryFaults) decide(seed uint64, d *delivery) fate {
	if f.Drop == 0 && f.Vanish == 0 && f.Double == 0 && f.Delay == 0 && f.Reorder == 0 {
		return fate{}
	}
	h := fnv.New64a()
	h.Write([]byte(d.guid))
	if d.again != 0 {
		h.Write(strconv.AppendInt(nil, d.again, 10)) // another attempt may fare otherwise
	}
	r := rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // reproducible on purpose
	// Each fault has its number drawn whether or not it counts, so that changing one probability leaves the others' choices alone.
	drop, vanish, double, delay, reorder := r.Float64(), r.Float64(), r.Float64(), r.Float64(), r.Float64()
	wait, overtaken := time.Duration(r.Int64N(int64(f.MaxDelay)))+1, 1+r.IntN(5)
	out := fate{drop: drop < f.Drop, vanish: vanish < f.Vanish && d.again == 0, double: double < f.Double}
	if delay < f.Delay {
		out.delay = wait
	} else if reorder < f.Reorder {
		out.overtaken = overtaken
	}
	return out
}

// Fault is something that goes wrong with requests to the API. All that is set must match; the zero value matches every request.
type Fault struct {
	// Method and Route select requests: Route as Requests names it, such as "POST /repos/{owner}/{repo}/issues/{number}/labels".
	Method string
	Route  string
	// Match selects requests further. It must not read the body.
	Match func(*http.Request) bool
	// Times is how many requests it hits; 0 means every one until Remove.
	Times int
	// Probability that a matching request is hit; 0 means 1.
	Probability float64

	// Latency is waited before anything else, in real time.
	Latency time.Duration
	// Status answers with that status instead of doing anything: 500, 502, 503 as GitHub's, 403 and 429 as its secondary limit. 0 lets the request through.
	Status int
	// RetryAfter is sent in seconds with a Status, when positive.
	RetryAfter time.Duration
	// Disconnect closes the connection instead of an answer.
	Disconnect bool
	// AfterEffect lets the request take effect before Status or Disconnect: the client cannot know that it did.
	AfterEffect bool
}

// InjectedFault is a Fault in force.
type InjectedFault struct {
	fault Fault
	set   *faults
	hits  atomic.Int64
	mu    sync.Mutex
	left  int
	rand  *rand.Rand
}

// Hits is how many requests the fault has hit.
func (f *InjectedFault) Hits() int { return int(f.hits.Load()) }

// Remove ends the fault.
func (f *InjectedFault) Remove() { f.set.remove(f) }

type faults struct {
	seed   uint64
	mu     sync.Mutex
	made   uint64
	active atomic.Pointer[[]*InjectedFault]
}

// InjectFault puts a fault in force for requests from now on. Of several that match a request the earliest is taken.
func (g *GitHub) InjectFault(f Fault) *InjectedFault {
	s := &g.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	injected := &InjectedFault{fault: f, set: s, left: f.Times, rand: rand.New(rand.NewPCG(s.seed, s.made))} //nolint:gosec // reproducible on purpose
	var active []*InjectedFault
	if old := s.active.Load(); old != nil {
		active = slices.Clone(*old)
	}
	active = append(active, injected)
	s.active.Store(&active)
	return injected
}

func (s *faults) remove(f *InjectedFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.active.Load(); old != nil {
		active := slices.DeleteFunc(slices.Clone(*old), func(other *InjectedFault) bool { return other == f })
		s.active.Store(&active)
	}
}

// hit returns the fault that a request meets, or nil.
func (s *faults) hit(r *http.Request, route string) *Fault {
	active := s.active.Load()
	if active == nil {
		return nil
	}
	for _, f := range *active {
		if f.takes(r, route) {
			return &f.fault
		}
	}
	return nil
}

func (f *InjectedFault) takes(r *http.Request, route string) bool {
	if f.fault.Method != "" && !strings.EqualFold(f.fault.Method, r.Method) || f.fault.Route != "" && f.fault.Route != route {
		return false
	}
	if f.fault.Match != nil && !f.fault.Match(r) {
		return false
	}
	f.mu.Lock()
	if f.fault.Times > 0 && f.left == 0 {
		f.mu.Unlock()
		return false
	}
	if p := f.fault.Probability; p > 0 && p < 1 && f.rand.Float64() >= p {
		f.mu.Unlock()
		return false
	}
	f.left--
	last := f.fault.Times > 0 && f.left == 0
	f.mu.Unlock()
	f.hits.Add(1)
	if last {
		f.Remove()
	}
	return true
}
