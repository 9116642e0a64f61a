import { newIdempotencyKey } from "../api/client";
import type { Correction, Field, IssueDetail } from "../api/issue";
import { queryKeys, type LiveFeed } from "../live/feed";

/** How often a correction is looked up that was accepted but has not come back; the last is the end of patience. */
const LOOK_UP_AFTER_MS = [2_000, 4_000, 8_000, 16_000, 30_000];

export interface Wish {
  field: Field;
  values: string[];
  reason: string;
  actor: string;
}

/** What became of a correction. Refusals are thrown as ApiError, after the old value is shown again. */
export type Outcome = "corrected" | "still-pending";

/**
 * Corrects a field of an issue: shows the new value at once, asks the server,
 * and shows the old one again if the server refuses. Resolves when the result
 * is known, or when looking for it any longer would be unkind.
 */
export async function correctIssue(
  feed: LiveFeed,
  id: number,
  wish: Wish,
  onAccepted: () => void = () => undefined,
): Promise<Outcome> {
  const { board, client, queries } = feed;
  const shown = { values: wish.values, actor: wish.actor, reason: wish.reason };
  board.setPending(id, wish.field, { ...shown, phase: "sending" });
  let result;
  try {
    result = await client.correct(id, { ...wish, idempotencyKey: newIdempotencyKey() });
  } catch (error) {
    board.clearPending(id, wish.field);
    throw error;
  }
  if (result.done) {
    takeDetail(feed, result.detail);
    board.clearPending(id, wish.field);
    return "corrected";
  }
  const { eventId } = result;
  board.setPending(id, wish.field, { ...shown, phase: "accepted" });
  onAccepted();
  const arrived = (corrections: readonly Correction[]) => corrections.some((c) => c.eventId === eventId);
  for (const delay of LOOK_UP_AFTER_MS) {
    await waitUntilSettled(feed, id, wish.field, delay);
    if (board.getPending(id, wish.field) === undefined) return "corrected";
    try {
      const detail = await client.issue(id);
      takeDetail(feed, detail);
      if (arrived(detail.corrections)) {
        board.clearPending(id, wish.field);
        return "corrected";
      }
    } catch {
      // The stream may still bring it; the next look-up tries again.
    }
  }
  board.clearPending(id, wish.field);
  void queries.invalidateQueries({ queryKey: queryKeys.issue(id) });
  return "still-pending";
}

/** Puts an issue that the server has just given in its place. */
export function takeDetail(feed: LiveFeed, detail: IssueDetail): void {
  feed.board.merge(detail);
  feed.queries.setQueryData(queryKeys.issue(detail.id), detail);
}

/** Resolves when the stream has settled the correction, at the latest after the delay. */
function waitUntilSettled(feed: LiveFeed, id: number, field: Field, delay: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(finish, delay);
    const unsubscribe = feed.board.subscribe(() => {
      if (feed.board.getPending(id, field) === undefined) finish();
    });
  });
}
