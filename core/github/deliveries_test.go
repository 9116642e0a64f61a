package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestClientReadsTheDeliveryLog(t *testing.T) {
	s := newServer(t)
	s.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/app/hook/deliveries" || r.URL.Query().Get("per_page") != "100" || r.URL.Query().Has("status") {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		if r.URL.Query().Get("cursor") == "v1_2" {
			fmt.Fprint(w, `[{"id":190000000001,"guid":"g1","delivered_at":"2026-11-20T09:00:00Z","redelivery":false,"duration":10,"status":"failed to connect to host",
				"status_code":0,"event":"ping","action":null,"installation_id":null,"repository_id":null,"throttled_at":null}]`)
			return
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s/app/hook/deliveries?per_page=100&cursor=v1_2>; rel="next"`, s.URL))
		fmt.Fprint(w, `[{"id":190000000003,"guid":"g2","delivered_at":"2026-11-20T09:00:02+00:00","redelivery":true,"status":"OK","status_code":200,
			"event":"issues","action":"opened","installation_id":5,"repository_id":7}]`)
	}
	c := s.client()
	var got []Delivery
	pages := 0
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		page, err := c.ListDeliveries(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		got, cursor = append(got, page.Deliveries...), page.Next
		if page.At.IsZero() || time.Since(page.At).Abs() > time.Minute {
			t.Errorf("a page is of %s", page.At)
		}
	}
	want := []Delivery{
		{ID: 190000000003, GUID: "g2", Event: "issues", Action: "opened", DeliveredAt: time.Date(2026, 11, 20, 9, 0, 2, 0, time.UTC), Redelivery: true,
			Status: "OK", StatusCode: 200, InstallationID: 5, RepositoryID: 7},
		{ID: 190000000001, GUID: "g1", Event: "ping", DeliveredAt: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), Status: "failed to connect to host"},
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 2 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
	if !want[0].OK() || want[1].OK() || (Delivery{StatusCode: 302}).OK() {
		t.Error("OK is not what a receiver accepted")
	}
}

func TestClientRedelivers(t *testing.T) {
	s := newServer(t)
	asked := ""
	s.app = func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.Path
		switch r.URL.Path {
		case "/app/hook/deliveries/8/attempts":
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{}`)
		case "/app/hook/deliveries/8":
			fmt.Fprint(w, `{"id":8,"guid":"g","request":{"payload":{}},"response":{"headers":{},"payload":"{\"status\":\"accepted\"}"}}`)
		case "/app/hook/deliveries/9":
			fmt.Fprint(w, `{"id":9,"guid":"g","response":{"headers":{},"payload":{"status":"accepted"}}}`)
		case "/app/hook/deliveries/10":
			fmt.Fprint(w, `{"id":10,"guid":"g","response":{"headers":null,"payload":null}}`)
		default:
			answer(w, 404, "Not Found")
		}
	}
	registry := prometheus.NewRegistry()
	c := s.client(func(cfg *ClientConfig) { cfg.Registerer = registry })
	if err := c.RedeliverDelivery(t.Context(), 8); err != nil || asked != "POST /app/hook/deliveries/8/attempts" {
		t.Errorf("%v after %s", err, asked)
	}
	for id, want := range map[int64]string{8: `{"status":"accepted"}`, 9: `{"status":"accepted"}`, 10: ""} {
		if text, err := c.DeliveryAnswer(t.Context(), id); text != want || err != nil {
			t.Errorf("answer of %d: %q, %v; want %q", id, text, err, want)
		}
	}
	if err := c.RedeliverDelivery(t.Context(), 404); !errors.Is(err, ErrNotFound) {
		t.Errorf("one that is gone: %v", err)
	}
	asked = ""
	if err := c.RedeliverDelivery(t.Context(), 0); !errors.Is(err, ErrInvalid) || asked != "" {
		t.Errorf("no delivery at all: %v, asked %q", err, asked)
	}
	if _, err := c.DeliveryAnswer(t.Context(), -1); !errors.Is(err, ErrInvalid) || asked != "" {
		t.Errorf("no delivery at all: %v, asked %q", err, asked)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				routes[l.GetValue()] = true
			}
		}
	}
	for _, want := range []string{"POST /app/hook/deliveries/{id}/attempts", "GET /app/hook/deliveries/{id}"} {
		if !routes[want] {
			t.Errorf("no metric of %s", want)
		}
	}
}

func TestClientChangesTheWebhookURL(t *testing.T) {
	s := newServer(t)
	address := "https://old.example.com/webhook/github"
	s.app = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app/hook/config" {
			answer(w, 404, "Not Found")
			return
		}
		if r.Method == http.MethodPatch {
			var change map[string]string
			if err := json.NewDecoder(r.Body).Decode(&change); err != nil || len(change) != 1 {
				t.Errorf("changes %v, %v: more than the URL", change, err)
			}
			address = change["url"]
		}
		fmt.Fprintf(w, `{"content_type":"json","insecure_ssl":"0","secret":"********","url":%q}`, address)
	}
	c := s.client()
	if err := c.SetWebhookURL(t.Context(), "https://new.example.com/webhook/github"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.WebhookURL(t.Context()); got != "https://new.example.com/webhook/github" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
