import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiClient, ApiError, explain } from "../api/client";
import { decodeFrame, type IssueDetail } from "../api/issue";
import { LiveFeed, queryKeys } from "../live/feed";
import { newQueryClient } from "../shell/session";
import { correctIssue } from "./correct";

const wire = {
  id: 1,
  number: 7,
  title: "t",
  updated_at: "2026-01-01T00:00:00Z",
  revision: 1,
  status: "classified",
  classification: { fields: { category: { values: ["bug"], confidence: 0.8, source: "plugin" } } },
};
const correctedWire = {
  ...wire,
  revision: 2,
  status: "corrected",
  classification: {
    fields: { category: { values: ["feature"], confidence: 1, source: "human", actor: "me" } },
  },
  corrections: [{ event_id: "e1", field: "category", old: ["bug"], new: ["feature"], actor: "me" }],
};
const wish = { field: "category" as const, values: ["feature"], reason: "because", actor: "me" };

let requests: { path: string; init: RequestInit }[];
let answer: (path: string) => Response;
let feed: LiveFeed;

const json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status });
const category = () => feed.board.get(1)?.classification?.fields.category?.values[0];

beforeEach(() => {
  vi.useFakeTimers();
  requests = [];
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    requests.push({ path, init });
    return Promise.resolve(answer(path));
  });
  feed = new LiveFeed(new ApiClient(), newQueryClient(), "", () => undefined);
  const frame = decodeFrame(JSON.stringify({ type: "issue", event: "classified", cursor: "c", issue: wire }));
  if (frame?.type !== "issue") throw new Error("not a frame");
  feed.board.merge(frame.issue);
});

afterEach(() => {
  feed.stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("correctIssue", () => {
  it("shows the new value before the server has answered, and keeps it after", async () => {
    answer = () => json(200, correctedWire);
    const outcome = correctIssue(feed, 1, wish);
    expect(category()).toBe("feature");
    expect(feed.board.get(1)?.pending.category?.phase).toBe("sending");
    expect(await outcome).toBe("corrected");
    expect(category()).toBe("feature");
    expect(feed.board.get(1)?.pending).toEqual({});
    expect(feed.queries.getQueryData<IssueDetail>(queryKeys.issue(1))?.corrections).toHaveLength(1);
  });

  it("sends what the contract asks for", async () => {
    answer = () => json(200, correctedWire);
    await correctIssue(feed, 1, wish);
    const { path, init } = requests[0]!;
    expect(path).toBe("/api/issues/1/correct");
    expect(init.method).toBe("POST");
    expect(JSON.parse(init.body as string)).toEqual({
      field: "category",
      values: ["feature"],
      reason: "because",
      actor: "me",
    });
    expect((init.headers as Record<string, string>)["Idempotency-Key"]).toMatch(/^[0-9a-f]{32}$/);
  });

  it.each([
    [409, { title: "Conflict" }, /not been classified yet/],
    [422, { title: "x", errors: [{ field: "values", detail: "No such category." }] }, /No such category/],
    [503, { title: "x" }, /Try again/],
  ])("shows the old value again after a %i, and says why", async (status, problem, why) => {
    answer = () => json(status, problem);
    const error = await correctIssue(feed, 1, wish).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiError);
    expect(explain(error)).toMatch(why);
    expect(category()).toBe("bug");
    expect(feed.board.get(1)?.pending).toEqual({});
  });

  it("shows the old value again when there is no network", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("network")));
    const error = await correctIssue(feed, 1, wish).catch((e: unknown) => e);
    expect(explain(error)).toMatch(/cannot be reached/);
    expect(category()).toBe("bug");
  });

  it("finds out about an accepted correction by asking, if the stream does not tell", async () => {
    let looked = 0;
    answer = (path) => {
      if (path.endsWith("/correct")) return json(202, { status: "pending", event_id: "e1" });
      return json(200, ++looked < 3 ? { ...wire, corrections: [] } : correctedWire);
    };
    const accepted = vi.fn();
    const outcome = correctIssue(feed, 1, wish, accepted);
    await vi.advanceTimersByTimeAsync(1);
    expect(accepted).toHaveBeenCalledOnce();
    expect(feed.board.get(1)?.pending.category?.phase).toBe("accepted");
    await vi.advanceTimersByTimeAsync(2_000 + 4_000);
    expect(category()).toBe("feature");
    await vi.advanceTimersByTimeAsync(8_000);
    expect(await outcome).toBe("corrected");
    expect(looked).toBe(3);
  });

  it("settles an accepted correction as soon as the stream brings it", async () => {
    answer = () => json(202, { status: "pending", event_id: "e1" });
    const outcome = correctIssue(feed, 1, wish);
    await vi.advanceTimersByTimeAsync(1);
    feed.board.clearPending(1, "category");
    expect(await outcome).toBe("corrected");
    expect(requests).toHaveLength(1);
  });

  it("stops looking after a minute, and shows what the server holds to be true", async () => {
    answer = (path) =>
      path.endsWith("/correct") ? json(202, { status: "pending", event_id: "e1" }) : json(200, { ...wire });
    const outcome = correctIssue(feed, 1, wish);
    await vi.advanceTimersByTimeAsync(61_000);
    expect(await outcome).toBe("still-pending");
    expect(category()).toBe("bug");
  });
});
