import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowLeft } from "lucide-react";
import { useEffect, useRef } from "react";
import type { Filters } from "../api/client";
import { queryKeys } from "../live/feed";
import { useFeed } from "../shell/context";
import { useShortcuts } from "../shell/shortcuts";
import { Failure, Nothing, Skeleton } from "../ui/states";
import { Disagreements } from "./disagreements";
import { Scores } from "./scores";

const REFRESH_MS = 10_000;

/** Whether a classifier that is asked beside the others would do better than they do. */
export function ChallengerPage() {
  const { client } = useFeed();
  const queries = useQueryClient();
  const filters: Filters = useSearch({ from: "__root__" });
  const navigate = useNavigate();
  const { repository } = filters;
  const query = useQuery({
    queryKey: queryKeys.challenges(repository ?? ""),
    queryFn: ({ signal }) => client.challenges(repository, signal),
    staleTime: 0,
    refetchInterval: REFRESH_MS,
  });
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    title.current?.focus({ preventScroll: true });
    document.title = "Challenger · DispatchAI";
    return () => {
      document.title = "DispatchAI";
    };
  }, []);
  useShortcuts({ Escape: () => void navigate({ to: "/", search: filters }) });
  return (
    <article className="detail-pane" aria-busy={query.isPending} aria-labelledby="challenger-title">
      <nav className="detail-nav" aria-label="Back">
        <Link to="/" search={filters} className="back-link">
          <ArrowLeft aria-hidden="true" /> All issues
        </Link>
      </nav>
      <div className="detail challenger">
        <header className="detail-head">
          <h1 ref={title} id="challenger-title" tabIndex={-1}>
            Challenger
          </h1>
        </header>
        {query.isPending && <Skeleton lines={8} />}
        {query.isError && (
          <Failure
            what={query.data ? "This may be out of date" : "The challenger's answers cannot be shown"}
            error={query.error}
            retry={() => void query.refetch()}
          />
        )}
        {query.data && query.data.scores.length === 0 && (
          <Nothing title="No challenger has been asked">
            <p>
              A challenger is a classifier that answers beside the ones that decide, without any effect on
              labels. Name one with <code>DISPATCHAI_CHALLENGER</code>, or as <code>challenger</code> in a
              repository&rsquo;s <code>.github/dispatchai.yml</code>.
            </p>
          </Nothing>
        )}
        {query.data && query.data.scores.length > 0 && (
          <>
            <Disagreements
              disagreements={query.data.disagreements}
              settled={() => void queries.invalidateQueries({ queryKey: queryKeys.allChallenges })}
            />
            <Scores scores={query.data.scores} />
          </>
        )}
      </div>
    </article>
  );
}
