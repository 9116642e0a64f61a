import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Activity, Keyboard, LogOut, Swords, Workflow } from "lucide-react";
import { useState } from "react";
import type { Filters } from "../api/client";
import type { Stats } from "../api/issue";
import { queryKeys } from "../live/feed";
import { ConnectionIndicator } from "./connection-indicator";
import { useFeed, usePage } from "./context";
import { Help } from "./help";
import { useShortcuts } from "./shortcuts";
import { ThemeToggle } from "./theme-toggle";

export function useStats() {
  const { client } = useFeed();
  return useQuery({ queryKey: queryKeys.stats, queryFn: ({ signal }) => client.stats(signal) });
}

const COUNTS: { name: string; of: (stats: Stats) => number }[] = [
  { name: "Open", of: (s) => s.open },
  { name: "Classified", of: (s) => s.classified },
  { name: "Corrected", of: (s) => s.corrected },
  { name: "Labels", of: (s) => s.labelsWritten },
];

const format = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** Whole numbers while they are short, then "12.4K". */
export function formatCount(count: number): string {
  return count < 10_000 ? format.format(count) : compact.format(count);
}

/** Where a challenger's answers are compared. */
export const CHALLENGER_PATH = "/challenger";

/** Where the processes and their plugins are shown. */
export const SYSTEM_PATH = "/system";

export function Header() {
  const { feed, session, signOut } = usePage();
  const stats = useStats();
  const [helping, setHelping] = useState(false);
  const navigate = useNavigate();
  const filters: Filters = useSearch({ from: "__root__" });
  useShortcuts({
    "?": () => setHelping(true),
    d: () => void navigate({ to: CHALLENGER_PATH, search: filters }),
    s: () => void navigate({ to: SYSTEM_PATH, search: filters }),
  });
  return (
    <header className="header">
      <Link to="/" className="brand" search={{}}>
        <span className="brand-mark">
          <Workflow aria-hidden="true" />
        </span>
        <span className="brand-name">DispatchAI</span>
        {session.mode === "demo" && <span className="brand-mode">demo</span>}
      </Link>
      <dl className="counts" data-testid="counts">
        {COUNTS.map(({ name, of }) => (
          <div key={name} title={stats.data && format.format(of(stats.data))}>
            <dd>{stats.data ? formatCount(of(stats.data)) : "–"}</dd>
            <dt>{name}</dt>
          </div>
        ))}
      </dl>
      <div className="header-tools">
        <ConnectionIndicator connection={feed.connection} />
        <Link
          to={CHALLENGER_PATH}
          search={filters}
          className="icon-button"
          aria-label="Challenger"
          title="What a challenger would have said (d)"
        >
          <Swords aria-hidden="true" />
        </Link>
        <Link
          to={SYSTEM_PATH}
          search={filters}
          className="icon-button"
          aria-label="System"
          title="Processes, plugins and repositories (s)"
        >
          <Activity aria-hidden="true" />
        </Link>
        <ThemeToggle />
        <button
          type="button"
          className="icon-button"
          aria-label="Keys and preferences"
          title="Keys and preferences (?)"
          onClick={() => setHelping(true)}
        >
          <Keyboard aria-hidden="true" />
        </button>
        {signOut && (
          <button
            type="button"
            className="icon-button"
            aria-label="Sign out"
            title="Sign out"
            onClick={signOut}
          >
            <LogOut aria-hidden="true" />
          </button>
        )}
      </div>
      <Help open={helping} close={() => setHelping(false)} />
    </header>
  );
}
