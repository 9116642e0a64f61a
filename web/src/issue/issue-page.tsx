import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useLocation, useSearch } from "@tanstack/react-router";
import { ArrowLeft, CircleCheck, CircleDot, ExternalLink, Lock, RefreshCw } from "lucide-react";
import { useEffect, useEffectEvent, useRef } from "react";
import { ApiError, explain, newIdempotencyKey, type Filters } from "../api/client";
import type { IssueDetail } from "../api/issue";
import type { ShownIssue } from "../live/board";
import { queryKeys } from "../live/feed";
import { useFeed, useIssue } from "../shell/context";
import { useRepositories } from "../list/toolbar";
import { LabelChip } from "../ui/chip";
import { useNotify } from "../ui/notices";
import { Failure, Skeleton } from "../ui/states";
import { Age } from "../ui/time";
import { Audit } from "./audit";
import { Body } from "./body";
import { takeDetail } from "./correct";
import { Fields } from "./fields";
import { Provenance } from "./provenance";
import { Suggestions } from "./suggestions";
import { SimilarIssues } from "./similar-issues";

/** An issue with everything that is held to be true of it, and on whose word. */
export function IssuePage({ id }: { id: number }) {
  const feed = useFeed();
  const filters: Filters = useSearch({ from: "__root__" });
  const query = useQuery({
    queryKey: queryKeys.issue(id),
    queryFn: async ({ signal }) => {
      const detail = await feed.client.issue(id, signal);
      feed.board.merge(detail);
      return detail;
    },
    // Nobody keeps a page fresh that is not open.
    staleTime: 0,
  });
  const issue = useIssue(id);
  const title = useRef<HTMLHeadingElement>(null);
  const keepFocus = useLocation({ select: (location) => location.state.keepFocus === true });
  const known = issue !== undefined;
  const takeFocus = useEffectEvent(() => {
    // Going through the list with the keys leaves the focus in it, if it is in sight.
    if (keepFocus && title.current?.closest("main")?.querySelector(".list-pane:not([inert])")) return;
    title.current?.focus({ preventScroll: true });
  });
  useEffect(() => {
    if (known) takeFocus();
  }, [known]);

  useEffect(() => {
    if (!issue) return;
    document.title = `#${issue.number} ${issue.title} · DispatchAI`;
    return () => {
      document.title = "DispatchAI";
    };
  }, [issue]);

  // A new issue is on the stream a moment before it is stored.
  const notStored = query.error instanceof ApiError && query.error.status === 404 && issue?.revision === 0;
  return (
    <article className="detail-pane" aria-busy={query.isPending} aria-label={issue?.title ?? "Issue"}>
      <nav className="detail-nav" aria-label="Back">
        <Link to="/" search={filters} className="back-link">
          <ArrowLeft aria-hidden="true" /> All issues
        </Link>
      </nav>
      {issue === undefined && query.isPending && <Skeleton lines={10} />}
      {issue === undefined && query.isError && (
        <Failure what="This issue cannot be shown" error={query.error} retry={() => void query.refetch()} />
      )}
      {issue && (
        <div className="detail">
          <header className="detail-head">
            <h1 ref={title} tabIndex={-1}>
              <bdi>{issue.title || "(no title)"}</bdi> <span className="detail-number">#{issue.number}</span>
            </h1>
            <span className="detail-actions">
              <ClassifyAgain id={issue.id} />
              {issue.url && (
                <a className="button" href={issue.url} target="_blank" rel="noopener noreferrer">
                  GitHub <ExternalLink aria-hidden="true" />
                </a>
              )}
            </span>
            <Facts issue={issue} />
          </header>
          <Fields issue={issue} options={query.data?.options ?? {}} loaded={query.isSuccess} />
          {query.isError && !notStored && (
            <Failure
              what="The rest of this issue could not be loaded"
              error={query.error}
              retry={() => void query.refetch()}
            />
          )}
          {(query.isPending || notStored) && (
            <section className="card detail-body">
              <Skeleton lines={6} />
            </section>
          )}
          {query.data && <Rest issue={issue} detail={query.data} />}
        </div>
      )}
    </article>
  );
}

function Rest({ issue, detail }: { issue: ShownIssue; detail: IssueDetail }) {
  return (
    <>
      <Suggestions issue={issue} suggestions={detail.suggestions} options={detail.options} />
      <section className="card detail-body" aria-label="What the issue says">
        <h2 className="card-title">
          <span>
            <bdi>{issue.author.login || "ghost"}</bdi> wrote
          </span>
          <Age at={issue.createdAt} />
        </h2>
        <Body markdown={detail.body} />
      </section>
      <SimilarIssues similar={issue.similar} />
      <Provenance ledger={detail.ledger} />
      <Audit corrections={detail.corrections} />
    </>
  );
}

function Facts({ issue }: { issue: ShownIssue }) {
  const filters: Filters = useSearch({ from: "__root__" });
  const repositories = useRepositories().data;
  const colors = repositories?.find((repository) => repository.id === issue.repository.id)?.labels;
  const StateIcon = issue.state === "open" ? CircleDot : CircleCheck;
  return (
    <div className="detail-facts">
      <span className={`state-badge state-${issue.state}`}>
        <StateIcon aria-hidden="true" />
        {issue.state === "open" ? "Open" : "Closed"}
      </span>
      <span className="detail-where">
        {issue.repository.private && <Lock aria-label="Private repository" />}
        <Link
          to="/repositories/$repositoryId"
          params={{ repositoryId: String(issue.repository.id) }}
          search={filters}
          title="How this repository wants to be treated"
        >
          <bdi>{issue.repository.fullName}</bdi>
        </Link>
      </span>
      <span>
        <bdi>{issue.author.login || "ghost"}</bdi>
        {issue.author.type === "Bot" && <span className="tag">bot</span>} opened <Age at={issue.createdAt} />
      </span>
      {issue.labels.map((name) => (
        <LabelChip key={name} name={name} color={colors?.find((label) => label.name === name)?.color} />
      ))}
    </div>
  );
}

function ClassifyAgain({ id }: { id: number }) {
  const feed = useFeed();
  const notify = useNotify();
  const classify = useMutation({
    mutationFn: () => feed.client.classify(id, newIdempotencyKey()),
    onSuccess: (result) => {
      if (result.done) takeDetail(feed, result.detail);
      notify(
        result.done
          ? { kind: "success", text: "Classified again." }
          : { kind: "info", text: "Asked for. The new classification appears here when it is ready." },
      );
    },
    onError: (error) => notify({ kind: "error", text: explain(error) }),
  });
  return (
    <button
      type="button"
      className="button"
      disabled={classify.isPending}
      title="Ask the classifiers again; corrections stay"
      onClick={() => classify.mutate()}
    >
      <RefreshCw aria-hidden="true" className={classify.isPending ? "spinning" : undefined} />
      {classify.isPending ? "Classifying…" : "Classify again"}
    </button>
  );
}
