import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ArrowLeft, Lock } from "lucide-react";
import { useEffect, useRef } from "react";
import { ApiError, type Filters } from "../api/client";
import { queryKeys } from "../live/feed";
import { useFeed } from "../shell/context";
import { useShortcuts } from "../shell/shortcuts";
import { Unknown } from "../shell/unknown";
import { Failure, Skeleton } from "../ui/states";
import { ConfigurationReport } from "./configuration-report";

const REFRESH_MS = 5_000;

export function RepositoryRoute() {
  const { repositoryId } = useParams({ from: "/repositories/$repositoryId" });
  if (!/^\d{1,15}$/.test(repositoryId)) return <Unknown />;
  return <RepositoryPage key={repositoryId} id={Number(repositoryId)} />;
}

/** How a repository wants to be treated, where it says so, and what is wrong there. */
function RepositoryPage({ id }: { id: number }) {
  const { client } = useFeed();
  const filters: Filters = useSearch({ from: "__root__" });
  const navigate = useNavigate();
  const query = useQuery({
    queryKey: queryKeys.configuration(id),
    queryFn: ({ signal }) => client.configuration(id, signal),
    staleTime: 0,
    refetchInterval: REFRESH_MS,
  });
  const name = query.data?.repository.fullName;
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus({ preventScroll: true }), []);
  useEffect(() => {
    document.title = `${name ?? "Repository"} · DispatchAI`;
    return () => {
      document.title = "DispatchAI";
    };
  }, [name]);
  useShortcuts({ Escape: () => void navigate({ to: "/", search: filters }) });
  if (query.error instanceof ApiError && query.error.status === 404) return <Unknown />;
  return (
    <article className="detail-pane" aria-busy={query.isPending} aria-labelledby="repository-title">
      <nav className="detail-nav" aria-label="Back">
        <Link to="/" search={filters} className="back-link">
          <ArrowLeft aria-hidden="true" /> All issues
        </Link>
      </nav>
      <div className="detail repository">
        <header className="detail-head">
          <h1 ref={title} id="repository-title" tabIndex={-1}>
            <bdi>{name ?? "Repository"}</bdi>
          </h1>
          {query.data?.repository.private && (
            <div className="detail-facts">
              <span className="detail-where">
                <Lock aria-hidden="true" /> Private
              </span>
            </div>
          )}
        </header>
        {query.isPending && <Skeleton lines={8} />}
        {query.isError && (
          <Failure
            what={query.data ? "This may be out of date" : "The configuration cannot be shown"}
            error={query.error}
            retry={() => void query.refetch()}
          />
        )}
        {query.data && <ConfigurationReport configuration={query.data} />}
      </div>
    </article>
  );
}
