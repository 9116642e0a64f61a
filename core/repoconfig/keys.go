package repoconfig

import (
	"slices"

	"github.com/dispatchai/dispatchai/core/triage"
)

// The limits of lists.
const (
	maxEntries      = 100
	maxMapped       = 1000 // values of one field
	maxRules        = 100
	maxRuleName     = 80
	maxRuleValues   = 20
	maxRuleSettings = 64 << 10 // the rules plugin's
	maxComment      = 2000
	maxAnswers      = 20
	maxHeading      = 100
	maxBudget       = 10_000 // US dollars
)

// keysOf lists the keys of a mapping whose keys are fixed. It is held to the
// published schema, manifests/repo-config.schema.json, by a test.
func keysOf(mapping string) []string {
	switch mapping {
	case "":
		return []string{"mode", "modes", "classifiers", "challenger", "daily-budget", "thresholds", "labels", "issue-types", "rules", "skip", "needs-info", "retriage", "commands", "backfill", "checks", "inherit"}
	case "modes", "thresholds", "classifiers[].thresholds", "rules[].set", "labels.map":
		return names(labelledFields())
	case "classifiers[]":
		return []string{"name", "fields", "thresholds"}
	case "labels":
		return []string{"map", "ignore", "never", "allow", "limit"}
	case "issue-types":
		return []string{"set", "map"}
	case "issue-types.map":
		return triage.ClosedValues(triage.FieldCategory)
	case "skip":
		return []string{"authors", "labels"}
	case "needs-info":
		return []string{"ask", "answers", "categories", "comment"}
	case "retriage":
		return []string{"edit", "reopen", "comment"}
	case "rules[]":
		return []string{"name", "repositories", "when", "set", "confidence", "stop"}
	case "rules[].when":
		return []string{"title", "body", "any", "author", "labels", "template"}
	}
	return nil
}

func labelledFields() []triage.Field {
	return slices.DeleteFunc(triage.Fields(), func(f triage.Field) bool { return !f.Labelled() })
}

func names[T ~string](of []T) []string {
	all := make([]string, len(of))
	for i, v := range of {
		all[i] = string(v)
	}
	return all
}
