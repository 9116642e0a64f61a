package openai

import (
	"math"

	api "github.com/openai/openai-go/v3"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// rate is what a token costs, in millionths of a millionth of a US dollar, so that
// sums are exact.
type rate struct{ input, cached, output int64 }

func newRate(p Prices) rate {
	pico := func(perMillion float64) int64 { return int64(math.Round(perMillion * 1e6)) }
	return rate{pico(p.Input), pico(p.CachedInput), pico(p.Output)}
}

// spent are the tokens of one or several requests, as the server counts them.
type spent struct {
	input  int64 // those from the server's own cache included
	cached int64
	output int64
}

func (s *spent) add(o spent) {
	s.input, s.cached, s.output = s.input+o.input, s.cached+o.cached, s.output+o.output
}

// usage is what the tokens cost.
func (r rate) usage(s spent) sdk.Usage {
	cached := min(max(s.cached, 0), s.input)
	pico := (s.input-cached)*r.input + cached*r.cached + s.output*r.output
	return sdk.Usage{InputTokens: s.input, OutputTokens: s.output, CostUSD: float64(pico) / 1e12}
}

// part is the share of one of n that caused the cost together; all shares add up to it.
func (s spent) part(i, n int) spent {
	of := func(total int64) int64 { return total*int64(i+1)/int64(n) - total*int64(i)/int64(n) }
	return spent{of(s.input), of(s.cached), of(s.output)}
}

func spentBy(c *api.ChatCompletion) spent {
	return spent{c.Usage.PromptTokens, c.Usage.PromptTokensDetails.CachedTokens, c.Usage.CompletionTokens}
}
