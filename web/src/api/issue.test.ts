import { describe, expect, it } from "vitest";
import {
  decodeFrame,
  decodeIssue,
  decodeIssueDetail,
  decodeIssuePage,
  decodeRepositories,
  decodeSession,
  decodeStats,
} from "./issue";

const wire = {
  id: 1234,
  repository: { id: 9, full_name: "fernwood/lumen-db", private: true },
  number: 7,
  title: "Panic in planner",
  state: "closed",
  author: { login: "octavia", type: "User" },
  url: "https://github.com/fernwood/lumen-db/issues/7",
  labels: ["kind/bug"],
  created_at: "2026-01-02T03:04:05Z",
  updated_at: "2026-01-02T03:04:06Z",
  received_at: "2026-01-02T03:04:07Z",
  revision: 5,
  status: "corrected",
  classification: {
    delivery_id: "d",
    fields: {
      category: { values: ["bug"], confidence: 0.93, reason: "r", source: "human", actor: "octavia" },
      mystery: { values: ["x"] },
    },
    classified_at: "2026-01-02T03:04:08Z",
  },
  similar_issues: [
    { id: 3, number: 2, title: "t", state: "open", url: "https://x.example/", similarity: 0.5 },
  ],
};

describe("decodeIssue", () => {
  it("reads what the gateway writes", () => {
    const issue = decodeIssue(wire);
    expect(issue).toMatchObject({
      id: 1234,
      repository: { fullName: "fernwood/lumen-db", private: true },
      state: "closed",
      status: "corrected",
      revision: 5,
      similar: [{ id: 3, similarity: 0.5 }],
    });
    expect(issue?.classification?.fields.category).toEqual({
      values: ["bug"],
      confidence: 0.93,
      reason: "r",
      source: "human",
      plugin: "",
      version: "",
      actor: "octavia",
      fallbackFor: "",
    });
    expect(issue?.classification).toMatchObject({ hold: "", passedOver: [] });
  });

  it("reads why an issue is held and which classifiers were passed over", () => {
    const issue = decodeIssue({
      ...wire,
      classification: {
        fields: {
          category: {
            values: ["bug"],
            confidence: 0.9,
            source: "plugin",
            plugin: "rules",
            fallback_for: "openai",
          },
        },
        hold: "its text steers",
        passed_over: [
          { plugin: "openai", reason: "slow", detail: "no answer within 10s" },
          { plugin: "x", reason: "mystery" },
          3,
        ],
      },
    });
    expect(issue?.classification).toMatchObject({
      hold: "its text steers",
      passedOver: [{ plugin: "openai", reason: "slow", detail: "no answer within 10s" }],
    });
    expect(issue?.classification?.fields.category?.fallbackFor).toBe("openai");
  });

  it("drops fields it does not know", () => {
    expect(Object.keys(decodeIssue(wire)?.classification?.fields ?? {})).toEqual(["category"]);
  });

  it("takes Go's null lists and absent objects as empty", () => {
    const issue = decodeIssue({
      id: 1,
      labels: null,
      similar_issues: null,
      classification: null,
      author: null,
    });
    expect(issue).toMatchObject({ labels: [], similar: [], classification: null, author: { login: "" } });
  });

  it("keeps only links that are safe to follow", () => {
    expect(decodeIssue({ ...wire, url: "javascript:alert(1)" })?.url).toBe("");
    expect(decodeIssue({ ...wire, url: "data:text/html,x" })?.url).toBe("");
  });

  it("refuses what has no ID", () => {
    for (const raw of [null, undefined, 7, "x", [], {}, { id: "1" }, { id: 1.5 }, { id: 2 ** 60 }]) {
      expect(decodeIssue(raw)).toBeUndefined();
    }
  });

  it("keeps confidence a probability", () => {
    const fields = {
      category: { values: ["bug"], confidence: 7 },
      priority: { values: ["low"], confidence: -1 },
    };
    const issue = decodeIssue({ ...wire, classification: { fields } });
    expect(issue?.classification?.fields.category?.confidence).toBe(1);
    expect(issue?.classification?.fields.priority?.confidence).toBe(0);
  });
});

describe("decodeFrame", () => {
  it("reads each type", () => {
    expect(decodeFrame('{"type":"hello","cursor":"c","server_time":"t"}')).toEqual({
      type: "hello",
      cursor: "c",
      serverTime: "t",
    });
    expect(decodeFrame('{"type":"resync","cursor":"c"}')).toEqual({ type: "resync", cursor: "c" });
    const frame = decodeFrame(
      JSON.stringify({
        type: "issue",
        event: "corrected",
        cursor: "c",
        issue: wire,
        correction: { event_id: "e", field: "category", old: null, new: ["bug"] },
      }),
    );
    expect(frame).toMatchObject({ type: "issue", event: "corrected", correction: { eventId: "e", old: [] } });
  });

  it("passes over what it does not know", () => {
    for (const data of ["", "null", "[]", "{", '{"type":"new"}', '{"type":"issue"}', new ArrayBuffer(2)]) {
      expect(decodeFrame(data)).toBeUndefined();
    }
  });
});

/** A small seeded generator, so that a failure can be run again. */
function generator(seed: number) {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
  const keys = [
    ...Object.keys(wire),
    "fields",
    "category",
    "values",
    "type",
    "cursor",
    "issue",
    "__proto__",
    "options",
  ];
  const scalars: unknown[] = [
    null,
    true,
    0,
    -1,
    1e308,
    1234,
    "",
    "x",
    "issue",
    "javascript:x",
    "\u202e",
    "\ud800",
  ];
  const value = (depth: number): unknown => {
    const kind = next();
    if (depth <= 0 || kind < 0.4) return pick(scalars);
    if (kind < 0.65) return Array.from({ length: Math.floor(next() * 4) }, () => value(depth - 1));
    return Object.fromEntries(
      Array.from({ length: Math.floor(next() * 6) }, () => [pick(keys), value(depth - 1)]),
    );
  };
  /** The true thing with some of its parts replaced. */
  const damage = (whole: unknown): unknown => {
    if (next() < 0.12) return value(3);
    if (Array.isArray(whole)) return whole.map(damage);
    if (typeof whole === "object" && whole !== null) {
      return Object.fromEntries(Object.entries(whole).map(([key, part]) => [key, damage(part)]));
    }
    return whole;
  };
  return { value, damage };
}

describe("any JSON at all", () => {
  it("is decoded to the promised shape, or refused, and never thrown on", () => {
    const { value, damage } = generator(20260102);
    for (let i = 0; i < 4000; i++) {
      const raw = i % 2 === 0 ? value(5) : damage(wire);
      const issue = decodeIssue(raw);
      if (issue) {
        expect(Number.isSafeInteger(issue.id)).toBe(true);
        expect(typeof issue.title).toBe("string");
        expect(issue.labels.every((label) => typeof label === "string")).toBe(true);
        expect(issue.url === "" || /^https?:/i.test(issue.url)).toBe(true);
        for (const answer of Object.values(issue.classification?.fields ?? {})) {
          expect(answer.confidence).toBeGreaterThanOrEqual(0);
          expect(answer.confidence).toBeLessThanOrEqual(1);
          expect(answer.values.every((v) => typeof v === "string")).toBe(true);
        }
      }
      decodeIssueDetail(raw);
      decodeIssuePage(raw);
      decodeRepositories(raw);
      decodeStats(raw);
      decodeSession(raw);
      decodeFrame(JSON.stringify({ type: "issue", issue: raw, correction: raw }));
    }
  });
});
