package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Delivery is one attempt to deliver a webhook, as GitHub's log of the App's
// deliveries has it. The log goes back three days, and GitHub never tries again
// by itself: RedeliverDelivery asks for it.
type Delivery struct {
	// ID is the attempt's own. GUID (X-GitHub-Delivery) is the same for all
	// attempts of one delivery, which has arrived when any of them is OK.
	ID          int64
	GUID        string
	Event       string
	Action      string // "" for events without actions
	DeliveredAt time.Time
	Redelivery  bool
	// Status is GitHub's word for how it went ("OK", "failed to connect to
	// host"), StatusCode the receiver's answer, 0 when there was none.
	Status         string
	StatusCode     int
	InstallationID int64 // 0 for a ping
	RepositoryID   int64 // 0 where it is about none
}

// OK tells whether the receiver accepted the attempt.
func (d Delivery) OK() bool { return d.StatusCode >= 200 && d.StatusCode < 300 }

// deliveryAnswer is a delivery as the API has it; absent numbers are null there.
type deliveryAnswer struct {
	ID             int64     `json:"id"`
	GUID           string    `json:"guid"`
	DeliveredAt    time.Time `json:"delivered_at"`
	Redelivery     bool      `json:"redelivery"`
	Status         string    `json:"status"`
	StatusCode     int       `json:"status_code"`
	Event          string    `json:"event"`
	Action         string    `json:"action"`
	InstallationID int64     `json:"installation_id"`
	RepositoryID   int64     `json:"repository_id"`
	Response       struct {
		Payload json.RawMessage `json:"payload"`
	} `json:"response"`
}

func (a deliveryAnswer) delivery() Delivery {
	return Delivery{
		ID: a.ID, GUID: a.GUID, Event: a.Event, Action: a.Action, DeliveredAt: a.DeliveredAt.UTC(), Redelivery: a.Redelivery,
		Status: shorten(a.Status), StatusCode: a.StatusCode, InstallationID: a.InstallationID, RepositoryID: a.RepositoryID,
	}
}

// deliveriesPerPage is the most that GitHub gives.
const deliveriesPerPage = 100

// DeliveryPage is a page of the App's deliveries, the newest first.
type DeliveryPage struct {
	Deliveries []Delivery
	// Next is the cursor of the next page, "" after the last.
	Next string
	// At is when GitHub answered, by its own clock; zero when it does not tell.
	At time.Time
}

// ListDeliveries returns a page of the App's deliveries; begin with the cursor "".
// There is no filter on purpose: GitHub's own misses the deliveries that found no host.
func (c *Client) ListDeliveries(ctx context.Context, cursor string) (DeliveryPage, error) {
	query := url.Values{"per_page": {fmt.Sprint(deliveriesPerPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var answers []deliveryAnswer
	response, err := c.call(ctx, "list the App's webhook deliveries", 0, http.MethodGet, "app/hook/deliveries?"+query.Encode(), nil, &answers)
	if err != nil {
		return DeliveryPage{}, err
	}
	page := DeliveryPage{Next: response.Cursor}
	page.At, _ = http.ParseTime(response.Header.Get("Date"))
	for _, a := range answers {
		page.Deliveries = append(page.Deliveries, a.delivery())
	}
	return page, nil
}

// DeliveryAnswer returns what the webhook's receiver answered to an attempt:
// its body, empty when there was no answer. A receiver's text is hostile until
// proven otherwise.
func (c *Client) DeliveryAnswer(ctx context.Context, id int64) (string, error) {
	operation := fmt.Sprintf("read webhook delivery %d", id)
	if id <= 0 {
		return "", invalid(operation, 0, "the delivery is unknown")
	}
	var answer deliveryAnswer
	if _, err := c.call(ctx, operation, 0, http.MethodGet, fmt.Sprintf("app/hook/deliveries/%d", id), nil, &answer); err != nil {
		return "", err
	}
	// GitHub gives the body as text; where it is a document, as some versions
	// of Enterprise Server show JSON, the document is the body.
	var text string
	if err := json.Unmarshal(answer.Response.Payload, &text); err == nil {
		return text, nil
	}
	return string(answer.Response.Payload), nil
}

// RedeliverDelivery asks GitHub for another attempt of the delivery that the
// attempt id belongs to. GitHub makes it soon after the answer, with the same
// GUID and a signature by the present secret.
func (c *Client) RedeliverDelivery(ctx context.Context, id int64) error {
	operation := fmt.Sprintf("redeliver webhook delivery %d", id)
	if id <= 0 {
		return invalid(operation, 0, "the delivery is unknown")
	}
	_, err := c.call(ctx, operation, 0, http.MethodPost, fmt.Sprintf("app/hook/deliveries/%d/attempts", id), nil, nil)
	return accepted(err)
}

// accepted takes 202 for what it is where a request only asks for something to
// be done: the library underneath reports it as a failure.
func accepted(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusAccepted {
		return nil
	}
	return err
}

// WebhookURL reads where GitHub sends the App's webhooks.
func (c *Client) WebhookURL(ctx context.Context) (string, error) {
	var answer struct {
		URL string `json:"url"`
	}
	_, err := c.call(ctx, "read the App's webhook", 0, http.MethodGet, "app/hook/config", nil, &answer)
	return answer.URL, err
}

// SetWebhookURL changes where GitHub sends the App's webhooks; the secret stays.
func (c *Client) SetWebhookURL(ctx context.Context, address string) error {
	_, err := c.call(ctx, "set the App's webhook URL", 0, http.MethodPatch, "app/hook/config", map[string]string{"url": address}, nil)
	return err
}
