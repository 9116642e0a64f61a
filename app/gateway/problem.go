package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/dispatchai/dispatchai/core/store"
)

// problem is an error as RFC 9457 wants it.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Errors []fieldProblem `json:"errors,omitempty"`
}

type fieldProblem struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	writeBody(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, v)
}

func writeBody(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// readJSON reads a request body, which is one JSON value, or answers why it cannot.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		writeProblem(w, problem{Status: http.StatusUnsupportedMediaType, Detail: "Send the request as application/json."})
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		// Whatever follows the value makes the request another one than it seems.
		if _, err = decoder.Token(); err == nil {
			err = errors.New("there is more than one value")
		} else if errors.Is(err, io.EOF) {
			return true
		}
	}
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooLarge):
		writeProblem(w, problem{Status: http.StatusRequestEntityTooLarge, Detail: "The request has more than 64 KiB."})
	case errors.As(err, &wrongType):
		where := wrongType.Field
		if where == "" {
			where = "the request"
		}
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "The request is not the JSON expected: " + where + " cannot be a " + wrongType.Value + "."})
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "The request's JSON is empty or cut short."})
	default:
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "The request is not the JSON expected: " + strings.TrimPrefix(err.Error(), "json: ")})
	}
	return false
}

// storeProblem answers a failed read. notFound is the detail of a 404.
func (g *Gateway) storeProblem(w http.ResponseWriter, r *http.Request, err error, notFound string) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: notFound})
	case errors.Is(r.Context().Err(), context.Canceled):
		// The client is gone; there is nobody to answer.
	default:
		g.config.Logger.ErrorContext(r.Context(), "the store did not answer", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "5")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "The store did not answer; try again shortly."})
	}
}
