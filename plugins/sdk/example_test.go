package sdk_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// crashes calls an issue a bug when it quotes a panic, and abstains otherwise.
type crashes struct{}

func (crashes) Describe() sdk.Description {
	return sdk.Description{Name: "crashes", Version: "1.0.0", Fields: []sdk.Field{sdk.Category}}
}

func (crashes) Classify(_ context.Context, r sdk.Request) (sdk.Result, error) {
	if !strings.Contains(r.Issue.Body, "panic:") || !r.Accepts(sdk.Category, "bug") {
		return sdk.Result{}, nil
	}
	return sdk.Result{Fields: map[sdk.Field]sdk.Answer{
		sdk.Category: {Values: []string{"bug"}, Confidence: 0.9, Reason: "The text quotes a panic."},
	}}, nil
}

// A plugin's main is one call. Started by hand rather than by DispatchAI, it
// says what it is.
func ExampleServe() {
	if err := sdk.Serve(crashes{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// this program is a DispatchAI classifier plugin: it is started by DispatchAI, not by hand; name its path in the configuration, try it with `dispatchai plugin test PATH`, or set DISPATCHAI_PLUGIN_DEBUG=1 to run it under a debugger
}

func ExampleClassifier() {
	result, err := crashes{}.Classify(context.Background(), sdk.Request{
		Repository: &sdk.Repository{Options: map[sdk.Field][]sdk.Option{sdk.Category: {{Value: "bug"}}}},
		Issue:      sdk.Issue{Title: "It stops", Body: "panic: runtime error: index out of range"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := result.Fields[sdk.Category]
	fmt.Printf("%s (%.0f%%): %s\n", answer.Values[0], 100*answer.Confidence, answer.Reason)
	// Output:
	// bug (90%): The text quotes a panic.
}
