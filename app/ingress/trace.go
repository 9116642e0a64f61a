package ingress

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// recordHeaders are what travels with a delivery through the log.
func recordHeaders(header http.Header, event, delivery string, receivedAt time.Time) []eventlog.Header {
	return []eventlog.Header{
		{Key: eventlog.HeaderDelivery, Value: []byte(delivery)},
		{Key: eventlog.HeaderEvent, Value: []byte(event)},
		{Key: eventlog.HeaderReceivedAt, Value: receivedAt.UTC().AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano)},
		{Key: eventlog.HeaderTraceparent, Value: traceparent(header)},
	}
}

// traceparent names this step in the sender's trace, if it sent exactly one
// valid traceparent, else in a new, sampled trace.
func traceparent(header http.Header) []byte {
	var id trace.TraceID
	flags := trace.FlagsSampled
	if len(header["Traceparent"]) == 1 {
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(header))
		if remote := trace.SpanContextFromContext(ctx); remote.IsValid() {
			id, flags = remote.TraceID(), remote.TraceFlags()
		}
	}
	for !id.IsValid() {
		binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	}
	var span trace.SpanID
	for !span.IsValid() {
		binary.LittleEndian.PutUint64(span[:], rand.Uint64())
	}
	text := make([]byte, 0, 55)
	text = append(text, "00-"...)
	text = hex.AppendEncode(text, id[:])
	text = append(text, '-')
	text = hex.AppendEncode(text, span[:])
	text = append(text, '-')
	return hex.AppendEncode(text, []byte{byte(flags & trace.FlagsSampled)})
}
