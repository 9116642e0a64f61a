import { describe, expect, it } from "vitest";
import { decodeIssueDetail, type Suggestion } from "../api/issue";
import { answerTo, byField } from "./suggestions";

const suggestion = (field: Suggestion["field"], value: string, name = value): Suggestion => ({
  name,
  field,
  value,
  confidence: 0.8,
  reason: "because",
  plugin: "rules",
  version: "1",
  state: "pending",
});

const options = {
  tags: [
    { value: "regression", label: "Regression", description: "" },
    { value: "flaky", label: "flaky", description: "" },
    { value: "unlabelled", label: "", description: "" },
  ],
};

describe("answers to suggestions", () => {
  const category = { field: "category" as const, suggestions: [suggestion("category", "bug", "kind/bug")] };
  const tags = { field: "tags" as const, suggestions: [suggestion("tags", "flaky")] };

  it("approves and dismisses a single value", () => {
    expect(answerTo(category, true, [], options)).toEqual(["bug"]);
    expect(answerTo(category, false, ["kind/bug"], options)).toEqual([]);
  });

  it("leaves what the issue's labels say of a field with several values", () => {
    expect(answerTo(tags, true, ["regression"], options)).toEqual(["regression", "flaky"]);
    expect(answerTo(tags, false, ["regression"], options)).toEqual(["regression"]);
  });

  it("takes all of a field's suggestions as one", () => {
    const groups = byField([suggestion("tags", "a"), suggestion("category", "bug"), suggestion("tags", "b")]);
    expect(groups.map((g) => [g.field, g.suggestions.length])).toEqual([
      ["tags", 2],
      ["category", 1],
    ]);
  });
});

describe("decoding", () => {
  it("drops what is no suggestion", () => {
    const detail = decodeIssueDetail({
      id: 1,
      suggestions: [
        { name: "kind/bug", field: "category", value: "bug", confidence: 7, state: "shown" },
        { name: "x", field: "nonsense" },
        null,
      ],
    });
    expect(detail?.suggestions).toHaveLength(1);
    expect(detail?.suggestions[0]).toMatchObject({
      name: "kind/bug",
      confidence: 1,
      state: "shown",
      reason: "",
    });
  });
});
