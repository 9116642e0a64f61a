package sdktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

const (
	// promptly is how soon a call must end after it was cancelled, and a
	// process after its standard input has ended.
	promptly = 5 * time.Second
	// inProgress is after how long a call is taken back: it has arrived by then.
	inProgress = 200 * time.Millisecond
	// together is how many calls are made at once.
	together = 16
	// hostBatch is the most items that a host sends unless the plugin asks for fewer.
	hostBatch = 256
)

// CheckPlugin tries a plugin that speaks the protocol, whatever it is written
// in, and lists its faults. start gives the plugin, and gives it anew where a
// check ended it or it hangs; the checks close what start gave. A Plugin with a
// Process is held to more: to ending when its host does.
func CheckPlugin(ctx context.Context, start func(context.Context) (*Plugin, error), options Options) []Fault {
	if options.Timeout <= 0 {
		options.Timeout = 10 * time.Second
	}
	k := &checker{ctx: ctx, start: start, options: options}
	defer k.stop()
	k.run()
	return k.faults
}

type checker struct {
	ctx     context.Context
	start   func(context.Context) (*Plugin, error)
	options Options
	faults  []Fault

	plugin    *Plugin
	service   pb.ClassifierServiceClient
	described *pb.DescribeResponse
	// configured tells that the settings were accepted once, and are handed
	// over again after every start.
	configured bool

	mu   sync.Mutex
	lost bool // the plugin ended or hangs
}

func (k *checker) run() {
	k.try("start", k.begin)
	if k.faulty() {
		return
	}
	k.try("description", k.description)
	if k.faulty() {
		return // nothing else can be judged
	}
	k.try("what it does not offer", k.absent)
	if k.plugin != nil && k.plugin.Process != nil {
		k.try("a sign of life", k.health)
	}
	if k.offers(pb.Capability_CAPABILITY_CONFIGURE) {
		before := len(k.faults)
		k.try("settings", k.settings)
		if len(k.faults) > before {
			return
		}
		k.try("settings that are broken", k.brokenSettings)
	}
	for _, i := range issues() {
		k.try(i.name, func(ctx context.Context) error { return k.issue(ctx, i.issue) })
	}
	k.try("a repository without options", func(ctx context.Context) error {
		return k.ordinary(ctx, &pb.Repository{Id: 2, FullName: "example/bare"})
	})
	k.try("a repository with options of its own", func(ctx context.Context) error { return k.ordinary(ctx, unusual()) })
	k.try("a batch", k.batch)
	k.try("many calls at once", k.concurrently)
	k.try("a cancelled call", k.cancelled)
	k.try("a call that is out of time", k.outOfTime)
	if k.offers(pb.Capability_CAPABILITY_EMBED) {
		k.try("embedding", k.embedding)
	}
	if k.offers(pb.Capability_CAPABILITY_LEARN) {
		k.try("learning", k.learning)
	}
	if k.plugin != nil && k.plugin.Process != nil {
		k.try("the end of its host", k.hostEnds)
	}
}

func (k *checker) faulty() bool { return len(k.faults) > 0 }

func (k *checker) offers(c pb.Capability) bool {
	return slices.Contains(k.described.GetCapabilities(), c)
}

// try makes one check, of a plugin that runs.
func (k *checker) try(name string, check func(context.Context) error) {
	if k.ctx.Err() != nil {
		return
	}
	begin := time.Now()
	err := k.revive()
	if err == nil {
		err = check(k.ctx)
	}
	if k.ctx.Err() != nil {
		err = fmt.Errorf("the checks were interrupted: %w", context.Cause(k.ctx))
	}
	if err != nil {
		k.faults = append(k.faults, Fault{Check: name, Err: err})
	}
	if k.options.Progress != nil {
		k.options.Progress(Result{Check: name, Err: err, Took: time.Since(begin)})
	}
}

// revive starts the plugin again where the last check was its end.
func (k *checker) revive() error {
	k.mu.Lock()
	lost := k.lost
	k.lost = false
	k.mu.Unlock()
	if p := k.process(); p != nil {
		select {
		case <-p.Ended:
			lost = true
		default:
		}
		if lost {
			k.stop()
		}
	}
	if k.plugin != nil || k.described == nil {
		return nil
	}
	if err := k.begin(k.ctx); err != nil {
		return fmt.Errorf("it does not start again: %w", err)
	}
	if k.configured {
		return k.configure(k.ctx)
	}
	return nil
}

func (k *checker) process() *Process {
	if k.plugin == nil {
		return nil
	}
	return k.plugin.Process
}

