/**
 * The gateway's data as the page holds it.
 *
 * Everything that arrives is decoded here: absent and null lists become empty,
 * absent texts become "", links that are not http(s) become "", and what cannot
 * be an issue at all is refused. Only the modules beside this one look at
 * undecoded JSON.
 */
import { list, number, record, share, text, texts, webLink } from "./decode";

/** The fields of a classification, in the order they are shown. */
export const FIELDS = [
  "category",
  "priority",
  "severity",
  "component",
  "tags",
  "effort",
  "assignees",
  "summary",
  "sentiment",
] as const;

export type Field = (typeof FIELDS)[number];

/** Tells whether a field may hold several values at once. */
export function isMultiple(field: Field): boolean {
  return field === "tags" || field === "assignees";
}

export interface Answer {
  /** No values: a human said that the field does not apply. */
  values: string[];
  /** The probability, 0 to 1, that the values are right. */
  confidence: number;
  reason: string;
  source: "plugin" | "human";
  plugin: string;
  version: string;
  actor: string;
  /** The classifier that was to be asked first and could not be; empty: none. */
  fallbackFor: string;
}

export type PassOverReason = "unavailable" | "slow" | "failed" | "budget";

/** A classifier that was to be asked and gave nothing. */
export interface PassedOver {
  plugin: string;
  reason: PassOverReason;
  detail: string;
}

export interface Classification {
  fields: Partial<Record<Field, Answer>>;
  reasoning: string;
  classifiedAt: string;
  /** Why a person must look before labels of classifiers are written; empty: nobody need. */
  hold: string;
  passedOver: PassedOver[];
}

export interface SimilarIssue {
  id: number;
  number: number;
  title: string;
  state: string;
  url: string;
  /** Cosine of the two embeddings, -1 to 1. */
  similarity: number;
}

export type Status = "received" | "classified" | "corrected";

export interface Issue {
  id: number;
  repository: { id: number; fullName: string; private: boolean };
  number: number;
  title: string;
  state: "open" | "closed";
  author: { login: string; type: string };
  url: string;
  labels: string[];
  createdAt: string;
  updatedAt: string;
  receivedAt: string;
  /** Grows with each change of what is held to be true of the issue; 0 before it is stored. */
  revision: number;
  status: Status;
  classification: Classification | null;
  similar: SimilarIssue[];
}

export interface Correction {
  eventId: string;
  field: string;
  old: string[];
  new: string[];
  actor: string;
  reason: string;
  source: string;
  at: string;
}

export interface LedgerEntry {
  name: string;
  field: string;
  value: string;
  source: string;
  plugin: string;
  version: string;
  confidence: number;
  eventId: string;
  state: string;
  actor: string;
  createdAt: string;
  updatedAt: string;
}

/** A label that is suggested rather than written. */
export interface Suggestion {
  name: string;
  field: Field;
  value: string;
  confidence: number;
  reason: string;
  plugin: string;
  version: string;
  /** "pending" is on GitHub, too; "shown" here alone. */
  state: string;
}

/** One value that a correction may choose. */
export interface Option {
  value: string;
  /** The repository's label that stands for the value, or "". */
  label: string;
  description: string;
}

export type Options = Partial<Record<Field, Option[]>>;

export interface IssueDetail extends Issue {
  body: string;
  corrections: Correction[];
  ledger: LedgerEntry[];
  /** Labels that are suggested and wait for somebody's word. */
  suggestions: Suggestion[];
  options: Options;
}

export interface Repository {
  id: number;
  fullName: string;
  private: boolean;
  labels: { name: string; color: string; description: string }[];
  options: Options;
  /** How many things are wrong in its configuration files. */
  configurationFaults: number;
}

export interface Stats {
  issues: number;
  open: number;
  classified: number;
  corrected: number;
  corrections: number;
  labelsWritten: number;
  vetoes: number;
  repositories: number;
  byCategory: Record<string, number>;
  byPriority: Record<string, number>;
  connectedClients: number;
}

export interface Session {
  authentication: "none" | "token";
  authenticated: boolean;
  mode: string;
  version: string;
}

