import { list, number, record, share, text, texts } from "./decode";

/** One thing that is wrong in a configuration file; line and column are 0 where it has no place. */
export interface ConfigFault {
  file: string;
  line: number;
  column: number;
  path: string;
  message: string;
}

export const CONFIGURATION_STATES = ["unread", "in_force", "faulty", "guarded"] as const;

/**
 * How it stands with a repository's files: nobody has read them, what they say is in force, what they
 * said before is, or they were never right and nothing is written.
 */
export type ConfigurationState = (typeof CONFIGURATION_STATES)[number];

/** How a repository wants to be treated, and what is wrong in its files. */
export interface Configuration {
  repository: { id: number; fullName: string; private: boolean };
  state: ConfigurationState;
  access: string;
  settings: Settings;
  sources: { name: string; blob: string; commit: string }[];
  inForceSince: string;
  checkedAt: string;
  error: string;
  faults: ConfigFault[];
  labelFaults: ConfigFault[];
  notes: string[];
  reacting: string[];
  issueTypes: string[];
}

/** What is in force, of all that a file can say. */
export interface Settings {
  mode: string;
  modes: [field: string, mode: string][];
  classifiers: { name: string; fields: string[] }[];
  thresholds: [field: string, least: number][];
  mapped: { field: string; value: string; labels: string[] }[];
  ignore: string[];
  never: string[];
  allow: string[];
  limit: number;
  setsTypes: boolean;
  rules: string[];
  skipAuthors: string[];
  skipLabels: string[];
  asksForAnswers: boolean;
  retriage: string[];
  commands: boolean;
  checks: boolean;
}

function decodeFault(raw: unknown): ConfigFault | undefined {
  const r = record(raw);
  if (text(r.message) === "") return undefined;
  return {
    file: text(r.file),
    line: number(r.line),
    column: number(r.column),
    path: text(r.path),
    message: text(r.message),
  };
}

function decodeSettings(raw: unknown): Settings {
  const r = record(raw);
  const labels = record(r.labels);
  const skip = record(r.skip);
  return {
    mode: text(r.mode),
    modes: Object.entries(record(r.modes)).map(([field, mode]): [string, string] => [field, text(mode)]),
    classifiers: list(r.classifiers, (item) => {
      const c = record(item);
      return text(c.name) === "" ? undefined : { name: text(c.name), fields: texts(c.fields) };
    }),
    thresholds: Object.entries(record(r.thresholds)).map(([field, least]): [string, number] => [
      field,
      share(least),
    ]),
    mapped: Object.entries(record(labels.map)).flatMap(([field, values]) =>
      Object.entries(record(values)).map(([value, names]) => ({ field, value, labels: texts(names) })),
    ),
    ignore: texts(labels.ignore),
    never: texts(labels.never),
    allow: texts(labels.allow),
    limit: number(labels.limit),
    setsTypes: record(r.issue_types).set === true,
    rules: list(r.rules, (item) => text(record(item).name) || undefined),
    skipAuthors: texts(skip.authors),
    skipLabels: texts(skip.labels),
    asksForAnswers: record(r.needs_info).ask === true,
    retriage: Object.entries(record(r.retriage))
      .filter(([, on]) => on === true)
      .map(([what]) => what),
    commands: r.commands === true,
    checks: r.checks === true,
  };
}

export function decodeConfiguration(raw: unknown): Configuration {
  const r = record(raw);
  const repository = record(r.repository);
  return {
    repository: {
      id: number(repository.id),
      fullName: text(repository.full_name),
      private: repository.private === true,
    },
    state: CONFIGURATION_STATES.find((state) => state === r.state) ?? "unread",
    access: text(r.access),
    settings: decodeSettings(r.configuration),
    sources: list(r.sources, (item) => {
      const s = record(item);
      if (text(s.name) === "") return undefined;
      return { name: text(s.name), blob: text(s.blob), commit: text(s.commit) };
    }),
    inForceSince: text(r.in_force_since),
    checkedAt: text(r.checked_at),
    error: text(r.error),
    faults: list(r.faults, decodeFault),
    labelFaults: list(r.label_faults, decodeFault),
    notes: texts(r.notes),
    reacting: texts(r.reacting),
    issueTypes: texts(r.issue_types),
  };
}
