package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// backfillPrefix begins the keys, on control and on status, that speak of a
// repository's backfill.
const backfillPrefix = "backfill/"

// BackfillKey is the key of a repository's backfill: on control of what was
// asked for, on status of how far it has come.
func BackfillKey(repositoryID int64) string {
	return backfillPrefix + strconv.FormatInt(repositoryID, 10)
}

// BackfillOfKey gives the repository that a key speaks of.
func BackfillOfKey(key string) (repositoryID int64, ok bool) {
	digits, ok := strings.CutPrefix(key, backfillPrefix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	return id, err == nil && id > 0 && BackfillKey(id) == key
}

// BackfillRequest is what an operator last asked of a repository: that its
// issues be read, or that this be stopped.
type BackfillRequest struct {
	// ID tells this request from others. A request to stop has that of the one it stops.
	ID     string `json:"id"`
	Cancel bool   `json:"cancel,omitempty"`
	// State is which issues: "open" or "all". Since leaves out those not changed after it.
	State string     `json:"state"`
	Since *time.Time `json:"since,omitempty"`
	By    string     `json:"by"`
	At    time.Time  `json:"at"`
}

// Encode gives the value on control.
func (r BackfillRequest) Encode() ([]byte, error) { return encode(r) }

// ParseBackfillRequest reads a value on control.
func ParseBackfillRequest(value []byte) (BackfillRequest, error) {
	var r BackfillRequest
	if err := json.Unmarshal(value, &r); err != nil {
		return BackfillRequest{}, fmt.Errorf("not a request for a backfill: %w", err)
	}
	if r.ID == "" || r.ID != bounded(r.ID, maxShort) {
		return BackfillRequest{}, errors.New(`not a request for a backfill: it lacks its "id"`)
	}
	if r.State != "open" && r.State != "all" && !r.Cancel {
		return BackfillRequest{}, fmt.Errorf("a request for a backfill of issues in the state %q; there are open and all", bounded(r.State, maxVersion))
	}
	r.By = bounded(r.By, maxText)
	return r, nil
}

// BackfillProgress is how far a backfill has come.
type BackfillProgress struct {
	RequestID  string    `json:"request_id"`
	Repository string    `json:"repository"`
	State      string    `json:"state"`
	Status     string    `json:"status"` // running, done, cancelled or failed
	Total      int64     `json:"total"`  // 0 when unknown; pull requests count
	Listed     int64     `json:"listed"`
	Enqueued   int64     `json:"enqueued"`
	Unchanged  int64     `json:"unchanged"`
	At         time.Time `json:"at"`
	Error      string    `json:"error,omitempty"`
}

// Encode gives the value on status, cut to its bounds.
func (p BackfillProgress) Encode() ([]byte, error) {
	p.bound()
	return encode(p)
}

// ParseBackfillProgress reads a value on status.
func ParseBackfillProgress(value []byte) (BackfillProgress, error) {
	var p BackfillProgress
	if err := json.Unmarshal(value, &p); err != nil {
		return BackfillProgress{}, fmt.Errorf("not the progress of a backfill: %w", err)
	}
	if p.RequestID == "" || p.Status == "" {
		return BackfillProgress{}, errors.New("not the progress of a backfill: it lacks its request or its status")
	}
	p.bound()
	return p, nil
}

func (p *BackfillProgress) bound() {
	p.RequestID, p.Repository, p.Error = bounded(p.RequestID, maxShort), bounded(p.Repository, maxShort), bounded(p.Error, maxText)
	p.State, p.Status = bounded(p.State, maxVersion), bounded(p.Status, maxVersion)
}
