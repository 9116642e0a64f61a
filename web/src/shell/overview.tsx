import { useNavigate, useSearch } from "@tanstack/react-router";
import type { CSSProperties } from "react";
import type { Filters } from "../api/client";
import type { Stats } from "../api/issue";
import { categoryLook, Chip, priorityTone } from "../ui/chip";
import { Failure, Skeleton } from "../ui/states";
import { formatCount, useStats } from "./header";

const PRIORITY_ORDER = ["critical", "high", "medium", "low"];

/** What the App has done so far, and how the issues divide; a bar narrows the list to its share. */
export function Overview() {
  const stats = useStats();
  return (
    <aside className="overview" aria-label="Overview">
      {stats.isPending && <Skeleton lines={8} />}
      {stats.isError && <Failure what="No figures" error={stats.error} retry={() => void stats.refetch()} />}
      {stats.data && <Figures stats={stats.data} />}
    </aside>
  );
}

function Figures({ stats }: { stats: Stats }) {
  const kept = stats.classified > 0 ? 1 - stats.corrected / stats.classified : null;
  const categories = Object.entries(stats.byCategory).sort(([, a], [, b]) => b - a);
  const priorities = Object.entries(stats.byPriority).sort(
    ([a], [b]) => rank(a) - rank(b) || a.localeCompare(b),
  );
  return (
    <>
      <section>
        <h2>Kept as classified</h2>
        <p className="figure">
          {kept === null ? "–" : `${Math.round(kept * 100)}%`}
          <span>
            {formatCount(stats.corrected)} of {formatCount(stats.classified)} issues corrected
          </span>
        </p>
      </section>
      <Breakdown title="By category" field="category" counts={categories} />
      <Breakdown title="By priority" field="priority" counts={priorities} />
      <section>
        <h2>So far</h2>
        <dl className="facts">
          <Fact name="Issues" value={stats.issues} />
          <Fact name="Repositories" value={stats.repositories} />
          <Fact name="Labels on issues" value={stats.labelsWritten} />
          <Fact name="Corrections" value={stats.corrections} />
          <Fact name="Labels vetoed" value={stats.vetoes} />
          <Fact name="Watching now" value={stats.connectedClients} />
        </dl>
      </section>
    </>
  );
}

function rank(priority: string): number {
  const at = PRIORITY_ORDER.indexOf(priority);
  return at < 0 ? PRIORITY_ORDER.length : at;
}

function Fact({ name, value }: { name: string; value: number }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{formatCount(value)}</dd>
    </div>
  );
}

function Breakdown({
  title,
  field,
  counts,
}: {
  title: string;
  field: "category" | "priority";
  counts: [string, number][];
}) {
  const filters: Filters = useSearch({ from: "__root__" });
  const navigate = useNavigate();
  const most = Math.max(1, ...counts.map(([, count]) => count));
  if (counts.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      <ul className="bar-list">
        {counts.map(([value, count]) => {
          const chosen = filters[field] === value;
          const style: CSSProperties = { width: `${(count / most) * 100}%` };
          const tone = field === "category" ? categoryLook(value).tone : priorityTone(value);
          return (
            <li key={value}>
              <button
                type="button"
                aria-pressed={chosen}
                title={chosen ? "Show all issues again" : `Show only ${value}`}
                onClick={() => {
                  const next: Filters = { ...filters };
                  if (chosen) next[field] = "";
                  else next[field] = value;
                  void navigate({ to: ".", search: next });
                }}
              >
                <Chip field={field} value={value} />
                <span className="bar" data-tone={tone} aria-hidden="true">
                  <span style={style} />
                </span>
                <span className="bar-count">{formatCount(count)}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
