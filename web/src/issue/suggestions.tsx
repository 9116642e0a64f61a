import { Check, X } from "lucide-react";
import { explain } from "../api/client";
import { isMultiple, type Field, type Options, type Suggestion } from "../api/issue";
import type { ShownIssue } from "../live/board";
import { useFeed } from "../shell/context";
import { usePreference } from "../shell/preference";
import { useNotify } from "../ui/notices";
import { correctIssue } from "./correct";

/** All that is suggested for one field; it is approved or dismissed as one. */
export interface FieldSuggestion {
  field: Field;
  suggestions: Suggestion[];
}

export function byField(suggestions: readonly Suggestion[]): FieldSuggestion[] {
  const groups: FieldSuggestion[] = [];
  for (const suggestion of suggestions) {
    const group = groups.find((g) => g.field === suggestion.field);
    if (group) group.suggestions.push(suggestion);
    else groups.push({ field: suggestion.field, suggestions: [suggestion] });
  }
  return groups;
}

/**
 * What the field is corrected to by an answer: approved, what is suggested; dismissed, nothing of it. Of a
 * field with several values, what labels on the issue say stays.
 */
export function answerTo(
  group: FieldSuggestion,
  approve: boolean,
  labels: readonly string[],
  options: Options,
): string[] {
  const suggested = group.suggestions.map((s) => s.value);
  if (!isMultiple(group.field)) return approve ? suggested.slice(0, 1) : [];
  const carried = (options[group.field] ?? [])
    .filter((o) => o.label !== "" && labels.some((name) => name.toLowerCase() === o.label.toLowerCase()))
    .map((o) => o.value);
  return approve ? [...new Set([...carried, ...suggested])] : carried.filter((v) => !suggested.includes(v));
}

/** Labels that are suggested and wait for somebody's word, which is a correction. */
export function Suggestions({
  issue,
  suggestions,
  options,
}: {
  issue: ShownIssue;
  suggestions: readonly Suggestion[];
  options: Options;
}) {
  const feed = useFeed();
  const notify = useNotify();
  const [actor] = usePreference("actor");
  if (suggestions.length === 0) return null;
  const answer = (group: FieldSuggestion, approve: boolean) => {
    const wish = {
      field: group.field,
      values: answerTo(group, approve, issue.labels, options),
      reason: "",
      actor: actor.trim(),
    };
    correctIssue(feed, issue.id, wish).then(
      () => notify({ kind: "success", text: approve ? "Approved." : "Dismissed." }),
      (error: unknown) => notify({ kind: "error", text: explain(error) }),
    );
  };
  return (
    <section className="card" aria-label="Suggested labels">
      <h2 className="card-title">Suggested labels</h2>
      <ul className="suggestions">
        {byField(suggestions).map((group) => {
          const busy = issue.pending[group.field] !== undefined;
          const names = group.suggestions.map((s) => s.name).join(", ");
          return (
            <li key={group.field} data-testid={`suggestion-${group.field}`}>
              <span className="suggestion-labels">
                {group.suggestions.map((s) => (
                  <span key={s.name} className="chip">
                    <bdi>{s.name}</bdi>
                  </span>
                ))}
              </span>
              <span className="suggestion-why">
                <Why suggestion={group.suggestions[0]} />
              </span>
              <span className="suggestion-actions">
                <button
                  type="button"
                  className="button button-small"
                  aria-label={`Approve ${names}`}
                  disabled={busy}
                  onClick={() => answer(group, true)}
                >
                  <Check aria-hidden="true" /> Approve
                </button>
                <button
                  type="button"
                  className="button button-small button-quiet"
                  aria-label={`Dismiss ${names}`}
                  disabled={busy}
                  onClick={() => answer(group, false)}
                >
                  <X aria-hidden="true" /> Dismiss
                </button>
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Why({ suggestion }: { suggestion: Suggestion | undefined }) {
  if (!suggestion) return null;
  return (
    <>
      <bdi>
        {suggestion.plugin}, {Math.round(suggestion.confidence * 100)}% sure
      </bdi>
      {suggestion.reason && (
        <>
          {" "}
          · <bdi>{suggestion.reason}</bdi>
        </>
      )}
      {suggestion.state === "pending" && " · suggested on GitHub as well"}
    </>
  );
}
