import { useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowUp, Pause, Play } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import type { Filters } from "../api/client";
import { useFeed, useWorkspace } from "../shell/context";
import { formatCount, useStats } from "../shell/header";
import { useShortcuts } from "../shell/shortcuts";
import { Failure, Nothing } from "../ui/states";
import { IssueRow, RowSkeletons } from "./issue-row";
import { useIssues } from "./use-issues";

/** Scrolled further than this, one reads, and new issues wait. */
const READING_PX = 24;
/** The next page is fetched this many rows before its place is reached. */
const PREFETCH_ROWS = 12;

export function IssueList({ filters, openId }: { filters: Filters; openId: number | undefined }) {
  const feed = useFeed();
  const navigate = useNavigate();
  const { setCorrecting } = useWorkspace();
  const { query, ids, order, model } = useIssues(filters, openId);
  const scroller = useRef<HTMLDivElement>(null);
  const [paused, setPaused] = useState(false);
  const [reading, setReading] = useState(false);
  /** The row that the keys are at; `turn` grows when it must take the focus. */
  const [cursor, setCursor] = useState<{ id: number; turn: number } | null>(null);

  // eslint-disable-next-line react-hooks/incompatible-library -- no compiler memoises this component
  const virtualizer = useVirtualizer({
    count: ids.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 118,
    getItemKey: (index) => ids[index] ?? index,
    overscan: 6,
  });
  const rows = virtualizer.getVirtualItems();
  const lastRow = rows.at(-1)?.index ?? 0;

  useEffect(() => model.hold(paused || reading), [model, paused, reading]);

  const { hasNextPage, isFetching, isFetchNextPageError, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isFetchNextPageError && lastRow >= ids.length - PREFETCH_ROWS) {
      void fetchNextPage();
    }
  }, [hasNextPage, isFetching, isFetchNextPageError, fetchNextPage, lastRow, ids.length]);

  const noteFocus = useCallback((id: number) => setCursor((c) => (c?.id === id ? c : { id, turn: 0 })), []);
  const currentId = openId ?? cursor?.id;
  const move = (step: number) => {
    const at = currentId === undefined ? -1 : ids.indexOf(currentId);
    const next = at < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, at + step));
    const id = ids[next];
    if (id === undefined) return;
    setCursor((c) => ({ id, turn: (c?.turn ?? 0) + 1 }));
    virtualizer.scrollToIndex(next, { align: "auto" });
    if (openId !== undefined) {
      void navigate({
        to: "/issues/$issueId",
        params: { issueId: String(id) },
        search: filters,
        replace: true,
        state: { keepFocus: true },
      });
    }
  };
  const showNew = () => {
    model.release();
    scroller.current?.scrollTo({ top: 0 });
    const first = model.getOrder().shown[0];
    if (first !== undefined) setCursor((c) => ({ id: first, turn: (c?.turn ?? 0) + 1 }));
  };
  const correct = (field: "category" | "priority") => {
    if (currentId === undefined) return;
    setCorrecting({ issueId: currentId, field });
    if (openId === undefined) {
      void navigate({ to: "/issues/$issueId", params: { issueId: String(currentId) }, search: filters });
    }
  };
  useShortcuts({
    j: () => move(1),
    k: () => move(-1),
    c: () => correct("category"),
    p: () => correct("priority"),
    ".": showNew,
    o: () => {
      const url = currentId === undefined ? "" : feed.board.get(currentId)?.url;
      if (url) window.open(url, "_blank", "noopener,noreferrer");
    },
    Escape: () => {
      if (openId === undefined) return;
      setCursor((c) => ({ id: openId, turn: (c?.turn ?? 0) + 1 }));
      void navigate({ to: "/", search: filters });
    },
  });

  const waiting = order.held.length;
  const narrowed = Object.values(filters).some(Boolean);
  const stats = useStats().data;
  const total = !hasNextPage ? ids.length : narrowed ? undefined : stats?.issues;
  return (
    <>
      <div className="list-status">
        <span aria-live="polite">
          {query.isPending
            ? "Loading issues"
            : `${total === undefined ? `${formatCount(ids.length)}${hasNextPage ? "+" : ""}` : formatCount(total)} ${(total ?? ids.length) === 1 ? "issue" : "issues"}`}
        </span>
        <button
          type="button"
          className="link-button"
          aria-pressed={paused}
          title={paused ? "Let new issues appear at the top again" : "Hold new issues back"}
          onClick={() => setPaused(!paused)}
        >
          {paused ? <Play aria-hidden="true" /> : <Pause aria-hidden="true" />}
          {paused ? "Resume" : "Pause"}
        </button>
      </div>
      <div className="list-frame">
        {waiting > 0 && (
          <button type="button" className="new-pill" data-testid="new-issues" onClick={showNew}>
            <ArrowUp aria-hidden="true" />
            {formatCount(waiting)}
            {order.overflowed ? "+" : ""} new {waiting === 1 ? "issue" : "issues"}
          </button>
        )}
        <div
          ref={scroller}
          className="list-scroll"
          aria-busy={query.isPending}
          onScroll={(event) => setReading(event.currentTarget.scrollTop > READING_PX)}
        >
          {query.isPending && <RowSkeletons />}
          {query.isError && ids.length === 0 && (
            <Failure
              what="The issues could not be loaded"
              error={query.error}
              retry={() => void query.refetch()}
            />
          )}
          {query.isSuccess && ids.length === 0 && <Empty filters={filters} />}
          {ids.length > 0 && (
            <div
              role="list"
              aria-label="Issues"
              className="rows"
              style={{ height: virtualizer.getTotalSize() }}
            >
              {rows.map((row) => {
                const id = ids[row.index];
                return id === undefined ? null : (
                  <IssueRow
                    key={row.key}
                    id={id}
                    filters={filters}
                    start={row.start}
                    index={row.index}
                    count={hasNextPage ? -1 : ids.length}
                    measure={virtualizer.measureElement}
                    isOpen={id === openId}
                    isCurrent={id === currentId}
                    turn={cursor?.id === id ? cursor.turn : 0}
                    onFocus={noteFocus}
                  />
                );
              })}
            </div>
          )}
          {isFetchNextPageError && (
            <p className="list-end">
              More could not be loaded.{" "}
              <button type="button" className="link-button" onClick={() => void fetchNextPage()}>
                Try again
              </button>
            </p>
          )}
          {query.isFetchingNextPage && <p className="list-end">Loading more…</p>}
        </div>
      </div>
    </>
  );
}

function Empty({ filters }: { filters: Filters }) {
  const navigate = useNavigate();
  if (Object.values(filters).some(Boolean)) {
    return (
      <Nothing title="No issue matches">
        <p>No issue has all of what you ask for.</p>
        <button type="button" className="button" onClick={() => void navigate({ to: "/", search: {} })}>
          Show all issues
        </button>
      </Nothing>
    );
  }
  return (
    <Nothing title="No issues yet">
      <p>
        Issues appear here the moment they are opened in a repository that DispatchAI is installed on. Nothing
        needs to be reloaded.
      </p>
    </Nothing>
  );
}
