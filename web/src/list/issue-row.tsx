import { Link } from "@tanstack/react-router";
import { CircleCheck, CircleDot, Copy, Lock, UserCheck } from "lucide-react";
import { memo, useEffect, useRef } from "react";
import type { Filters } from "../api/client";
import type { ShownIssue } from "../live/board";
import { useIssue } from "../shell/context";
import { Chip, LabelChip } from "../ui/chip";
import { Confidence } from "../ui/confidence";
import { Age } from "../ui/time";
import { useRepositories } from "./toolbar";

const MAX_LABELS = 2;

interface RowProps {
  id: number;
  filters: Filters;
  start: number;
  index: number;
  /** -1 when the list is longer than what is loaded. */
  count: number;
  measure: (element: HTMLElement | null) => void;
  isOpen: boolean;
  isCurrent: boolean;
  /** Above 0, the row takes the focus each time that it changes. */
  turn: number;
  onFocus: (id: number) => void;
}

/** One issue: what it is, how sure that is, and why, in as little room as reads well. */
export const IssueRow = memo(function IssueRow(props: RowProps) {
  const { id, filters, start, index, count, measure, isOpen, isCurrent, turn, onFocus } = props;
  const issue = useIssue(id);
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    if (turn > 0) link.current?.focus({ preventScroll: true });
  }, [turn]);
  if (issue === undefined) return null;
  return (
    <div
      ref={measure}
      role="listitem"
      aria-posinset={index + 1}
      aria-setsize={count}
      className="row"
      data-testid="issue-row"
      data-issue-id={id}
      data-index={index}
      data-status={issue.status}
      data-open={isOpen || undefined}
      data-current={isCurrent || undefined}
      style={{ transform: `translateY(${start}px)` }}
      onFocus={() => onFocus(id)}
    >
      <div className="row-head">
        <StateIcon issue={issue} />
        <h2 className="row-title">
          <Link
            ref={link}
            to="/issues/$issueId"
            params={{ issueId: String(id) }}
            search={filters}
            aria-current={isOpen ? "page" : undefined}
          >
            <bdi>{issue.title || "(no title)"}</bdi>
          </Link>
        </h2>
        <Labels issue={issue} />
      </div>
      <p className="row-meta">
        {issue.repository.private && <Lock aria-label="Private repository" />}
        <bdi className="row-repository">{issue.repository.fullName}</bdi>
        <span className="row-number">#{issue.number}</span>
        <span className="row-author">
          <bdi>{issue.author.login || "ghost"}</bdi>
        </span>
      </p>
      <Age at={issue.createdAt} />
      <Verdict issue={issue} />
    </div>
  );
});

function StateIcon({ issue }: { issue: ShownIssue }) {
  return issue.state === "open" ? (
    <CircleDot className="state-icon state-open" aria-label="Open" />
  ) : (
    <CircleCheck className="state-icon state-closed" aria-label="Closed" />
  );
}

function Labels({ issue }: { issue: ShownIssue }) {
  const repositories = useRepositories().data;
  if (issue.labels.length === 0) return null;
  const colors = repositories?.find((repository) => repository.id === issue.repository.id)?.labels;
  const rest = issue.labels.length - MAX_LABELS;
  return (
    <span className="row-labels" aria-label="Labels">
      {issue.labels.slice(0, MAX_LABELS).map((name) => (
        <LabelChip key={name} name={name} color={colors?.find((label) => label.name === name)?.color} />
      ))}
      {rest > 0 && (
        <span className="row-more" title={issue.labels.slice(MAX_LABELS).join(", ")}>
          +{rest}
        </span>
      )}
    </span>
  );
}

function Verdict({ issue }: { issue: ShownIssue }) {
  if (issue.classification === null) {
    return (
      <>
        <div className="row-verdict" aria-busy="true">
          <span className="skeleton skeleton-chip" aria-hidden="true" />
          <span className="skeleton skeleton-chip" aria-hidden="true" />
        </div>
        <p className="row-reason classifying">Classifying…</p>
      </>
    );
  }
  const { category, priority } = issue.classification.fields;
  const main = category ?? priority;
  const nearest = issue.similar[0];
  return (
    <>
      <div className="row-verdict">
        <span className="row-category">
          {category?.values.map((value) => (
            <Chip key={value} field="category" value={value} />
          ))}
          {!category?.values.length && <span className="chip chip-none">no category</span>}
        </span>
        <span className="row-priority">
          {priority?.values.map((value) => (
            <Chip key={value} field="priority" value={value} />
          ))}
        </span>
        <span className="row-confidence">
          {main && <Confidence answer={main} />}
          {issue.status === "corrected" && main?.source !== "human" && (
            <UserCheck className="corrected-mark" aria-label="Corrected by a person" />
          )}
        </span>
        {nearest && (
          <span
            className="row-similar"
            title={`Most similar: #${nearest.number} ${nearest.title} (${nearest.state})`}
          >
            <Copy aria-hidden="true" />
            <span className="row-similar-count">{issue.similar.length} similar</span>
            <bdi className="row-similar-title">
              #{nearest.number} {nearest.title}
            </bdi>
            <span className="row-similar-share">{Math.round(nearest.similarity * 100)}%</span>
          </span>
        )}
      </div>
      {main && (main.reason || main.source === "human") && (
        <p className="row-reason">
          <bdi>{main.reason || "Corrected without a reason given"}</bdi>
        </p>
      )}
    </>
  );
}

export function RowSkeletons() {
  return (
    <div className="row-skeletons" aria-hidden="true">
      {Array.from({ length: 9 }, (_, i) => (
        <div key={i} className="row-skeleton">
          <span className="skeleton" />
          <span className="skeleton skeleton-short" />
          <span className="skeleton skeleton-shorter" />
        </div>
      ))}
    </div>
  );
}
