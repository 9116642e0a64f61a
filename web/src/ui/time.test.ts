import { describe, expect, it } from "vitest";
import { formatAge } from "./time";

const now = Date.parse("2026-03-10T12:00:00Z");
const ago = (seconds: number) => formatAge(now - seconds * 1000, now);

describe("formatAge", () => {
  it.each([
    [0, "just now"],
    [-20, "just now"],
    [44, "just now"],
    [50, "1m ago"],
    [61, "1m ago"],
    [3599, "59m ago"],
    [3600, "1h ago"],
    [86_399, "23h ago"],
    [3 * 86_400, "3d ago"],
  ])("%i seconds: %s", (seconds, expected) => {
    expect(ago(seconds)).toBe(expected);
  });

  it("gives the date of what is more than a month old", () => {
    expect(ago(40 * 86_400)).toMatch(/Jan 29, 2026|29 Jan 2026/);
  });
});
