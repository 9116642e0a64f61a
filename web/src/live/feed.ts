import type { QueryClient } from "@tanstack/react-query";
import type { ApiClient } from "../api/client";
import type { Correction, Field, Frame, Issue } from "../api/issue";
import { IssueBoard } from "./board";
import { LiveConnection } from "./connection";

export type IssueFrame = Extract<Frame, { type: "issue" }>;

/** Keys of the query cache; invalidating a prefix invalidates everything below it. */
export const queryKeys = {
  issues: ["issues"] as const,
  issue: (id: number) => ["issue", id] as const,
  allDetails: ["issue"] as const,
  stats: ["stats"] as const,
  system: ["system"] as const,
  gaps: ["gaps"] as const,
  challenges: (repository: string) => ["challenges", repository] as const,
  allChallenges: ["challenges"] as const,
  repositories: ["repositories"] as const,
  configuration: (id: number) => ["configuration", id] as const,
};

const STATS_EVERY_MS = 2_000;

/** The addresses of this page's server. */
export function streamURL(): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/ws`;
}

/**
 * Brings together what one signed-in page knows: the board of issues, the
 * stream that keeps it fresh, and the cached REST answers that go stale with it.
 */
export class LiveFeed {
  readonly board = new IssueBoard();
  readonly connection: LiveConnection;
  private readonly issueListeners = new Set<(frame: IssueFrame) => void>();
  private readonly gapListeners = new Set<() => void>();
  private statsTimer: ReturnType<typeof setTimeout> | undefined;
  /** How far this machine's clock is behind the server's, in milliseconds, as the last hello tells. */
  clockSkew = 0;

  constructor(
    readonly client: ApiClient,
    readonly queries: QueryClient,
    token: string,
    onRefused: () => void,
  ) {
    this.connection = new LiveConnection({
      url: streamURL(),
      token,
      onFrame: this.take,
      onGap: this.refetchEverything,
      onRefused,
    });
  }

  stop(): void {
    this.connection.stop();
    clearTimeout(this.statsTimer);
  }

  /** Calls back for each frame about an issue, after the board has taken it. */
  onIssue = (listener: (frame: IssueFrame) => void): (() => void) => {
    this.issueListeners.add(listener);
    return () => this.issueListeners.delete(listener);
  };

  /** Calls back when lists must be fetched again because events were missed. */
  onGap = (listener: () => void): (() => void) => {
    this.gapListeners.add(listener);
    return () => this.gapListeners.delete(listener);
  };

  /** Takes issues of a REST answer. */
  takeAll(issues: readonly Issue[]): void {
    for (const issue of issues) this.board.merge(issue);
  }

  private readonly take = (frame: Frame): void => {
    if (frame.type === "hello") {
      const serverTime = Date.parse(frame.serverTime);
      if (Number.isFinite(serverTime)) this.clockSkew = serverTime - Date.now();
      this.refreshStats();
    }
    if (frame.type !== "issue") return;
    this.board.merge(frame.issue);
    if (frame.correction !== undefined) this.settle(frame.issue.id, frame.correction);
    for (const listener of this.issueListeners) listener(frame);
    void this.queries.invalidateQueries({ queryKey: queryKeys.issue(frame.issue.id) });
    this.refreshStats();
  };

  /** A correction that was accepted is true once the stream brings it back. */
  private settle(id: number, correction: Correction): void {
    const field = correction.field as Field;
    if (this.board.getPending(id, field)?.phase === "accepted") this.board.clearPending(id, field);
  }

  private readonly refetchEverything = (): void => {
    for (const listener of this.gapListeners) listener();
    void this.queries.invalidateQueries({ queryKey: queryKeys.allDetails });
    void this.queries.invalidateQueries({ queryKey: queryKeys.repositories });
    this.refreshStats();
  };

  private refreshStats(): void {
    if (this.statsTimer !== undefined) return;
    this.statsTimer = setTimeout(() => {
      this.statsTimer = undefined;
      if (document.visibilityState === "visible") {
        void this.queries.invalidateQueries({ queryKey: queryKeys.stats });
      } else {
        // Fetched when somebody looks again.
        void this.queries.invalidateQueries({ queryKey: queryKeys.stats, refetchType: "none" });
      }
    }, STATS_EVERY_MS);
  }
}
