import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveConnection, MAX_DELAY_MS, MIN_DELAY_MS, retryDelay, subprotocols } from "./connection";

/** Stands for the browser's end of the socket; what a server would do is done by the test. */
class FakeSocket {
  static all: FakeSocket[] = [];
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.all.push(this);
  }

  close(): void {
    this.closed = true;
  }

  send(frame: Record<string, unknown>): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  fail(): void {
    this.onclose?.();
  }
}

const state = () => connection!.getState();
const last = () => FakeSocket.all.at(-1)!;
const hello = (cursor: string) => ({ type: "hello", cursor, server_time: "2026-01-01T00:00:00Z" });
const issueFrame = (cursor: string) => ({ type: "issue", event: "updated", cursor, issue: { id: 1 } });

let online = true;
let connection: LiveConnection | undefined;

function connect(cursor = "", url = "wss://triage.example/ws") {
  const calls = { frames: [] as string[], gaps: 0, refused: 0 };
  connection = new LiveConnection({
    url,
    token: "",
    onFrame: (frame) => calls.frames.push(frame.type),
    onGap: () => calls.gaps++,
    onRefused: () => calls.refused++,
  });
  connection.start(cursor);
  return calls;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.spyOn(navigator, "onLine", "get").mockImplementation(() => online);
  vi.spyOn(Math, "random").mockReturnValue(1);
  FakeSocket.all = [];
  online = true;
});

afterEach(() => {
  connection?.stop();
  connection = undefined;
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("retryDelay", () => {
  it("doubles from half a second to half a minute, and is never outside", () => {
    const most = [0, 1, 2, 3, 4, 5, 6, 7, 1000].map((n) => retryDelay(n, () => 1));
    expect(most).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    const least = [0, 1, 2, 7].map((n) => retryDelay(n, () => 0));
    expect(least).toEqual([500, 500, 1000, 15000]);
    for (let n = 0; n < 40; n++) {
      const delay = retryDelay(n, () => (n * 0.37) % 1);
      expect(delay).toBeGreaterThanOrEqual(MIN_DELAY_MS);
      expect(delay).toBeLessThanOrEqual(MAX_DELAY_MS);
    }
  });
});

describe("subprotocols", () => {
  it("carries a token in base64url without padding", () => {
    expect(subprotocols("")).toEqual(["dispatchai.v1"]);
    expect(subprotocols("a?b>ü")).toEqual(["dispatchai.v1", "bearer.YT9iPsO8"]);
    expect(subprotocols("ÿÿ~")[1]).toMatch(/^bearer\.[A-Za-z0-9_-]+$/);
  });
});

describe("LiveConnection", () => {
  it("is connecting until the server says hello, then live", () => {
    const calls = connect("c0");
    expect(last().url).toBe("wss://triage.example/ws?cursor=c0");
    expect(state().phase).toBe("connecting");
    last().send(hello("c0"));
    expect(state().phase).toBe("live");
    expect(calls).toMatchObject({ frames: ["hello"], gaps: 0 });
  });

  it("resumes from the last cursor it has seen", () => {
    connect("c0");
    last().send(hello("c0"));
    last().send(issueFrame("c 7/+"));
    last().fail();
    expect(state()).toEqual({ phase: "reconnecting", retryAt: Date.now() + 500 });
    vi.advanceTimersByTime(500);
    expect(FakeSocket.all).toHaveLength(2);
    expect(last().url).toBe("wss://triage.example/ws?cursor=c%207%2F%2B");
    expect(state()).toEqual({ phase: "reconnecting", retryAt: null });
  });

  it("asks for snapshots when it starts without a cursor and when the server says resync", () => {
    const calls = connect();
    last().send(hello("c1"));
    expect(calls.gaps).toBe(1);
    last().send({ type: "resync", cursor: "c9" });
    expect(calls.gaps).toBe(2);
    last().fail();
    vi.advanceTimersByTime(500);
    expect(last().url).toContain("cursor=c9");
    last().send(hello("c9"));
    expect(calls.gaps).toBe(2);
  });

  it("waits longer after each failure, and begins anew after a connection that lasted", () => {
    connect("c");
    for (const delay of [500, 1000, 2000]) {
      last().fail();
      expect(state()).toMatchObject({ retryAt: Date.now() + delay });
      vi.advanceTimersByTime(delay);
    }
    // Hello and goodbye is no success.
    last().send(hello("c"));
    last().fail();
    expect(state()).toMatchObject({ retryAt: Date.now() + 4000 });
    vi.advanceTimersByTime(4000);
    last().send(hello("c"));
    vi.advanceTimersByTime(3000);
    last().fail();
    expect(state()).toMatchObject({ retryAt: Date.now() + 500 });
  });

  it("gives up on a server that accepts and then says nothing", () => {
    connect("c");
    const socket = last();
    vi.advanceTimersByTime(10_000);
    expect(socket.closed).toBe(true);
    expect(state().phase).toBe("reconnecting");
  });

  it("tries at once when the network or the reader comes back", () => {
    connect("c");
    for (let i = 0; i < 6; i++) {
      last().fail();
      vi.advanceTimersByTime(MAX_DELAY_MS);
    }
    last().fail();
    const before = FakeSocket.all.length;
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.all).toHaveLength(before + 1);
    last().fail();
    document.dispatchEvent(new Event("visibilitychange"));
    expect(FakeSocket.all).toHaveLength(before + 2);
    last().fail();
    connection?.retryNow();
    expect(FakeSocket.all).toHaveLength(before + 3);
  });

  it("is offline when the browser is, and does not trust a socket of a lost network", () => {
    connect("c");
    last().send(hello("c"));
    const socket = last();
    online = false;
    window.dispatchEvent(new Event("offline"));
    expect(state().phase).toBe("offline");
    expect(socket.closed).toBe(true);
    online = true;
    window.dispatchEvent(new Event("online"));
    last().send(hello("c"));
    expect(state().phase).toBe("live");
  });

  it("keeps a connection to this machine when the network goes", () => {
    connect("c", "ws://127.0.0.1:8080/ws");
    last().send(hello("c"));
    online = false;
    window.dispatchEvent(new Event("offline"));
    expect(state().phase).toBe("live");
    last().fail();
    expect(state().phase).toBe("offline");
    vi.advanceTimersByTime(500);
    last().send(hello("c"));
    expect(state().phase).toBe("live");
  });

  it("opens anew after the machine slept", () => {
    connect("c");
    last().send(hello("c"));
    const socket = last();
    vi.setSystemTime(Date.now() + 600_000);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(socket.closed).toBe(true);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("says once that it may have been refused", () => {
    const calls = connect("c");
    for (let i = 0; i < 5; i++) {
      last().fail();
      vi.advanceTimersByTime(MAX_DELAY_MS);
    }
    expect(calls.refused).toBe(1);
  });

  it("hears nothing from sockets it has left, and opens none once stopped", () => {
    const calls = connect("c");
    const first = last();
    first.fail();
    vi.advanceTimersByTime(500);
    first.send(hello("old"));
    expect(calls.frames).toEqual([]);
    first.fail();
    expect(FakeSocket.all).toHaveLength(2);
    connection?.stop();
    vi.advanceTimersByTime(120_000);
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.all).toHaveLength(2);
    expect(last().closed).toBe(true);
  });
});
