import { decodeFrame, type Frame } from "../api/issue";

/** What the page knows of its live stream. */
export type ConnectionState =
  | { phase: "connecting" }
  | { phase: "live" }
  /** retryAt is in milliseconds since the epoch; null while an attempt is under way. */
  | { phase: "reconnecting"; retryAt: number | null }
  /** As reconnecting, but the browser says that it has no network. */
  | { phase: "offline"; retryAt: number | null };

export interface ConnectionOptions {
  url: string;
  token: string;
  /** Receives every frame, in order. */
  onFrame: (frame: Frame) => void;
  /** The stream starts or restarts at a place that earlier snapshots may not reach: fetch them again. */
  onGap: () => void;
  /** Attempts keep failing before the server says hello; the token may have been refused. */
  onRefused: () => void;
}

export const MIN_DELAY_MS = 500;
export const MAX_DELAY_MS = 30_000;
/** A server that says hello and drops us at once must not be called twice a second for ever. */
const STABLE_AFTER_MS = 3_000;
const HELLO_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 15_000;
/** A heartbeat this late means that the machine slept, and the socket is likely dead without knowing. */
const SLEPT_MS = 45_000;
const REFUSED_AFTER = 2;

/** How long to wait before attempt n (from 0), half of it random so that clients do not return in step. */
export function retryDelay(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** Math.min(attempt, 16));
  return Math.max(MIN_DELAY_MS, Math.round(ceiling * (0.5 + 0.5 * random())));
}

/** The WebSocket subprotocols that carry a token, which browsers cannot send as a header. */
export function subprotocols(token: string): string[] {
  if (token === "") return ["dispatchai.v1"];
  const bytes = new TextEncoder().encode(token);
  const base64 = btoa(String.fromCharCode(...bytes));
  return ["dispatchai.v1", `bearer.${base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`];
}

/**
 * The live stream: one WebSocket at a time, opened again whenever it is lost,
 * each time from the last cursor seen, so that no event is missed or shown twice.
 */
export class LiveConnection {
  private state: ConnectionState = { phase: "connecting" };
  private readonly listeners = new Set<() => void>();
  private socket: WebSocket | null = null;
  private cursor = "";
  private attempt = 0;
  private failures = 0;
  private stopped = true;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private helloTimer: ReturnType<typeof setTimeout> | undefined;
  private stableTimer: ReturnType<typeof setTimeout> | undefined;
  private heartbeat: ReturnType<typeof setInterval> | undefined;
  private lastBeat = 0;

  constructor(private readonly options: ConnectionOptions) {}

  /** Opens the stream after the cursor of a snapshot, or at its end when there is none. */
  start(cursor: string): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.cursor = cursor;
    window.addEventListener("online", this.onOnline);
    window.addEventListener("offline", this.onOffline);
    document.addEventListener("visibilitychange", this.onVisible);
    this.lastBeat = Date.now();
    this.heartbeat = setInterval(this.beat, HEARTBEAT_MS);
    this.open();
  }

  /** Closes the stream for good. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    window.removeEventListener("online", this.onOnline);
    window.removeEventListener("offline", this.onOffline);
    document.removeEventListener("visibilitychange", this.onVisible);
    clearInterval(this.heartbeat);
    clearTimeout(this.retryTimer);
    this.drop();
  }

  /** Tries at once, instead of when the delay has passed. Does nothing while live. */
  retryNow = (): void => {
    if (this.stopped || this.socket !== null) return;
    clearTimeout(this.retryTimer);
    this.open();
  };

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  getState = (): ConnectionState => this.state;

  private open(): void {
    const resuming = this.cursor !== "";
    if (this.state.phase !== "connecting") this.setState({ phase: this.lostPhase(), retryAt: null });
    const url = resuming ? `${this.options.url}?cursor=${encodeURIComponent(this.cursor)}` : this.options.url;
    let socket: WebSocket;
    try {
      socket = new WebSocket(url, subprotocols(this.options.token));
    } catch {
      this.lost();
      return;
    }
    this.socket = socket;
    this.helloTimer = setTimeout(() => {
      if (this.socket === socket) this.lost();
    }, HELLO_TIMEOUT_MS);
    socket.onmessage = (message) => {
      if (this.socket !== socket) return;
      const frame = decodeFrame(message.data);
      if (frame !== undefined) this.receive(frame, resuming);
    };
    // An error is always followed by a close.
    socket.onclose = () => {
      if (this.socket === socket) this.lost();
    };
  }

  private receive(frame: Frame, resuming: boolean): void {
    if (frame.cursor !== "") this.cursor = frame.cursor;
    if (frame.type === "hello") {
      clearTimeout(this.helloTimer);
      this.failures = 0;
      this.stableTimer = setTimeout(() => {
        this.attempt = 0;
      }, STABLE_AFTER_MS);
      this.setState({ phase: "live" });
    }
    this.options.onFrame(frame);
    if (frame.type === "resync" || (frame.type === "hello" && !resuming)) this.options.onGap();
  }

  private lost(): void {
    this.drop();
    if (this.stopped) return;
    this.failures++;
    const delay = retryDelay(this.attempt++);
    this.setState({ phase: this.lostPhase(), retryAt: Date.now() + delay });
    this.retryTimer = setTimeout(() => this.open(), delay);
    if (this.failures === REFUSED_AFTER) this.options.onRefused();
  }

  private drop(): void {
    clearTimeout(this.helloTimer);
    clearTimeout(this.stableTimer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  private lostPhase(): "offline" | "reconnecting" {
    return navigator.onLine ? "reconnecting" : "offline";
  }

  private reopen(): void {
    clearTimeout(this.retryTimer);
    this.drop();
    this.open();
  }

  private readonly onOnline = (): void => {
    // The network may be another one now, and a socket of the old one dead.
    this.attempt = 0;
    if (this.state.phase !== "live" || !isLoopback(this.options.url)) this.reopen();
  };

  private readonly onOffline = (): void => {
    // A server on this machine needs no network: its socket tells the truth.
    if (isLoopback(this.options.url)) return;
    clearTimeout(this.retryTimer);
    this.lost();
  };

  private readonly onVisible = (): void => {
    if (document.visibilityState !== "visible") return;
    this.beat();
    this.retryNow();
  };

  private readonly beat = (): void => {
    const late = Date.now() - this.lastBeat;
    this.lastBeat = Date.now();
    // Browsers slow timers of hidden tabs to one a minute, which is not sleep.
    if (late > SLEPT_MS && document.visibilityState === "visible" && !this.stopped) this.reopen();
  };

  private setState(state: ConnectionState): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url, location.href);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127\./.test(hostname)
  );
}
