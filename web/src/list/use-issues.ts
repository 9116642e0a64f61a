import { useInfiniteQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { useEffect, useEffectEvent, useState, useSyncExternalStore } from "react";
import type { Filters } from "../api/client";
import { queryKeys } from "../live/feed";
import { useFeed } from "../shell/context";
import { ListModel } from "./model";
import { matches } from "./order";

interface LoadedPage {
  ids: number[];
  nextCursor: string | null;
  liveCursor: string;
}

/** With more pages than this, a list that may have missed something starts again from the first. */
const MAX_REFETCHED_PAGES = 10;

/**
 * The list for the filters given: pages from the server, kept true by the
 * stream. One list per filters; a component that changes them must be keyed by them.
 */
export function useIssues(filters: Filters, openId: number | undefined) {
  const feed = useFeed();
  const queries = useQueryClient();
  const [model] = useState(() => new ListModel());
  const queryKey = [...queryKeys.issues, filters];
  const query = useInfiniteQuery({
    queryKey,
    queryFn: async ({ pageParam, signal }): Promise<LoadedPage> => {
      const page = await feed.client.issues(filters, pageParam, signal);
      feed.takeAll(page.issues);
      return {
        ids: page.issues.map((issue) => issue.id),
        nextCursor: page.nextCursor,
        liveCursor: page.liveCursor,
      };
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    // The stream does not keep lists that nobody looks at.
    gcTime: 0,
  });

  useEffect(() => {
    if (query.data) model.snapshot(query.data.pages.flatMap((page) => page.ids));
  }, [model, query.data]);

  const { data, isError } = query;
  useEffect(() => {
    // The stream starts where the first snapshot ends, so that nothing falls between them.
    const first = data?.pages[0];
    if (first) feed.connection.start(first.liveCursor);
    else if (isError) feed.connection.start("");
  }, [feed, data, isError]);

  const startAgain = useEffectEvent((always: boolean) => {
    const loaded = queries.getQueryData<InfiniteData<LoadedPage, string | null>>(queryKey);
    if (loaded && (always || loaded.pages.length > MAX_REFETCHED_PAGES)) {
      model.restart();
      queries.setQueryData(queryKey, {
        pages: loaded.pages.slice(0, 1),
        pageParams: loaded.pageParams.slice(0, 1),
      });
    }
    void query.refetch();
  });
  const takeIssues = useEffectEvent((seen: Set<number>) => {
    const fits = (id: number) => {
      const issue = feed.board.get(id);
      return issue !== undefined && matches(issue, filters);
    };
    model.arrive([...seen].filter(fits));
    if (model.isWorn() && !query.isFetching) startAgain(true);
  });
  useEffect(() => {
    const seen = new Set<number>();
    const unsubscribe = [
      feed.onIssue((frame) => {
        // A label put on an old issue does not bring it up.
        if (frame.event !== "label") seen.add(frame.issue.id);
      }),
      // The board says when it is time to draw; the list then changes once, not for each frame.
      feed.board.subscribe(() => {
        if (seen.size === 0) return;
        takeIssues(seen);
        seen.clear();
      }),
    ];
    return () => unsubscribe.forEach((stop) => stop());
  }, [feed]);
  useEffect(() => feed.onGap(() => startAgain(false)), [feed]);

  const order = useSyncExternalStore(model.subscribe, model.getOrder);
  useSyncExternalStore(feed.board.subscribe, feed.board.getVersion);
  // The server has searched bodies too, so what it found stays.
  const structured: Filters = { ...filters, q: "" };
  const ids = order.shown.filter((id) => {
    const issue = feed.board.get(id);
    return issue !== undefined && (id === openId || matches(issue, structured));
  });
  return { query, ids, order, model };
}
