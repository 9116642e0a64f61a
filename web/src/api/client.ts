import { decodeChallenges, type Challenges } from "./challenges";
import { decodeConfiguration, type Configuration } from "./configuration";
import { decodeGaps, type Gaps } from "./gaps";
import {
  decodeIssueDetail,
  decodeIssuePage,
  decodeRepositories,
  decodeSession,
  decodeStats,
  type Field,
  type IssueDetail,
  type IssuePage,
  type Repository,
  type Session,
  type Stats,
} from "./issue";
import { decodeSystem, type System } from "./system";

/** What narrows the list of issues; an absent key does not narrow. */
export interface Filters {
  repository?: string;
  category?: string;
  priority?: string;
  status?: string;
  q?: string;
}

export const FILTER_NAMES = ["repository", "category", "priority", "status", "q"] as const;

/** What a person wants a field to be. */
export interface CorrectionRequest {
  field: Field;
  values: string[];
  reason: string;
  actor: string;
  /** The same key for the same wish, so that a repeated request corrects once. */
  idempotencyKey: string;
}

/** The result came back, or the correction is durable and its result is still to come. */
export type CommandResult = { done: true; detail: IssueDetail } | { done: false; eventId: string };

/** An answer that is not a success, or none at all (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly fieldErrors: { field: string; detail: string }[] = [],
  ) {
    super(detail || title);
    this.name = "ApiError";
  }
}

const READ_TIMEOUT_MS = 15_000;
// The server itself waits, within a bound, for a correction to go round.
const COMMAND_TIMEOUT_MS = 30_000;

/** Speaks the gateway's REST API, same origin. Every call has a deadline. */
export class ApiClient {
  private token = "";

  /** onUnauthorized is called when the server refuses the token in use. */
  constructor(private readonly onUnauthorized: () => void = () => undefined) {}

  setToken(token: string): void {
    this.token = token;
  }

  /** Asks with the token given instead of the one in use, so that a new one can be tried. */
  async session(token = this.token, signal?: AbortSignal): Promise<Session> {
    const response = await this.send("/api/session", { signal, token });
    return decodeSession(await readJSON(response));
  }

  async issues(filters: Filters, cursor: string | null, signal?: AbortSignal): Promise<IssuePage> {
    const query = new URLSearchParams({ limit: "50" });
    for (const name of FILTER_NAMES) {
      const value = filters[name];
      if (value) query.set(name, value);
    }
    if (cursor) query.set("cursor", cursor);
    const response = await this.send(`/api/issues?${query.toString()}`, { signal });
    return decodeIssuePage(await readJSON(response));
  }

  async issue(id: number, signal?: AbortSignal): Promise<IssueDetail> {
    const response = await this.send(`/api/issues/${id}`, { signal });
    return requireDetail(await readJSON(response));
  }

  async repositories(signal?: AbortSignal): Promise<Repository[]> {
    const response = await this.send("/api/repositories", { signal });
    return decodeRepositories(await readJSON(response));
  }

  async configuration(id: number, signal?: AbortSignal): Promise<Configuration> {
    const response = await this.send(`/api/repositories/${id}/configuration`, { signal });
    return decodeConfiguration(await readJSON(response));
  }

  async stats(signal?: AbortSignal): Promise<Stats> {
    const response = await this.send("/api/stats", { signal });
    return decodeStats(await readJSON(response));
  }

  async system(signal?: AbortSignal): Promise<System> {
    const response = await this.send("/api/status", { signal });
    return decodeSystem(await readJSON(response));
  }

  async gaps(signal?: AbortSignal): Promise<Gaps> {
    const response = await this.send("/api/gaps", { signal });
    return decodeGaps(await readJSON(response));
  }

  async challenges(repository?: string, signal?: AbortSignal): Promise<Challenges> {
    const query = repository ? `?${new URLSearchParams({ repository }).toString()}` : "";
    const response = await this.send(`/api/challenges${query}`, { signal });
    return decodeChallenges(await readJSON(response));
  }

