import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowLeft } from "lucide-react";
import { useEffect, useRef } from "react";
import type { Filters } from "../api/client";
import type { System } from "../api/system";
import { queryKeys } from "../live/feed";
import { useFeed } from "../shell/context";
import { useShortcuts } from "../shell/shortcuts";
import { Failure, Skeleton } from "../ui/states";
import { Backlog } from "./backlog";
import { GapReport } from "./gaps";
import { Plugins } from "./plugins";
import { Processes } from "./processes";
import { Repositories } from "./repositories";

const REFRESH_MS = 5_000;

/** How the installation fares: its plugins, what waits, and its processes. */
export function SystemPage() {
  const { client } = useFeed();
  const filters: Filters = useSearch({ from: "__root__" });
  const navigate = useNavigate();
  const query = useQuery({
    queryKey: queryKeys.system,
    queryFn: ({ signal }) => client.system(signal),
    staleTime: 0,
    refetchInterval: REFRESH_MS,
  });
  const gaps = useQuery({
    queryKey: queryKeys.gaps,
    queryFn: ({ signal }) => client.gaps(signal),
    staleTime: 0,
    refetchInterval: REFRESH_MS,
  });
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    title.current?.focus({ preventScroll: true });
    document.title = "System · DispatchAI";
    return () => {
      document.title = "DispatchAI";
    };
  }, []);
  useShortcuts({ Escape: () => void navigate({ to: "/", search: filters }) });
  return (
    <article className="detail-pane" aria-busy={query.isPending} aria-labelledby="system-title">
      <nav className="detail-nav" aria-label="Back">
        <Link to="/" search={filters} className="back-link">
          <ArrowLeft aria-hidden="true" /> All issues
        </Link>
      </nav>
      <div className="detail system">
        <header className="detail-head">
          <h1 ref={title} id="system-title" tabIndex={-1}>
            System
          </h1>
        </header>
        {query.isPending && <Skeleton lines={8} />}
        {query.isError && (
          <Failure
            what={query.data ? "This may be out of date" : "The system's state cannot be shown"}
            error={query.error}
            retry={() => void query.refetch()}
          />
        )}
        {query.data && <SystemReport system={query.data} />}
        {gaps.isError && (
          <Failure
            what={gaps.data ? "What is known of gaps may be out of date" : "Gaps cannot be shown"}
            error={gaps.error}
            retry={() => void gaps.refetch()}
          />
        )}
        {gaps.data && <GapReport gaps={gaps.data} />}
        <Repositories />
      </div>
    </article>
  );
}

export function SystemReport({ system }: { system: System }) {
  return (
    <>
      <Plugins system={system} />
      <Backlog processes={system.processes} />
      <Processes processes={system.processes} />
    </>
  );
}