func (k *checker) begin(ctx context.Context) error {
	p, err := k.start(ctx)
	if err != nil {
		return err
	}
	k.plugin, k.service = p, pb.NewClassifierServiceClient(p.Conn)
	return nil
}

func (k *checker) stop() {
	if k.plugin != nil {
		_ = k.plugin.Close()
		k.plugin, k.service = nil, nil
	}
}

// call makes one call within the time limit and says what an error of it means.
func (k *checker) call(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, k.options.Timeout)
	defer cancel()
	err := do(limited)
	if err == nil {
		return nil
	}
	switch s := status.Convert(err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil, s.Code() == codes.DeadlineExceeded:
		k.lose()
		return fmt.Errorf("no answer within %s; the host would kill it for that: heed the deadline, or ask for smaller batches in the description", k.options.Timeout)
	case s.Code() == codes.Unavailable:
		k.lose()
		return k.ended(s)
	default:
		if _, ok := status.FromError(err); ok {
			return &answerError{s}
		}
	}
	return err
}

// answerError is a status other than OK, in the words of a sentence.
type answerError struct{ status *status.Status }

func (e *answerError) Error() string {
	return fmt.Sprintf("it answers %s: %.1000s", e.status.Code(), e.status.Message())
}

func (e *answerError) GRPCStatus() *status.Status { return e.status }

func (k *checker) lose() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost = true
}

// ended says how the process ended, once that is known.
func (k *checker) ended(s *status.Status) error {
	if p := k.process(); p != nil {
		select {
		case <-p.Ended:
			return fmt.Errorf("it ended while it was asked: %w; see what it wrote, and answer with an error instead", p.Cause())
		case <-time.After(promptly):
		}
	}
	return fmt.Errorf("the connection broke while it was asked: %s", s.Message())
}

func (k *checker) description(ctx context.Context) error {
	describe := func() (d *pb.DescribeResponse, err error) {
		err = k.call(ctx, func(ctx context.Context) error {
			d, err = k.service.Describe(ctx, &pb.DescribeRequest{})
			return err
		})
		return d, err
	}
	d, err := describe()
	if err != nil {
		return fmt.Errorf("call Describe: %w", err)
	}
	faults := []error{descriptionFaults(d)}
	again, err := describe()
	if err != nil {
		faults = append(faults, fmt.Errorf("call Describe a second time: %w", err))
	} else if !proto.Equal(again, d) {
		faults = append(faults, fmt.Errorf("two descriptions differ: %v and %v", d, again))
	}
	k.described = d
	return errors.Join(faults...)
}

func descriptionFaults(d *pb.DescribeResponse) error {
	own := sdk.Description{Name: d.GetName(), Version: d.GetVersion(), MaxBatch: int(d.GetMaxBatch())}
	for _, f := range d.GetFields() {
		own.Fields = append(own.Fields, sdk.Field(fieldName(f)))
	}
	embeds := slices.Contains(d.GetCapabilities(), pb.Capability_CAPABILITY_EMBED)
	if e := d.GetEmbedding(); e != nil {
		own.Embedding = &sdk.EmbeddingModel{Name: e.GetName(), Dimensions: int(e.GetDimensions()), Terms: e.GetTerms()}
	}
	faults := []error{own.Validate()}
	if embeds != (d.GetEmbedding() != nil) {
		faults = append(faults, errors.New("the description must name an embedding model when, and only when, CAPABILITY_EMBED is among its capabilities"))
	}
	for _, c := range d.GetCapabilities() {
		if _, known := pb.Capability_name[int32(c)]; !known || c == pb.Capability_CAPABILITY_UNSPECIFIED {
			faults = append(faults, fmt.Errorf("%v is not a capability of this version of the protocol", c))
		}
	}
	if len(d.GetFields()) == 0 && !embeds {
		faults = append(faults, errors.New("the description lists no fields and no embedding, so nothing that it says can count; list in fields what Classify may set"))
	}
	return errors.Join(faults...)
}

