/** Readers of undecoded JSON: whatever is absent or of another kind becomes empty. */

export type Raw = Record<string, unknown>;

export function record(raw: unknown): Raw {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw) ? (raw as Raw) : {};
}

export function text(raw: unknown): string {
  return typeof raw === "string" ? raw : "";
}

export function number(raw: unknown): number {
  return typeof raw === "number" && Number.isFinite(raw) ? raw : 0;
}

export function list<T>(raw: unknown, decode: (item: unknown) => T | undefined): T[] {
  if (!Array.isArray(raw)) return [];
  return raw.map(decode).filter((item): item is T & {} => item !== undefined);
}

export function texts(raw: unknown): string[] {
  return list(raw, (item) => (typeof item === "string" ? item : undefined));
}

export function webLink(raw: unknown): string {
  const link = text(raw);
  return /^https?:\/\//i.test(link) ? link : "";
}

export function share(raw: unknown): number {
  return Math.min(1, Math.max(0, number(raw)));
}
