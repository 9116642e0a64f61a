import { list, number, record, share, text, texts, webLink } from "./decode";
import { FIELDS, type Field } from "./issue";

/** What the classifiers that decide, or a challenger, say of a field. */
export interface Opinion {
  /** Empty where nobody said anything. */
  plugin: string;
  values: string[];
  confidence: number;
  /** The confidence reaches the threshold in force. */
  sure: boolean;
}

/** A field that the two would label differently, and that nobody has corrected. */
export interface Disagreement {
  issueId: number;
  number: number;
  repository: string;
  title: string;
  url: string;
  challenger: string;
  version: string;
  field: Field;
  champion: Opinion;
  challengerSays: Opinion;
  comparedAt: string;
}

/** How one version of a challenger compares with what was decided. */
export interface ChallengeScore {
  repository: string;
  challenger: string;
  version: string;
  field: Field;
  compared: number;
  agreed: number;
  /** Those that a person has said something of, and in how many of these either was right. */
  judged: number;
  championRight: number;
  challengerRight: number;
  championInterval: [number, number];
  challengerInterval: [number, number];
}

export interface Challenges {
  scores: ChallengeScore[];
  disagreements: Disagreement[];
}

export function decodeChallenges(raw: unknown): Challenges {
  const r = record(raw);
  return {
    scores: list(r.scores, decodeScore),
    disagreements: list(r.disagreements, decodeDisagreement),
  };
}

function fieldOf(raw: unknown): Field | undefined {
  return FIELDS.find((field) => field === raw);
}

function interval(raw: unknown): [number, number] {
  if (!Array.isArray(raw)) return [0, 1];
  return [share(raw[0]), share(raw[1])];
}

function decodeScore(raw: unknown): ChallengeScore | undefined {
  const r = record(raw);
  const field = fieldOf(r.field);
  if (field === undefined || number(r.compared) < 1) return undefined;
  return {
    repository: text(r.repository),
    challenger: text(r.challenger),
    version: text(r.version),
    field,
    compared: number(r.compared),
    agreed: number(r.agreed),
    judged: number(r.judged),
    championRight: number(r.champion_right),
    challengerRight: number(r.challenger_right),
    championInterval: interval(r.champion_interval),
    challengerInterval: interval(r.challenger_interval),
  };
}

function decodeDisagreement(raw: unknown): Disagreement | undefined {
  const r = record(raw);
  const field = fieldOf(r.field);
  if (field === undefined || number(r.issue_id) < 1) return undefined;
  const says = record(r.says);
  return {
    issueId: number(r.issue_id),
    number: number(r.number),
    repository: text(r.repository),
    title: text(r.title),
    url: webLink(r.url),
    challenger: text(r.challenger),
    version: text(r.version),
    field,
    champion: decodeOpinion(says.champion),
    challengerSays: decodeOpinion(says.challenger),
    comparedAt: text(r.compared_at),
  };
}

function decodeOpinion(raw: unknown): Opinion {
  const r = record(raw);
  return {
    plugin: text(r.plugin),
    values: texts(r.values),
    confidence: share(r.confidence),
    sure: r.sure === true,
  };
}