export interface IssuePage {
  issues: Issue[];
  nextCursor: string | null;
  liveCursor: string;
}

function decodeAnswer(raw: unknown): Answer {
  const r = record(raw);
  return {
    values: texts(r.values),
    confidence: share(r.confidence),
    reason: text(r.reason),
    source: r.source === "human" ? "human" : "plugin",
    plugin: text(r.plugin),
    version: text(r.version),
    actor: text(r.actor),
    fallbackFor: text(r.fallback_for),
  };
}

function decodePassedOver(raw: unknown): PassedOver | undefined {
  const r = record(raw);
  const reason = text(r.reason);
  if (reason !== "unavailable" && reason !== "slow" && reason !== "budget" && reason !== "failed")
    return undefined;
  return { plugin: text(r.plugin), reason, detail: text(r.detail) };
}

function decodeClassification(raw: unknown): Classification | null {
  if (typeof raw !== "object" || raw === null) return null;
  const r = record(raw);
  const answers = record(r.fields);
  const fields: Classification["fields"] = {};
  for (const field of FIELDS) {
    if (Object.hasOwn(answers, field)) fields[field] = decodeAnswer(answers[field]);
  }
  return {
    fields,
    reasoning: text(r.reasoning),
    classifiedAt: text(r.classified_at),
    hold: text(r.hold),
    passedOver: list(r.passed_over, decodePassedOver),
  };
}

function decodeSimilar(raw: unknown): SimilarIssue | undefined {
  const r = record(raw);
  if (typeof r.id !== "number") return undefined;
  return {
    id: r.id,
    number: number(r.number),
    title: text(r.title),
    state: text(r.state),
    url: webLink(r.url),
    similarity: number(r.similarity),
  };
}

/** Returns undefined for anything without an ID, which no row could be keyed by. */
export function decodeIssue(raw: unknown): Issue | undefined {
  const r = record(raw);
  if (typeof r.id !== "number" || !Number.isSafeInteger(r.id)) return undefined;
  const repository = record(r.repository);
  const author = record(r.author);
  const status = r.status === "classified" || r.status === "corrected" ? r.status : "received";
  return {
    id: r.id,
    repository: {
      id: number(repository.id),
      fullName: text(repository.full_name),
      private: repository.private === true,
    },
    number: number(r.number),
    title: text(r.title),
    state: r.state === "closed" ? "closed" : "open",
    author: { login: text(author.login), type: text(author.type) },
    url: webLink(r.url),
    labels: texts(r.labels),
    createdAt: text(r.created_at),
    updatedAt: text(r.updated_at),
    receivedAt: text(r.received_at),
    revision: number(r.revision),
    status,
    classification: decodeClassification(r.classification),
    similar: list(r.similar_issues, decodeSimilar),
  };
}

export function decodeCorrection(raw: unknown): Correction | undefined {
  const r = record(raw);
  if (text(r.field) === "") return undefined;
  return {
    eventId: text(r.event_id),
    field: text(r.field),
    old: texts(r.old),
    new: texts(r.new),
    actor: text(r.actor),
    reason: text(r.reason),
    source: text(r.source),
    at: text(r.at),
  };
}

function decodeLedgerEntry(raw: unknown): LedgerEntry | undefined {
  const r = record(raw);
  if (text(r.name) === "") return undefined;
  return {
    name: text(r.name),
    field: text(r.field),
    value: text(r.value),
    source: text(r.source),
    plugin: text(r.plugin),
    version: text(r.version),
    confidence: share(r.confidence),
    eventId: text(r.event_id),
    state: text(r.state),
    actor: text(r.actor),
    createdAt: text(r.created_at),
    updatedAt: text(r.updated_at),
  };
}

function decodeSuggestion(raw: unknown): Suggestion | undefined {
  const r = record(raw);
  const field = FIELDS.find((known) => known === r.field);
  if (text(r.name) === "" || field === undefined) return undefined;
  return {
    name: text(r.name),
    field,
    value: text(r.value),
    confidence: share(r.confidence),
    reason: text(r.reason),
    plugin: text(r.plugin),
    version: text(r.version),
    state: text(r.state),
  };
}

