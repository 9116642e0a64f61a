import { render, screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { decodeChallenges } from "../api/challenges";
import { Scores } from "./scores";

const wire = {
  scores: [
    {
      repository_id: 7,
      repository: "acme/widgets",
      challenger: "openai",
      version: "1.0.0",
      field: "category",
      compared: 200,
      agreed: 150,
      judged: 20,
      champion_right: 5,
      challenger_right: 14,
      champion_interval: [0.11, 0.47],
      challenger_interval: [0.48, 0.85],
      compared_at: "2026-05-01T12:00:00Z",
    },
    { challenger: "openai", field: "priority", compared: 3, agreed: 3 },
    { challenger: "openai", field: "nonsense", compared: 3 },
    { challenger: "openai", field: "tags", compared: 0 },
    null,
  ],
  disagreements: [
    {
      issue_id: 11,
      number: 4,
      repository: "acme/widgets",
      title: "It crashes",
      url: "javascript:alert(1)",
      challenger: "openai",
      version: "1.0.0",
      field: "category",
      says: {
        champion: { plugin: "rules", values: ["bug"], confidence: 0.9, sure: true },
        challenger: { plugin: "openai", values: ["feature"], confidence: 7, sure: true },
      },
      compared_at: "2026-05-01T12:00:00Z",
    },
    { issue_id: 0, field: "category" },
    "nonsense",
  ],
};

describe("decodeChallenges", () => {
  it("reads what the gateway writes, and leaves out nonsense", () => {
    const { scores, disagreements } = decodeChallenges(wire);
    expect(scores.map((s) => s.field)).toEqual(["category", "priority"]);
    expect(scores[1]).toMatchObject({ judged: 0, championInterval: [0, 1] });
    expect(disagreements).toHaveLength(1);
    expect(disagreements[0]).toMatchObject({
      issueId: 11,
      url: "",
      champion: { plugin: "rules", values: ["bug"], sure: true },
      challengerSays: { confidence: 1 },
    });
    expect(decodeChallenges(null)).toEqual({ scores: [], disagreements: [] });
  });
});

describe("Scores", () => {
  it("says who is right only where people have said so", () => {
    render(<Scores scores={decodeChallenges(wire).scores} />);
    const rows = screen.getAllByTestId("score").map((row) => within(row).getAllByRole("cell"));
    expect(rows[0]?.map((cell) => cell.textContent)).toEqual([
      "Category",
      "75% of 200",
      "5 of 20 (11% to 47%)",
      "14 of 20 (48% to 85%)",
    ]);
    expect(rows[1]?.[2]?.textContent).toBe("not known yet");
  });
});
