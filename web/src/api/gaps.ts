import { list, number, record, text } from "./decode";

/** Deliveries that GitHub made lately, each counted once. */
export interface DeliveryCounts {
  made: number;
  held: number;
  waiting: number;
  failed: number;
  missing: number;
  redelivered: number;
  healed: number;
  givenUp: number;
  covered: number;
}

/** A backfill as somebody asked for it; `total` is 0 when it is not known. */
export interface Backfill {
  status: string;
  total: number;
  listed: number;
}

export interface RepositoryGaps {
  id: number;
  fullName: string;
  /** Empty before the first time. */
  reconciledAt: string;
  missing: number;
  changed: number;
  error: string;
  backfill: Backfill | undefined;
}

/** The proof that nothing which GitHub told is missing, or what is. */
export interface Gaps {
  gapless: boolean;
  summary: string;
  /** When GitHub's log of deliveries was last read to its end; empty before the first time. */
  sweptAt: string;
  deliveries: DeliveryCounts;
  repositories: RepositoryGaps[];
}

export function decodeGaps(raw: unknown): Gaps {
  const r = record(raw);
  const d = record(r.deliveries);
  return {
    gapless: r.gapless === true,
    summary: text(r.summary),
    sweptAt: text(r.swept_at),
    deliveries: {
      made: number(d.made),
      held: number(d.held),
      waiting: number(d.waiting),
      failed: number(d.failed),
      missing: number(d.missing),
      redelivered: number(d.redelivered),
      healed: number(d.healed),
      givenUp: number(d.given_up),
      covered: number(d.covered),
    },
    repositories: list(r.repositories, decodeRepository),
  };
}

function decodeRepository(raw: unknown): RepositoryGaps | undefined {
  const r = record(raw);
  if (text(r.full_name) === "") return undefined;
  const b = record(r.backfill);
  return {
    id: number(r.id),
    fullName: text(r.full_name),
    reconciledAt: text(r.reconciled_at),
    missing: number(r.missing),
    changed: number(r.changed),
    error: text(r.error),
    backfill:
      text(b.status) === ""
        ? undefined
        : { status: text(b.status), total: number(b.total), listed: number(b.listed) },
  };
}
