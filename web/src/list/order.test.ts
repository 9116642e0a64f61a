import { describe, expect, it } from "vitest";
import { decodeIssue } from "../api/issue";
import { arrive, EMPTY_ORDER, isWorn, matches, MAX_ARRIVALS, release, takeSnapshot } from "./order";
import { ListModel } from "./model";

describe("order of a list", () => {
  const start = takeSnapshot(EMPTY_ORDER, [5, 4, 3], false);

  it("puts arrivals on top while nobody reads", () => {
    expect(arrive(start, 6, false).shown).toEqual([6, 5, 4, 3]);
  });

  it("holds arrivals while somebody reads, and shows them newest first when let go", () => {
    const held = arrive(arrive(start, 6, true), 7, true);
    expect(held.shown).toEqual([5, 4, 3]);
    expect(held.held).toEqual([7, 6]);
    expect(release(held).shown).toEqual([7, 6, 5, 4, 3]);
  });

  it("shows an issue once, however often it arrives", () => {
    const twice = arrive(arrive(arrive(start, 4, false), 6, true), 6, false);
    expect(twice.shown).toEqual([5, 4, 3]);
    expect(twice.held).toEqual([6]);
  });

  it("appends the next page and keeps every row where it is", () => {
    const moved = takeSnapshot(arrive(start, 6, false), [5, 4, 3, 2, 1], false);
    expect(moved.shown).toEqual([6, 5, 4, 3, 2, 1]);
  });

  it("takes what a later snapshot has on top as arrivals", () => {
    expect(takeSnapshot(start, [8, 7, 5, 4, 3], false).shown).toEqual([8, 7, 5, 4, 3]);
    const held = takeSnapshot(start, [8, 7, 5, 4, 3], true);
    expect(held.shown).toEqual([5, 4, 3]);
    expect(held.held).toEqual([8, 7]);
  });

  it("does not reorder rows that a snapshot has in another order", () => {
    expect(takeSnapshot(start, [3, 4, 5], false).shown).toEqual([5, 4, 3]);
  });

  it("does not show what is held because a page brings it again", () => {
    const held = arrive(start, 6, true);
    expect(takeSnapshot(held, [5, 4, 3, 6, 2], true)).toMatchObject({ shown: [5, 4, 3, 2], held: [6] });
  });

  it("is bounded, and says when it should start again", () => {
    let order = start;
    for (let id = 10; id < 10 + MAX_ARRIVALS + 5; id++) order = arrive(order, id, true);
    expect(order.held).toHaveLength(MAX_ARRIVALS);
    expect(order.overflowed).toBe(true);
    expect(isWorn(order)).toBe(true);
    expect(isWorn(start)).toBe(false);
  });

  it("starts again from a snapshot when told to", () => {
    const model = new ListModel();
    model.snapshot([3, 2, 1]);
    model.restart();
    expect(model.getOrder().shown).toEqual([3, 2, 1]);
    model.snapshot([9, 8]);
    expect(model.getOrder().shown).toEqual([9, 8]);
  });
});

describe("matches", () => {
  const issue = decodeIssue({
    id: 1,
    number: 42,
    title: "Panic in the Planner",
    repository: { id: 1, full_name: "fernwood/lumen-db" },
    status: "classified",
    classification: { fields: { category: { values: ["bug"] } } },
  })!;

  it.each([
    [{}, true],
    [{ repository: "fernwood/lumen-db", category: "bug", status: "classified" }, true],
    [{ repository: "fernwood/atlas-cli" }, false],
    [{ category: "feature" }, false],
    [{ priority: "high" }, false],
    [{ status: "received" }, false],
    [{ q: "planner PANIC" }, true],
    [{ q: "#42" }, true],
    [{ q: "planner storage" }, false],
  ])("%o: %s", (filters, expected) => {
    expect(matches(issue, filters)).toBe(expected);
  });
});
