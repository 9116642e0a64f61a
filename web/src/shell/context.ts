import { createContext, use, useSyncExternalStore } from "react";
import type { Field, Session } from "../api/issue";
import type { ShownIssue } from "../live/board";
import type { LiveFeed } from "../live/feed";

/** What every part of a signed-in page may use. */
export interface Page {
  feed: LiveFeed;
  session: Session;
  /** Forgets the token and asks for another; absent where none is needed. */
  signOut: (() => void) | undefined;
}

export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = use(PageContext);
  if (page === null) throw new Error("usePage is only for parts of a signed-in page");
  return page;
}

export function useFeed(): LiveFeed {
  return usePage().feed;
}

/** The issue as it is now, with pending corrections; undefined while it is unknown. */
export function useIssue(id: number): ShownIssue | undefined {
  const { board } = useFeed();
  return useSyncExternalStore(board.subscribe, () => board.get(id));
}

/** Which field of which issue is being corrected, so that keys and buttons open the same menu. */
export interface Correcting {
  issueId: number;
  field: Field;
}

export interface Workspace {
  correcting: Correcting | null;
  setCorrecting: (correcting: Correcting | null) => void;
}

export const WorkspaceContext = createContext<Workspace>({
  correcting: null,
  setCorrecting: () => undefined,
});

export function useWorkspace(): Workspace {
  return use(WorkspaceContext);
}
