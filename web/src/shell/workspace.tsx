import { Outlet, useLocation, useParams, useSearch } from "@tanstack/react-router";
import { useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { Filters } from "../api/client";
import { IssueList } from "../list/issue-list";
import { Toolbar } from "../list/toolbar";
import { WorkspaceContext, type Correcting, type Workspace } from "./context";
import { CHALLENGER_PATH, Header, SYSTEM_PATH } from "./header";
import { Overview } from "./overview";

const SIDE_BY_SIDE = "(min-width: 960px)";

function subscribeWidth(listener: () => void): () => void {
  const query = window.matchMedia(SIDE_BY_SIDE);
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

/** The page's frame: the header, the list, the open issue, repository or page beside or over it, and the figures. */
export function WorkspaceLayout() {
  const filters: Filters = useSearch({ from: "__root__" });
  const { issueId, repositoryId } = useParams({ strict: false });
  const openId = issueId !== undefined && /^\d{1,15}$/.test(issueId) ? Number(issueId) : undefined;
  const onPage = useLocation({ select: ({ pathname }) => [SYSTEM_PATH, CHALLENGER_PATH].includes(pathname) });
  const isOpen = issueId !== undefined || repositoryId !== undefined || onPage;
  const sideBySide = useSyncExternalStore(subscribeWidth, () => window.matchMedia(SIDE_BY_SIDE).matches);
  const [correcting, setCorrecting] = useState<Correcting | null>(null);
  const workspace = useMemo<Workspace>(() => ({ correcting, setCorrecting }), [correcting]);
  const main = useRef<HTMLElement>(null);
  return (
    <WorkspaceContext value={workspace}>
      <div className="workspace" data-view={isOpen ? "issue" : "list"}>
        <button type="button" className="skip-link" onClick={() => main.current?.focus()}>
          Skip to the issues
        </button>
        <Header />
        <main ref={main} className="panes" tabIndex={-1}>
          <section className="list-pane" aria-label="Issues" inert={isOpen && !sideBySide}>
            {!isOpen && <h1 className="sr-only">Issues</h1>}
            <Toolbar filters={filters} />
            <IssueList key={JSON.stringify(filters)} filters={filters} openId={openId} />
          </section>
          <Outlet />
          <Overview />
        </main>
      </div>
    </WorkspaceContext>
  );
}
