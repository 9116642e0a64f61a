package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/triage"
)

// frame is one record of the log on its way to the clients. It is made when the
// first client needs it, so that a gateway nobody looks at does not parse what
// passes by, and then shared by all.
type frame struct {
	// place is the record's topic, partition and offset alone.
	place eventlog.Record
	bytes int // of the record
	// cursor is the position after this record of clients that have seen
	// everything before it; zero when there were none.
	cursor eventlog.Cursor

	making  sync.Once
	record  *eventlog.Record // nil when there is nothing to show, or it was made
	members []byte           // of the JSON object, but for its type and cursor

	preparing sync.Once
	prepared  *websocket.PreparedMessage
}

func newFrame(r *eventlog.Record) *frame {
	f := &frame{place: eventlog.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, bytes: len(r.Value)}
	if showable(r) {
		f.record = r
	}
	return f
}

// showable tells, without parsing it, whether a record may have something to show.
func showable(r *eventlog.Record) bool {
	return r.Topic == eventlog.TopicIssuesEnriched || r.Header(eventlog.HeaderEvent) == "issues"
}

// content is what the frame says beside its type and cursor; nil when there is
// nothing to show.
func (f *frame) content(logger *slog.Logger) []byte {
	f.making.Do(func() {
		if f.record == nil {
			return
		}
		defer func() { f.record = nil }()
		body, ok, err := frameOf(f.record)
		if err != nil {
			logger.Debug("a record that cannot be shown live", "topic", f.place.Topic, "partition", f.place.Partition, "offset", f.place.Offset, "error", err)
		}
		if !ok {
			return
		}
		if f.members, err = json.Marshal(body); err != nil {
			logger.Error("encode a live frame", "error", err)
		}
	})
	return f.members
}

// at is the frame as a client gets it that stands at the cursor afterwards; nil
// when there is nothing to show.
func (f *frame) at(cursor eventlog.Cursor, logger *slog.Logger) []byte {
	members := f.content(logger)
	if members == nil {
		return nil
	}
	position := cursor.String() // base64url, which JSON need not escape
	text := make([]byte, 0, len(members)+len(position)+32)
	text = append(text, `{"type":"issue","cursor":"`...)
	text = append(text, position...)
	text = append(text, `",`...)
	return append(text, members[1:]...)
}

// message is the frame as all clients get it that have seen everything before
// it; nil when there is nothing to show.
func (f *frame) message(logger *slog.Logger) *websocket.PreparedMessage {
	f.preparing.Do(func() {
		if text := f.at(f.cursor, logger); text != nil {
			f.prepared, _ = websocket.NewPreparedMessage(websocket.TextMessage, text)
		}
	})
	return f.prepared
}

// liveFrame is what an "issue" frame says beside its type and cursor.
type liveFrame struct {
	Event      string             `json:"event"`
	Issue      issueView          `json:"issue"`
	Correction *triage.Correction `json:"correction,omitempty"`
	Label      *liveLabel         `json:"label,omitempty"`
}

type liveLabel struct {
	Name   string       `json:"name"`
	Action string       `json:"action"`
	Sender triage.Actor `json:"sender"`
}

// frameOf makes a live frame of a record, or tells that there is nothing to show.
func frameOf(r *eventlog.Record) (liveFrame, bool, error) {
	if r.Topic == eventlog.TopicIssuesEnriched {
		var e triage.Enriched
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return liveFrame{}, false, err
		}
		event := e.EventType
		if event == triage.Directed {
			event = triage.Updated // to who looks at the board it is just that
		}
		f := liveFrame{
			Event: string(event),
			Issue: viewOf(e.Issue, e.ReceivedAt, e.Revision, e.Classification, e.SimilarIssues),
		}
		if n := len(e.Corrections); n > 0 {
			c := e.Corrections[n-1]
			// A list that is not known is none, never null.
			c.Old, c.New = append([]string{}, c.Old...), append([]string{}, c.New...)
			f.Correction = &c
		}
		return f, true, nil
	}
	e, err := github.ParseWebhook(r.Header(eventlog.HeaderEvent), r.Header(eventlog.HeaderDelivery), r.Value, r.ReceivedAt())
	if err != nil {
		return liveFrame{}, false, err
	}
	if e.Issue == nil {
		return liveFrame{}, false, errors.New("an issues event without an issue")
	}
	f := liveFrame{Issue: viewOf(*e.Issue, e.ReceivedAt, 0, nil, nil)}
	switch {
	case e.Kind == triage.KindIssue && e.Action == "opened":
		f.Event = "received"
	case e.Kind == triage.KindLabelChange && e.Label != nil:
		f.Event = "label"
		f.Label = &liveLabel{Name: e.Label.Name, Action: e.Action, Sender: e.Sender}
	default:
		return liveFrame{}, false, nil
	}
	return f, true, nil
}
