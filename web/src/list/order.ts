import type { Filters } from "../api/client";
import type { Issue } from "../api/issue";

/** Which issues a list shows, in order, and which wait to be shown. */
export interface ListOrder {
  shown: readonly number[];
  /** New issues, newest first, that are held back so that nothing moves under the reader. */
  held: readonly number[];
  /** Issues have been held back that are no longer remembered one by one. */
  overflowed: boolean;
  /** How many rows came live since the last snapshot. */
  arrived: number;
}

export const EMPTY_ORDER: ListOrder = { shown: [], held: [], overflowed: false, arrived: 0 };

/** Beyond this many a list starts again from a snapshot, so that a page left open stays light. */
export const MAX_ARRIVALS = 500;

/**
 * Takes up a snapshot. Rows already shown keep their places; what the snapshot
 * has above all of them counts as arriving, what it has below is appended.
 */
export function takeSnapshot(order: ListOrder, ids: readonly number[], hold: boolean): ListOrder {
  if (order.shown.length === 0) return { ...EMPTY_ORDER, shown: [...new Set(ids)] };
  const known = new Set(order.shown);
  const fresh = ids.filter((id) => !known.has(id));
  if (fresh.length === 0) return order;
  const firstKnown = ids.findIndex((id) => known.has(id));
  const above = new Set(firstKnown < 0 ? ids : ids.slice(0, firstKnown));
  const waiting = new Set(order.held);
  const appended = [...new Set(fresh.filter((id) => !above.has(id) && !waiting.has(id)))];
  let next: ListOrder = { ...order, shown: [...order.shown, ...appended] };
  for (const id of [...above].reverse()) next = arrive(next, id, hold);
  return next;
}

/** Puts a new issue at the top, or holds it back. */
export function arrive(order: ListOrder, id: number, hold: boolean): ListOrder {
  if (order.shown.includes(id)) return order;
  if (order.held.includes(id)) return order;
  if (!hold) return { ...order, shown: [id, ...order.shown], arrived: order.arrived + 1 };
  if (order.held.length >= MAX_ARRIVALS) return { ...order, overflowed: true };
  return { ...order, held: [id, ...order.held] };
}

/** Shows what was held back. */
export function release(order: ListOrder): ListOrder {
  if (order.held.length === 0) return order;
  return {
    ...order,
    shown: [...order.held, ...order.shown],
    held: [],
    arrived: order.arrived + order.held.length,
  };
}

/** Tells whether the list has taken in so much that it should start again from a snapshot. */
export function isWorn(order: ListOrder): boolean {
  return order.overflowed || order.arrived > MAX_ARRIVALS;
}

/**
 * Tells whether an issue belongs in a list, as far as its row can tell: a
 * search on the server also reads bodies, which rows do not carry.
 */
export function matches(issue: Issue, filters: Filters): boolean {
  if (filters.repository && issue.repository.fullName !== filters.repository) return false;
  if (filters.status && issue.status !== filters.status) return false;
  if (filters.category && !holds(issue, "category", filters.category)) return false;
  if (filters.priority && !holds(issue, "priority", filters.priority)) return false;
  if (filters.q) {
    const haystack = `${issue.title} #${issue.number} ${issue.repository.fullName}`.toLowerCase();
    if (
      !filters.q
        .toLowerCase()
        .split(/\s+/)
        .every((word) => haystack.includes(word))
    )
      return false;
  }
  return true;
}

function holds(issue: Issue, field: "category" | "priority", value: string): boolean {
  return issue.classification?.fields[field]?.values.includes(value) ?? false;
}
