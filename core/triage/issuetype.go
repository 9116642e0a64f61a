package triage

// IssueType is the organisation's issue type that the category sets, spelt as
// the organisation does: the one that the configuration names, or else the one
// whose name says the same as the category does ("Bug", "Feature", "Task" for
// maintenance). It is false where the configuration sets no types or the
// organisation has none for it.
func (c RepositoryConfig) IssueType(category string, types []string) (string, bool) {
	if !c.IssueTypes.Set {
		return "", false
	}
	if named, ok := c.IssueTypes.Map[category]; ok {
		for _, t := range types {
			if named != "" && LabelKey(t) == LabelKey(named) {
				return t, true
			}
		}
		return "", false
	}
	best, least := "", narrower
	for _, t := range types {
		v, fit := categoryOf(normaliseWords(stripShortcodes(t)))
		if v == category && v != "" && (fit < least || fit == least && best != "" && t < best) {
			best, least = t, fit
		}
	}
	return best, best != ""
}