  async correct(id: number, request: CorrectionRequest): Promise<CommandResult> {
    const body: Record<string, unknown> = { field: request.field, values: request.values };
    if (request.reason) body.reason = request.reason;
    if (request.actor) body.actor = request.actor;
    return this.command(`/api/issues/${id}/correct`, body, request.idempotencyKey);
  }

  async classify(id: number, idempotencyKey: string): Promise<CommandResult> {
    return this.command(`/api/issues/${id}/classify`, {}, idempotencyKey);
  }

  private async command(path: string, body: unknown, idempotencyKey: string): Promise<CommandResult> {
    const response = await this.send(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      timeout: COMMAND_TIMEOUT_MS,
    });
    const answer = await readJSON(response);
    if (response.status === 202) {
      const eventId = (answer as { event_id?: unknown } | null)?.event_id;
      return { done: false, eventId: typeof eventId === "string" ? eventId : "" };
    }
    return { done: true, detail: requireDetail(answer) };
  }

  private async send(
    path: string,
    options: {
      method?: string;
      body?: string;
      headers?: Record<string, string>;
      signal?: AbortSignal | undefined;
      timeout?: number;
      token?: string;
    },
  ): Promise<Response> {
    const token = options.token ?? this.token;
    const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    const deadline = AbortSignal.timeout(options.timeout ?? READ_TIMEOUT_MS);
    let response: Response;
    try {
      response = await fetch(path, {
        method: options.method ?? "GET",
        headers,
        body: options.body ?? null,
        cache: "no-store",
        signal: options.signal ? AbortSignal.any([options.signal, deadline]) : deadline,
      });
    } catch (cause) {
      if (options.signal?.aborted) throw cause;
      if (deadline.aborted) throw new ApiError(0, "No answer in time", "The server took too long to answer.");
      throw new ApiError(0, "No connection", "The server cannot be reached.");
    }
    if (response.ok) return response;
    if (response.status === 401 && token === this.token) this.onUnauthorized();
    throw await readProblem(response);
  }
}

async function readJSON(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    throw new ApiError(response.status, "Unreadable answer", "The server's answer could not be read.");
  }
}

async function readProblem(response: Response): Promise<ApiError> {
  let title = `HTTP ${response.status}`;
  let detail = "";
  const errors: { field: string; detail: string }[] = [];
  try {
    const problem = (await response.json()) as Record<string, unknown>;
    if (typeof problem.title === "string") title = problem.title;
    if (typeof problem.detail === "string") detail = problem.detail;
    if (Array.isArray(problem.errors)) {
      for (const item of problem.errors as Record<string, unknown>[]) {
        errors.push({ field: String(item.field), detail: String(item.detail) });
      }
    }
  } catch {
    // A proxy in between answers in HTML; the status alone must do.
  }
  return new ApiError(response.status, title, detail, errors);
}

function requireDetail(raw: unknown): IssueDetail {
  const detail = decodeIssueDetail(raw);
  if (detail === undefined) {
    throw new ApiError(200, "Unreadable answer", "The server's answer is not an issue.");
  }
  return detail;
}

/** Says in a sentence or two what went wrong and what the person can do about it. */
export function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return "Something unexpected went wrong. Reload the page to try again.";
  const specifics = error.fieldErrors.map((e) => e.detail).join(" ");
  switch (error.status) {
    case 0:
      return `${error.detail} Check the connection and try again.`;
    case 401:
      return "The access token is missing or no longer valid. Sign in again.";
    case 403:
      return "You may not do this in this repository.";
    case 404:
      return "This issue does not exist, or you may not see it.";
    case 409:
      return "This issue has not been classified yet. Wait for its classification, then correct it.";
    case 422:
      return specifics || error.detail || "The repository does not have this value.";
    case 429:
      return "Too many requests. Wait a moment and try again.";
    case 503:
      return "The server is not able to do this right now. Try again in a moment.";
    default:
      return `${error.detail || error.title}${error.status >= 500 ? " Try again in a moment." : ""}`;
  }
}

/** A random key; unlike crypto.randomUUID it also works on pages served over plain HTTP. */
export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}