function decodeOptions(raw: unknown): Options {
  const r = record(raw);
  const options: Options = {};
  for (const field of FIELDS) {
    if (!Object.hasOwn(r, field)) continue;
    options[field] = list(r[field], (item) => {
      const o = record(item);
      const value = text(o.value);
      if (value === "") return undefined;
      return { value, label: text(o.label), description: text(o.description) };
    });
  }
  return options;
}

export function decodeIssueDetail(raw: unknown): IssueDetail | undefined {
  const issue = decodeIssue(raw);
  if (issue === undefined) return undefined;
  const r = record(raw);
  return {
    ...issue,
    body: text(r.body),
    corrections: list(r.corrections, decodeCorrection),
    ledger: list(r.ledger, decodeLedgerEntry),
    suggestions: list(r.suggestions, decodeSuggestion),
    options: decodeOptions(r.options),
  };
}

export function decodeIssuePage(raw: unknown): IssuePage {
  const r = record(raw);
  return {
    issues: list(r.issues, decodeIssue),
    nextCursor: text(r.next_cursor) || null,
    liveCursor: text(r.live_cursor),
  };
}

export function decodeRepositories(raw: unknown): Repository[] {
  return list(record(raw).repositories, (item) => {
    const r = record(item);
    const fullName = text(r.full_name);
    if (fullName === "") return undefined;
    return {
      id: number(r.id),
      fullName,
      private: r.private === true,
      labels: list(r.labels, (label) => {
        const l = record(label);
        return { name: text(l.name), color: text(l.color), description: text(l.description) };
      }),
      options: decodeOptions(r.options),
      configurationFaults: number(r.configuration_faults),
    };
  });
}

function decodeCounts(raw: unknown): Record<string, number> {
  return Object.fromEntries(
    Object.entries(record(raw)).map(([value, count]): [string, number] => [value, number(count)]),
  );
}

export function decodeStats(raw: unknown): Stats {
  const r = record(raw);
  return {
    issues: number(r.issues),
    open: number(r.open),
    classified: number(r.classified),
    corrected: number(r.corrected),
    corrections: number(r.corrections),
    labelsWritten: number(r.labels_written),
    vetoes: number(r.vetoes),
    repositories: number(r.repositories),
    byCategory: decodeCounts(r.by_category),
    byPriority: decodeCounts(r.by_priority),
    connectedClients: number(r.connected_clients),
  };
}

export function decodeSession(raw: unknown): Session {
  const r = record(raw);
  return {
    authentication: r.authentication === "none" ? "none" : "token",
    authenticated: r.authenticated === true,
    mode: text(r.mode),
    version: text(r.version),
  };
}

/** A frame of the live stream. */
export type Frame =
  | { type: "hello"; cursor: string; serverTime: string }
  | { type: "resync"; cursor: string }
  | {
      type: "issue";
      event: "received" | "classified" | "corrected" | "updated" | "label";
      cursor: string;
      issue: Issue;
      correction: Correction | undefined;
    };

const ISSUE_EVENTS = ["received", "classified", "corrected", "updated", "label"] as const;

/** Returns undefined for what is not JSON and for types a newer server may have added. */
export function decodeFrame(data: unknown): Frame | undefined {
  if (typeof data !== "string") return undefined;
  let raw: unknown;
  try {
    raw = JSON.parse(data);
  } catch {
    return undefined;
  }
  const r = record(raw);
  const cursor = text(r.cursor);
  switch (r.type) {
    case "hello":
      return { type: "hello", cursor, serverTime: text(r.server_time) };
    case "resync":
      return { type: "resync", cursor };
    case "issue": {
      const issue = decodeIssue(r.issue);
      if (issue === undefined) return undefined;
      const event = ISSUE_EVENTS.find((name) => name === r.event) ?? "updated";
      return { type: "issue", event, cursor, issue, correction: decodeCorrection(r.correction) };
    }
    default:
      return undefined;
  }
}
