import { Link, useSearch } from "@tanstack/react-router";
import { CircleCheck, CircleDot, ExternalLink } from "lucide-react";
import type { Filters } from "../api/client";
import type { SimilarIssue } from "../api/issue";

/** Issues of the same repository that say much the same, the nearest first. */
export function SimilarIssues({ similar }: { similar: readonly SimilarIssue[] }) {
  const filters: Filters = useSearch({ from: "__root__" });
  return (
    <section className="card" aria-label="Similar issues">
      <h2 className="card-title">Similar issues</h2>
      {similar.length === 0 && <p className="card-empty">Nothing in this repository resembles it.</p>}
      <ul className="similar-list">
        {similar.map((issue) => {
          const percent = Math.max(0, Math.round(issue.similarity * 100));
          return (
            <li key={issue.id}>
              {issue.state === "closed" ? (
                <CircleCheck className="state-icon state-closed" aria-label="Closed" />
              ) : (
                <CircleDot className="state-icon state-open" aria-label="Open" />
              )}
              <Link to="/issues/$issueId" params={{ issueId: String(issue.id) }} search={filters}>
                <span className="row-number">#{issue.number}</span> <bdi>{issue.title}</bdi>
              </Link>
              <span className="similarity" title={`${percent}% similar`}>
                <span className="bar" aria-hidden="true">
                  <span style={{ width: `${percent}%` }} />
                </span>
                {percent}%
              </span>
              {issue.url && (
                <a
                  className="icon-button"
                  href={issue.url}
                  target="_blank"
                  rel="noopener noreferrer"
                  aria-label={`#${issue.number} on GitHub`}
                >
                  <ExternalLink aria-hidden="true" />
                </a>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