// absent checks that calls without a capability are answered by UNIMPLEMENTED.
func (k *checker) absent(ctx context.Context) error {
	var faults []error
	for _, c := range []struct {
		name       string
		capability pb.Capability
		do         func(context.Context) error
	}{
		{"Configure", pb.Capability_CAPABILITY_CONFIGURE, func(ctx context.Context) error {
			_, err := k.service.Configure(ctx, &pb.ConfigureRequest{})
			return err
		}},
		{"Embed", pb.Capability_CAPABILITY_EMBED, func(ctx context.Context) error {
			_, err := k.service.Embed(ctx, &pb.EmbedRequest{Texts: []*pb.Text{{Title: "a"}}})
			return err
		}},
		{"Fit", pb.Capability_CAPABILITY_LEARN, func(ctx context.Context) error {
			_, err := k.fit(ctx, repository(), nil)
			return err
		}},
		{"Load", pb.Capability_CAPABILITY_LEARN, func(ctx context.Context) error { return k.load(ctx, 1, nil) }},
		{"Learn", pb.Capability_CAPABILITY_LEARN, func(ctx context.Context) error {
			_, err := k.service.Learn(ctx, &pb.LearnRequest{})
			return err
		}},
		{"Forget", pb.Capability_CAPABILITY_LEARN, func(ctx context.Context) error {
			_, err := k.service.Forget(ctx, &pb.ForgetRequest{RepositoryId: 1})
			return err
		}},
	} {
		if k.offers(c.capability) {
			continue
		}
		err := k.call(ctx, c.do)
		if status.Code(err) != codes.Unimplemented {
			what := "it succeeds"
			if err != nil {
				what = err.Error()
			}
			faults = append(faults, fmt.Errorf("%s must answer UNIMPLEMENTED while the description does not list %s, but %s", c.name, c.capability, what))
		}
	}
	return errors.Join(faults...)
}

// health asks what a host asks of a plugin that has nothing to do.
func (k *checker) health(ctx context.Context) error {
	client := grpc_health_v1.NewHealthClient(k.plugin.Conn)
	return k.call(ctx, func(ctx context.Context) error {
		r, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
		if err != nil {
			return fmt.Errorf("it does not serve grpc.health.v1 for the service \"plugin\": %w", err)
		}
		if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("grpc.health.v1 says %s of the service \"plugin\"; it must be SERVING", r.GetStatus())
		}
		return nil
	})
}

func (k *checker) configure(ctx context.Context) error {
	err := k.call(ctx, func(ctx context.Context) error {
		_, err := k.service.Configure(ctx, &pb.ConfigureRequest{Settings: k.options.Settings})
		return err
	})
	if status.Code(err) == codes.InvalidArgument {
		which := "the settings it was given"
		if len(k.options.Settings) == 0 {
			which = "to be without settings; give it some (--settings FILE, or Options.Settings), or have it work without"
		}
		return fmt.Errorf("it does not accept %s: %.1000s", which, status.Convert(err).Message())
	}
	if err != nil {
		return fmt.Errorf("call Configure: %w", err)
	}
	return nil
}

func (k *checker) settings(ctx context.Context) error {
	if err := k.configure(ctx); err != nil {
		return err
	}
	k.configured = true
	if err := k.configure(ctx); err != nil {
		return fmt.Errorf("the same settings a second time, as when an operator changes them and back: %w", err)
	}
	return nil
}

// brokenSettings are refused, or nothing was looked at; the former ones stay in
// force, and the secret among them is not told.
func (k *checker) brokenSettings(ctx context.Context) error {
	const secret = "sk-4f9d2c7e81b6a035"
	before, err := k.classifyOne(ctx, repository(), issues()[0].issue)
	if err != nil {
		return err
	}
	err = k.call(ctx, func(ctx context.Context) error {
		_, err := k.service.Configure(ctx, &pb.ConfigureRequest{Settings: []byte(`{"api_key": "` + secret + `", "broken": tru`)})
		return err
	})
	var faults []error
	switch code := status.Code(err); {
	case err == nil:
		// What is not looked at cannot be wrong; but it may have reset what was.
		return k.configure(ctx)
	case code != codes.InvalidArgument:
		faults = append(faults, fmt.Errorf("it must refuse settings by INVALID_ARGUMENT and a message that names the fault, but %s", strings.ReplaceAll(err.Error(), secret, "[the secret]")))
	case status.Convert(err).Message() == "":
		faults = append(faults, errors.New("it refuses settings without a word; the message must name the setting at fault"))
	}
	if strings.Contains(err.Error(), secret) {
		faults = append(faults, errors.New("its message repeats the secret among the settings; name the key and never the value"))
	}
	if len(faults) > 0 && k.isLost() {
		return errors.Join(faults...)
	}
	after, err := k.classifyOne(ctx, repository(), issues()[0].issue)
	switch {
	case err != nil:
		faults = append(faults, fmt.Errorf("after it has refused settings: %w", err))
	case !k.options.Varies && !sameAnswer(before, after):
		faults = append(faults, fmt.Errorf("settings that it refused changed its answer from %v to %v; the former ones must stay in force", before, after))
	}
	return errors.Join(faults...)
}

