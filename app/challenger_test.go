package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dispatchai/dispatchai/core/store"
)

// TestChallengerOnTheDashboard: what a challenger would have said is on its page, on a
// narrow screen too; a click on the one who is right corrects the issue and counts.
func TestChallengerOnTheDashboard(t *testing.T) {
	t.Parallel()
	browser := openBrowser(t)
	dir, err := os.MkdirTemp("", "dispatchai-challenger-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := startDemo(t, "--speed", "5", "--seed", "7", "--challenger", "bold="+revisedPlugin(t, dir, "3.0.0"))
	var seen struct {
		Scores        []store.ChallengeScore
		Disagreements []store.Disagreement
	}
	look := func() {
		t.Helper()
		response, err := http.Get(address + "/api/challenges")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&seen); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they disagree", func() bool { look(); return len(seen.Disagreements) > 0 })
	for _, d := range seen.Disagreements {
		if d.Challenger != "bold" || d.Version != "3.0.0" || d.Says.Champion.Plugin == "bold" || d.Says.Challenger.Values[0] != "bug" {
			t.Errorf("a disagreement is %+v", d)
		}
	}

	const row, side = `[data-testid="disagreement"]`, `[data-testid="side-challenges"]`
	if err := chromedp.Do(browser, chromedp.EmulateViewport(400, 800), chromedp.Navigate(address+"/challenger"), chromedp.WaitVisible(row)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	if wide, err := chromedp.Run(browser, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); err != nil || wide > 400 {
		t.Errorf("the page is %d pixels wide on a screen of 400: %v", wide, err)
	}
	picture(browser, t, "challenger") // at both widths
	if err := chromedp.Do(browser, chromedp.EmulateViewport(1600, 1000), chromedp.WaitVisible(side)); err != nil {
		t.Fatal(err)
	}
	issue, err := chromedp.Run(browser, chromedp.Evaluate[string](`document.querySelector('`+row+`').dataset.issueId`))
	if err != nil {
		t.Fatal(err)
	}
	this := row + `[data-issue-id="` + issue + `"]`
	if err := chromedp.Do(browser, chromedp.Click(this+" "+side), chromedp.WaitNotPresent(this)); err != nil {
		t.Fatalf("say that the challenger is right about issue %s: %v", issue, err)
	}
	eventually(t, "it counts for the challenger", func() bool {
		look()
		for _, s := range seen.Scores {
			if s.ChallengerRight > 0 {
				return true
			}
		}
		return false
	})
	var corrected struct {
		Corrections []struct{ New []string }
	}
	response, err := http.Get(address + "/api/issues/" + issue)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&corrected); err != nil || len(corrected.Corrections) != 1 || corrected.Corrections[0].New[0] != "bug" {
		t.Errorf("the issue's corrections are %+v, %v", corrected, err)
	}
}
