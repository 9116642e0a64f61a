import { Link, useSearch } from "@tanstack/react-router";
import type { Filters } from "../api/client";
import type { Repository } from "../api/issue";
import { useRepositories } from "../list/toolbar";

/** The repositories, those whose configuration has faults first, each with the way to its own page. */
export function Repositories() {
  const filters: Filters = useSearch({ from: "__root__" });
  const repositories = useRepositories().data ?? [];
  if (repositories.length === 0) return null;
  return (
    <section className="card" aria-label="Repositories">
      <h2 className="card-title">Repositories</h2>
      <ul className="system-list">
        {worstFirst(repositories).map((repository) => (
          <li key={repository.id}>
            <Link
              to="/repositories/$repositoryId"
              params={{ repositoryId: String(repository.id) }}
              search={filters}
              className="system-name"
            >
              <bdi>{repository.fullName}</bdi>
            </Link>
            {repository.configurationFaults > 0 && (
              <span className="chip" data-tone="red">
                {repository.configurationFaults} {repository.configurationFaults === 1 ? "fault" : "faults"}{" "}
                in its configuration
              </span>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Puts what needs somebody's attention first; the rest stays in its order. */
export function worstFirst(repositories: readonly Repository[]): Repository[] {
  return repositories.toSorted(
    (a, b) => Number(b.configurationFaults > 0) - Number(a.configurationFaults > 0),
  );
}
