import type { Answer, Field, Issue } from "../api/issue";

/** A correction the page shows before the server has confirmed it. */
export interface PendingCorrection {
  values: string[];
  actor: string;
  reason: string;
  /** "sending" until the server answered, "accepted" when it is durable but its result is still to come. */
  phase: "sending" | "accepted";
}

/** An issue as it is shown: what is known, with pending corrections laid over it. */
export interface ShownIssue extends Issue {
  pending: Partial<Record<Field, PendingCorrection>>;
}

const NOTHING_PENDING: ShownIssue["pending"] = {};

const FLUSH_EVERY_MS = 100;
const HIDDEN_FLUSH_MS = 1000;

/** More than any list holds; beyond it the issues longest untouched are forgotten. */
const CAPACITY = 20_000;

/**
 * Joins two accounts of one issue, in whatever order they came.
 *
 * What GitHub says of it (title, state, labels) follows `updatedAt`; what is
 * held to be true of it (classification, status, similar issues) follows
 * `revision`. An account that is not newer only fills what the other lacks.
 */
export function mergeIssue(held: Issue | undefined, next: Issue): Issue {
  if (held === undefined) return next;
  const github = next.updatedAt >= held.updatedAt ? next : held;
  const verdictIsNewer =
    next.revision > held.revision || (next.revision === held.revision && next.revision > 0);
  const verdict = verdictIsNewer && next.classification !== null ? next : held;
  const fallback = verdict === held ? next : held;
  return {
    ...github,
    revision: Math.max(held.revision, next.revision),
    // Only the store knows when an issue was first received.
    receivedAt: held.receivedAt || next.receivedAt,
    status: verdict.classification ? verdict.status : fallback.status,
    classification: verdict.classification ?? fallback.classification,
    similar: verdict.similar.length > 0 || verdict.classification ? verdict.similar : fallback.similar,
  };
}

/**
 * Every issue the page knows, by ID, from snapshots and live frames alike, and
 * the corrections that are under way. Subscribers are told at most ten
 * times a second, however many events arrive, and once a second in a hidden tab.
 */
export class IssueBoard {
  private readonly held = new Map<number, Issue>();
  private readonly pending = new Map<number, ShownIssue["pending"]>();
  private readonly shown = new Map<number, ShownIssue>();
  private readonly listeners = new Set<() => void>();
  private cancelFlush: (() => void) | null = null;
  private lastFlush = 0;
  private version = 0;

  /** Returns whether the issue was not known before. */
  merge(issue: Issue): boolean {
    const before = this.held.get(issue.id);
    const after = mergeIssue(before, issue);
    this.held.delete(issue.id);
    this.held.set(issue.id, after);
    this.shown.delete(issue.id);
    if (this.held.size > CAPACITY) this.forgetOldest();
    this.schedule();
    return before === undefined;
  }

  /** The same object is returned until the issue changes. */
  get(id: number): ShownIssue | undefined {
    const cached = this.shown.get(id);
    if (cached !== undefined) return cached;
    const issue = this.held.get(id);
    if (issue === undefined) return undefined;
    const shown = lay(issue, this.pending.get(id) ?? NOTHING_PENDING);
    this.shown.set(id, shown);
    return shown;
  }

  setPending(id: number, field: Field, correction: PendingCorrection): void {
    this.pending.set(id, { ...this.pending.get(id), [field]: correction });
    this.shown.delete(id);
    this.flush();
  }

  /** Shows again what the server holds to be true. */
  clearPending(id: number, field: Field): void {
    const current = this.pending.get(id);
    if (current?.[field] === undefined) return;
    const rest = Object.fromEntries(Object.entries(current).filter(([name]) => name !== field));
    if (Object.keys(rest).length > 0) this.pending.set(id, rest);
    else this.pending.delete(id);
    this.shown.delete(id);
    this.flush();
  }

  getPending(id: number, field: Field): PendingCorrection | undefined {
    return this.pending.get(id)?.[field];
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.cancelFlush?.();
    };
  };

  /** Grows each time that subscribers are told. */
  getVersion = (): number => this.version;

  private forgetOldest(): void {
    for (const id of this.held.keys()) {
      if (this.held.size <= CAPACITY * 0.9) return;
      if (this.pending.has(id)) continue;
      this.held.delete(id);
      this.shown.delete(id);
    }
  }

  private schedule(): void {
    if (this.cancelFlush !== null) return;
    const hidden = document.visibilityState !== "visible";
    const wait = hidden ? HIDDEN_FLUSH_MS : Math.max(0, this.lastFlush + FLUSH_EVERY_MS - Date.now());
    let frame: number | undefined;
    let timer = setTimeout(() => {
      if (hidden) {
        this.flush();
        return;
      }
      frame = requestAnimationFrame(() => this.flush());
      // No frame comes if the tab is hidden meanwhile; the timer makes sure of it.
      timer = setTimeout(() => this.flush(), HIDDEN_FLUSH_MS);
    }, wait);
    this.cancelFlush = () => {
      clearTimeout(timer);
      if (frame !== undefined) cancelAnimationFrame(frame);
      this.cancelFlush = null;
    };
  }

  private flush(): void {
    this.cancelFlush?.();
    this.lastFlush = Date.now();
    this.version++;
    for (const listener of this.listeners) listener();
  }
}

function lay(issue: Issue, pending: ShownIssue["pending"]): ShownIssue {
  const corrections = Object.entries(pending) as [Field, PendingCorrection][];
  if (corrections.length === 0 || issue.classification === null) return { ...issue, pending };
  const fields = { ...issue.classification.fields };
  for (const [field, correction] of corrections) {
    const answer: Answer = {
      values: correction.values,
      confidence: 1,
      reason: correction.reason,
      source: "human",
      plugin: "",
      version: "",
      fallbackFor: "",
      actor: correction.actor,
    };
    fields[field] = answer;
  }
  return { ...issue, status: "corrected", classification: { ...issue.classification, fields }, pending };
}
