// Command revised is a classifier plugin of which there are several versions. It
// takes every issue for a bug, and gives it the priority that its settings name, if any.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"sync/atomic"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

var version = "0.0.0" // set when it is built

type classifier struct{ priority atomic.Value }

func (*classifier) Describe() sdk.Description {
	return sdk.Description{Name: "revised", Version: version, Fields: []sdk.Field{sdk.Category, sdk.Priority}}
}

func (c *classifier) Configure(_ context.Context, text json.RawMessage) error {
	if len(text) == 0 {
		return nil // it says nothing of the priority
	}
	var s struct {
		Priority string `json:"priority"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if s.Priority != "high" && s.Priority != "low" {
		return errors.New("priority: it must be high or low")
	}
	c.priority.Store(s.Priority)
	return nil
}

func (c *classifier) Classify(_ context.Context, r sdk.Request) (sdk.Result, error) {
	priority, _ := c.priority.Load().(string)
	fields := make(map[sdk.Field]sdk.Answer)
	for f, v := range map[sdk.Field]string{sdk.Category: "bug", sdk.Priority: priority} {
		if r.Accepts(f, v) {
			fields[f] = sdk.Answer{Values: []string{v}, Confidence: 1, Reason: "All are."}
		}
	}
	return sdk.Result{Fields: fields}, nil
}

func main() {
	if err := sdk.Serve(&classifier{}); err != nil {
		log.Fatal(err)
	}
}
