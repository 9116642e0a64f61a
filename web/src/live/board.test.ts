import { beforeEach, describe, expect, it, vi } from "vitest";
import { decodeIssue, type Issue } from "../api/issue";
import { IssueBoard, mergeIssue } from "./board";

function issue(over: Partial<Record<string, unknown>> = {}): Issue {
  const made = decodeIssue({
    id: 1,
    number: 7,
    title: "as opened",
    state: "open",
    labels: [],
    created_at: "2026-01-01T00:00:00Z",
    updated_at: "2026-01-01T00:00:00Z",
    received_at: "2026-01-01T00:00:01Z",
    revision: 1,
    status: "classified",
    classification: { fields: { category: { values: ["bug"], confidence: 0.8, source: "plugin" } } },
    similar_issues: [{ id: 2, similarity: 0.9 }],
    ...over,
  });
  if (made === undefined) throw new Error("not an issue");
  return made;
}

const received = () =>
  issue({ revision: 0, status: "received", classification: null, similar_issues: [], labels: [] });
const category = (of: Issue | undefined) => of?.classification?.fields.category?.values[0];

describe("mergeIssue", () => {
  it("takes a classification over an issue that was only received", () => {
    const merged = mergeIssue(received(), issue());
    expect(merged.status).toBe("classified");
    expect(category(merged)).toBe("bug");
  });

  it("never lets a received frame take a classification away", () => {
    const merged = mergeIssue(issue(), received());
    expect(merged).toMatchObject({ status: "classified", revision: 1 });
    expect(category(merged)).toBe("bug");
    expect(merged.similar).toHaveLength(1);
  });

  it("lets the higher revision win in either order", () => {
    const old = issue();
    const corrected = issue({
      revision: 2,
      status: "corrected",
      classification: { fields: { category: { values: ["feature"], confidence: 1, source: "human" } } },
    });
    for (const merged of [mergeIssue(old, corrected), mergeIssue(corrected, old)]) {
      expect(merged).toMatchObject({ status: "corrected", revision: 2 });
      expect(category(merged)).toBe("feature");
    }
  });

  it("takes labels and title by the time of their change, whatever the revision", () => {
    const held = issue({ revision: 3 });
    const labelled = issue({
      revision: 0,
      updated_at: "2026-01-01T00:01:00Z",
      labels: ["kind/bug"],
      title: "edited",
    });
    const merged = mergeIssue(held, labelled);
    expect(merged).toMatchObject({ labels: ["kind/bug"], title: "edited", revision: 3 });
    const late = issue({ revision: 4, updated_at: "2025-12-31T00:00:00Z", title: "older" });
    expect(mergeIssue(merged, late)).toMatchObject({ title: "edited", labels: ["kind/bug"], revision: 4 });
  });

  it("gives the same result for every order of the same accounts", () => {
    const accounts = [
      received(),
      issue({ updated_at: "2026-01-01T00:00:00Z" }),
      issue({ revision: 2, updated_at: "2026-01-01T00:00:05Z", labels: ["kind/bug"] }),
      issue({
        revision: 3,
        updated_at: "2026-01-01T00:00:04Z",
        status: "corrected",
        classification: { fields: { category: { values: ["question"], confidence: 1, source: "human" } } },
      }),
    ];
    const results = permutations(accounts).map((order) =>
      JSON.stringify(order.reduce<Issue | undefined>((held, next) => mergeIssue(held, next), undefined)),
    );
    expect(results).toHaveLength(24);
    expect(new Set(results).size).toBe(1);
  });
});

function permutations<T>(items: T[]): T[][] {
  if (items.length <= 1) return [items];
  return items.flatMap((item, at) =>
    permutations([...items.slice(0, at), ...items.slice(at + 1)]).map((rest) => [item, ...rest]),
  );
}

describe("IssueBoard", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });

  it("tells subscribers once for many events that come together", () => {
    const board = new IssueBoard();
    const told = vi.fn();
    board.subscribe(told);
    for (let id = 1; id <= 100; id++) board.merge(issue({ id }));
    expect(told).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1000);
    expect(told).toHaveBeenCalledTimes(1);
  });

  it("still tells them, at leisure, when the tab is hidden", () => {
    vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    const frame = vi.spyOn(window, "requestAnimationFrame");
    const board = new IssueBoard();
    const told = vi.fn();
    board.subscribe(told);
    board.merge(issue());
    expect(frame).not.toHaveBeenCalled();
    vi.advanceTimersByTime(999);
    expect(told).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(told).toHaveBeenCalledTimes(1);
  });

  it("returns the same object until something changes", () => {
    const board = new IssueBoard();
    board.merge(issue());
    const first = board.get(1);
    expect(board.get(1)).toBe(first);
    board.merge(issue({ revision: 2 }));
    expect(board.get(1)).not.toBe(first);
  });

  it("lays a pending correction over what is known, and takes it off again", () => {
    const board = new IssueBoard();
    board.merge(issue());
    board.setPending(1, "category", { values: ["feature"], actor: "", reason: "", phase: "sending" });
    expect(category(board.get(1))).toBe("feature");
    board.merge(issue({ labels: ["x"] }));
    expect(category(board.get(1))).toBe("feature");
    board.clearPending(1, "category");
    expect(category(board.get(1))).toBe("bug");
    expect(board.get(1)?.labels).toEqual(["x"]);
  });

  it("stays bounded, and forgets nothing that is being corrected", () => {
    const board = new IssueBoard();
    board.merge(issue({ id: 1 }));
    board.setPending(1, "category", { values: ["feature"], actor: "", reason: "", phase: "sending" });
    for (let id = 2; id <= 20_002; id++) board.merge(issue({ id }));
    expect(board.get(1)).toBeDefined();
    expect(board.get(2)).toBeUndefined();
    expect(board.get(20_002)).toBeDefined();
  });
});
