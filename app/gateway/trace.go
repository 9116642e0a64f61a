package gateway

import (
	"context"
	"crypto/rand"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceparent names a request's step in its sender's trace, or in a new,
// sampled one where the sender has none. It travels with the event to the label.
func traceparent(header http.Header) string {
	format := propagation.TraceContext{}
	step := trace.SpanContextConfig{TraceFlags: trace.FlagsSampled}
	ctx := format.Extract(context.Background(), propagation.HeaderCarrier(header))
	if sent := trace.SpanContextFromContext(ctx); sent.IsValid() {
		step.TraceID, step.TraceFlags = sent.TraceID(), sent.TraceFlags()&trace.FlagsSampled
	} else {
		_, _ = rand.Read(step.TraceID[:]) // never fails
	}
	_, _ = rand.Read(step.SpanID[:])
	written := propagation.MapCarrier{}
	format.Inject(trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(step)), written)
	return written.Get("traceparent")
}