func (k *checker) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// classify makes one call and gives the outcomes by item, each a classification.
func (k *checker) classify(ctx context.Context, r *pb.ClassifyRequest) ([]*pb.Classification, error) {
	var response *pb.ClassifyResponse
	err := k.call(ctx, func(ctx context.Context) (err error) {
		response, err = k.service.Classify(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return k.outcomes(r, response)
}

// outcomes says whether every item has one outcome, and which rules those break.
func (k *checker) outcomes(r *pb.ClassifyRequest, response *pb.ClassifyResponse) ([]*pb.Classification, error) {
	var faults []error
	index := make(map[uint64]int, len(r.GetItems()))
	for i, item := range r.GetItems() {
		index[item.GetId()] = i
	}
	out := make([]*pb.Classification, len(r.GetItems()))
	seen := make([]bool, len(out))
	for _, o := range response.GetOutcomes() {
		i, asked := index[o.GetId()]
		switch {
		case !asked:
			faults = append(faults, fmt.Errorf("there is an outcome for item %d, which was not sent; repeat the item's id", o.GetId()))
			continue
		case seen[i]:
			faults = append(faults, fmt.Errorf("there are two outcomes for item %d; give one", o.GetId()))
			continue
		}
		seen[i] = true
		switch v := o.GetOutcome().(type) {
		case *pb.Outcome_Classification:
			out[i] = v.Classification
			if err := k.judge(v.Classification, r.GetRepositories()[r.GetItems()[i].GetRepository()]); err != nil {
				faults = append(faults, err)
			}
		case *pb.Outcome_Error:
			faults = append(faults, fmt.Errorf("it has an error instead of an answer or an abstention: %.1000s", v.Error.GetMessage()))
		default:
			faults = append(faults, fmt.Errorf("the outcome of item %d is neither a classification nor an error", o.GetId()))
		}
	}
	for i, answered := range seen {
		if !answered {
			faults = append(faults, fmt.Errorf("there is no outcome for item %d; give one for each, a classification without answers to abstain", r.GetItems()[i].GetId()))
		}
	}
	return out, errors.Join(distinct(faults)...)
}

// distinct leaves out what was said before, and all but the first twenty.
func distinct(faults []error) []error {
	var out []error
	seen := make(map[string]bool)
	for _, f := range faults {
		if !seen[f.Error()] && len(out) < 20 {
			seen[f.Error()] = true
			out = append(out, f)
		}
	}
	return out
}

func one(r *pb.Repository, issue *pb.Issue, id uint64) *pb.ClassifyRequest {
	return &pb.ClassifyRequest{Repositories: []*pb.Repository{r}, Items: []*pb.Item{{Id: id, Issue: issue, Similar: similar()}}}
}

func (k *checker) classifyOne(ctx context.Context, r *pb.Repository, issue *pb.Issue) (*pb.Classification, error) {
	out, err := k.classify(ctx, one(r, issue, 1))
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// sameAnswer compares what is answered, whatever it cost: one that is known from
// before costs less.
func sameAnswer(a, b *pb.Classification) bool {
	strip := func(c *pb.Classification) *pb.Classification {
		c = proto.CloneOf(c)
		if c != nil {
			c.Usage = nil
		}
		return c
	}
	return proto.Equal(strip(a), strip(b))
}

func (k *checker) issue(ctx context.Context, issue *pb.Issue) error {
	first, err := k.classifyOne(ctx, repository(), issue)
	if err != nil || k.options.Varies {
		return err
	}
	again, err := k.classifyOne(ctx, repository(), issue)
	if err != nil {
		return fmt.Errorf("the second time: %w", err)
	}
	if !sameAnswer(first, again) {
		return fmt.Errorf("two answers to one issue differ: %v and %v (where that must be, say so with --varies or Options.Varies)", first, again)
	}
	return nil
}

// ordinary asks about the ordinary issues in a repository that is not.
func (k *checker) ordinary(ctx context.Context, r *pb.Repository) error {
	var faults []error
	for _, i := range issues()[:2] {
		_, err := k.classifyOne(ctx, r, i.issue)
		faults = append(faults, err)
	}
	return errors.Join(distinct(slices.DeleteFunc(faults, func(err error) bool { return err == nil }))...)
}

// batch asks for as many items as a host does, of two repositories, and for the
// first ones alone: being among others changes no answer.
func (k *checker) batch(ctx context.Context) error {
	most := hostBatch
	if own := int(k.described.GetMaxBatch()); own > 0 {
		most = min(most, own)
	}
	all := issues()
	r := &pb.ClassifyRequest{Repositories: []*pb.Repository{repository(), unusual()}}
	for i := range most {
		issue := all[i%len(all)].issue
		if i >= len(all) && len(issue.GetBody()) > 64<<10 {
			issue = all[i%2].issue // large ones once, so that the message stays within its bound
		}
		// IDs mean nothing: neither where they begin nor how they go on.
		r.Items = append(r.Items, &pb.Item{Id: uint64(i)*uint64(i)*3 + 1<<40, Repository: uint32(i % 2), Issue: issue, Similar: similar()})
	}
	together, err := k.classify(ctx, r)
	if err != nil || k.options.Varies {
		return err
	}
	for i := range min(4, most) {
		one, err := k.classify(ctx, &pb.ClassifyRequest{Repositories: r.GetRepositories(), Items: r.GetItems()[i : i+1]})
		if err != nil {
			return err
		}
		alone := one[0]
		if !sameAnswer(alone, together[i]) {
			return fmt.Errorf("of %q it says %v alone, and %v in a batch of %d", r.GetItems()[i].GetIssue().GetTitle(), alone, together[i], most)
		}
	}
	return nil
}

func (k *checker) concurrently(ctx context.Context) error {
	asked := issues()[:4]
	want := make([]*pb.Classification, len(asked))
	for i := range asked {
		var err error
		if want[i], err = k.classifyOne(ctx, repository(), asked[i].issue); err != nil {
			return err
		}
	}
	errs := make([]error, together)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			n := i % len(asked)
			got, err := k.classify(ctx, one(repository(), asked[n].issue, uint64(i+1)))
			if err == nil && !k.options.Varies && !sameAnswer(got[0], want[n]) {
				err = fmt.Errorf("of %s it says %v alone, and %v while others are asked", asked[n].name, want[n], got[0])
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(distinct(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))...)
}

// most is how many of a few items fit into one call.
func (k *checker) most() int {
	if own := int(k.described.GetMaxBatch()); own > 0 {
		return own
	}
	return hostBatch
}

// cancelled takes a call back while it is in progress. Whatever comes of it, the
// classifier must leave off.
func (k *checker) cancelled(ctx context.Context) error {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	time.AfterFunc(inProgress, cancel)
	_, _ = k.service.Classify(calling, largest(k.most()))
	return k.leavesOff(ctx, "was cancelled")
}

func (k *checker) outOfTime(ctx context.Context) error {
	r := largest(k.most())
	calling, cancel := context.WithTimeout(ctx, inProgress)
	defer cancel()
	response, err := k.service.Classify(calling, r)
	if code := status.Code(err); err != nil && code != codes.DeadlineExceeded && code != codes.Canceled {
		if code == codes.Unavailable {
			k.lose()
			return k.ended(status.Convert(err))
		}
		return fmt.Errorf("%w; answer with what is done, or with DEADLINE_EXCEEDED", &answerError{status.Convert(err)})
	}
	if err == nil && len(response.GetOutcomes()) != len(r.GetItems()) {
		return fmt.Errorf("there are %d outcomes for %d items; one whose turn did not come has an error with retry_after", len(response.GetOutcomes()), len(r.GetItems()))
	}
	return k.leavesOff(ctx, "had run out of time")
}

// leavesOff says whether a call that nobody waits for is still at work, or holds
// up the next one.
func (k *checker) leavesOff(ctx context.Context, why string) error {
	if k.plugin.idle != nil {
		limited, cancel := context.WithTimeout(ctx, promptly)
		defer cancel()
		if err := k.plugin.idle(limited); err != nil && ctx.Err() == nil {
			return fmt.Errorf("it went on for %s after it %s; heed the context", promptly, why)
		}
	}
	if _, err := k.classifyOne(ctx, repository(), issues()[0].issue); err != nil {
		return fmt.Errorf("the next call, after one that %s: %w", why, err)
	}
	return nil
}

// hostEnds is the last check: it ends the plugin.
func (k *checker) hostEnds(context.Context) error {
	p := k.plugin.Process
	if err := p.HangUp(); err != nil {
		return err
	}
	select {
	case <-p.Ended:
		return nil
	case <-time.After(promptly):
		return fmt.Errorf("it goes on %s after its standard input has ended; read standard input, and exit at its end, as the host is gone then", promptly)
	}
}
